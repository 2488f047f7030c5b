"""The run folder: what a run leaves on disk, each file whole or not there."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sigprop_snn.errors import SigpropError

CONFIG, METRICS, CHECKPOINT, SUMMARY = (
    "config.json",
    "metrics.jsonl",
    "checkpoint.pt",
    "summary.json",
)


class RunFolder:
    """A folder that one run writes into.

    Attributes:
        path: where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """Make a new run folder.

        Raises:
            SigpropError: if it can't be written to, or already holds something.
        """
        try:
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise SigpropError(
                    f"run folder {str(path)!r} already holds something; expected a new or empty "
                    "folder (name another with --out)"
                )
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            raise SigpropError(
                f"run folder {str(path)!r} can't be written to ({error.strerror}); "
                "expected a folder with write permission (name another with --out)"
            ) from error
        return cls(path)

    @property
    def figures(self) -> Path:
        """The folder of the run's pictures."""
        return self.path / "figures"

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a file of one JSON object."""
        text = json.dumps(content, indent=2, allow_nan=False) + "\n"
        write_whole(self.path / name, lambda file: file.write_text(text, encoding="utf-8"))

    def append_metrics(self, record: dict[str, Any]) -> None:
        """Add one epoch's line to the metrics."""
        with (self.path / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write the checkpoint, in place of the one before."""
        write_whole(self.path / CHECKPOINT, lambda file: torch.save(state, file))

    def remove(self) -> None:
        """Take the folder away with all that the run wrote."""
        shutil.rmtree(self.path, ignore_errors=True)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and move it there, so that no half of it is ever seen."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    beside = Path(name)
    try:
        write(beside)
        beside.chmod(0o644)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint's content. Code in it is never run.

    Raises:
        SigpropError: if the file is not there, is damaged, or holds more than plain data.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise SigpropError(f"no checkpoint at {str(path)!r}; expected a run's file") from error
    except Exception as error:
        # torch raises many kinds for damage; all of them mean the same to the reader.
        raise SigpropError(
            f"checkpoint {str(path)!r} can't be read ({type(error).__name__}); "
            "expected a file that a run wrote"
        ) from error
    if not isinstance(state, dict) or "network" not in state:
        raise SigpropError(f"checkpoint {str(path)!r} holds no network; expected a run's file")
    return state


def free_name(parent: Path, stem: str) -> Path:
    """Return a path under `parent` that is not taken: `stem`, or `stem-2`, `stem-3`, ..."""
    path, number = parent / stem, 1
    while path.exists():
        number += 1
        path = parent / f"{stem}-{number}"
    return path
