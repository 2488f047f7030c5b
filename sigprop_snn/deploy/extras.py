"""Packages that this one needs only for some formats."""

from __future__ import annotations

import importlib
from types import ModuleType

from sigprop_snn.errors import SigpropError


def nir_package() -> ModuleType:
    """Return the module `nir`; see `needed`."""
    return needed("nir", extra="nir")


def needed(package: str, *, extra: str) -> ModuleType:
    """Return a package of an extra.

    Args:
        package: the name to import.
        extra: the extra that installs it.

    Raises:
        SigpropError: if it is not installed.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise SigpropError(
            f"the package {package} is not installed; expected it from the extra {extra} of this "
            f"package. In its folder of sources: pip install '.[{extra}]'"
        ) from error
