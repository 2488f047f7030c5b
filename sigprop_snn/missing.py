"""Where a name is that `sigprop_snn` itself does not have."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

_PACKAGES = (
    "network", "neurons", "surrogates", "rules", "data", "training", "comparison", "deploy",
    "fixed_point", "monitors", "analysis", "plots", "report", "parallel",
)  # fmt: skip


def place_of(name: str, known: Sequence[str], folders: Iterable[str]) -> str:
    """Return the package that exports a name, or the nearest known name, as the end of an error.

    It reads the text of the packages. Python asks for a submodule in the same way before it
    imports it, and must not import all packages then.

    Args:
        name: the name.
        known: the names of `sigprop_snn`.
        folders: the folders that hold its packages.
    """
    folders = list(folders)
    if any(Path(folder, f"{name}.py").is_file() for folder in folders):
        return ""
    files = [(each, Path(folder, each, "__init__.py")) for each in _PACKAGES for folder in folders]
    for package, file in files:
        if file.is_file() and f'"{name}"' in file.read_text(encoding="utf-8"):
            return f"; expected sigprop_snn.{package}.{name}"
    near = difflib.get_close_matches(name, known, 1, 0.6)
    return f". Did you mean {near[0]}?" if near else ""
