"""The run folder: what a run leaves on disk, each file whole or not there."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sigprop_snn.config import TrainConfig
from sigprop_snn.config_file import read_config, read_json
from sigprop_snn.errors import SigpropError
from sigprop_snn.training.checkpoint import load_checkpoint, write_checkpoint

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
                hint = "name another with --out"
                if (path / CONFIG).is_file():
                    hint += f", or go on with that run: sigprop-snn resume {path}"
                raise SigpropError(
                    f"run folder {str(path)!r} already holds something; expected a new or empty "
                    f"folder ({hint})"
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

    @classmethod
    def existing(cls, path: Path) -> RunFolder:
        """Return the folder of an earlier run.

        Raises:
            SigpropError: if no run lies there.
        """
        try:
            there = (path / CONFIG).is_file()
        except OSError as error:
            raise SigpropError(
                f"run folder {str(path)!r} can't be read ({error.strerror}); expected a folder "
                "that `sigprop-snn train` made"
            ) from error
        if not there:
            raise SigpropError(
                f"no run at {str(path)!r}; expected a folder that `sigprop-snn train` made, "
                f"with a {CONFIG}"
            )
        return cls(path)

    @property
    def figures(self) -> Path:
        """The folder of the run's pictures."""
        return self.path / "figures"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from writing this run for as long as the block lasts.

        The system frees the lock when the process ends, however it ends.

        Raises:
            SigpropError: if another process is writing it.
        """
        handle = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise SigpropError(
                    f"run folder {str(self.path)!r} is being written by another process; "
                    "expected one at a time"
                ) from error
            except OSError:
                pass  # a file system without locks
            yield
        finally:
            os.close(handle)

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a file of one JSON object."""
        text = json.dumps(content, indent=2, allow_nan=False) + "\n"
        write_whole(self.path / name, lambda file: file.write_text(text, encoding="utf-8"))

    def write_metrics(self, history: Sequence[dict[str, Any]]) -> None:
        """Write one line for each epoch, in place of those before."""
        text = "".join(json.dumps(record) + "\n" for record in history)
        write_whole(self.path / METRICS, lambda file: file.write_text(text, encoding="utf-8"))

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write the checkpoint, in place of the one before."""
        write_whole(self.path / CHECKPOINT, lambda file: write_checkpoint(file, state))

    def has(self, name: str) -> bool:
        """Return whether a file is there."""
        return (self.path / name).exists()

    def config(self) -> TrainConfig:
        """Return the run's configuration, as the file says it."""
        return read_config(self.path / CONFIG)

    def checkpoint(self) -> dict[str, Any]:
        """Return the checkpoint's content."""
        return load_checkpoint(self.path / CHECKPOINT)

    def summary(self) -> dict[str, Any]:
        """Return the summary of a run that is finished."""
        place = f"summary {str(self.path / SUMMARY)!r}"
        found = read_json(self.path / SUMMARY, place)
        if not isinstance(found, dict) or "test_accuracy" not in found:
            raise SigpropError(f"{place} holds no test accuracy; expected a file that a run wrote")
        return found

    def metrics(self) -> list[Any]:
        """Return what each line of the metrics holds; nothing if there is no such file."""
        path = self.path / METRICS
        place = f"metrics {str(path)!r}"
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise SigpropError(
                f"{place} can't be read ({error}); expected lines of text"
            ) from error
        return [_parsed(line, f"{place}: line {number}") for number, line in enumerate(lines, 1)]

    def sweep(self) -> None:
        """Take away what a killed process had begun to write."""
        for name in (CONFIG, METRICS, CHECKPOINT, SUMMARY):
            for begun in self.path.glob(f".{name}.*"):
                begun.unlink(missing_ok=True)

    def remove(self) -> None:
        """Take the folder away with all that the run wrote."""
        shutil.rmtree(self.path, ignore_errors=True)


def _parsed(line: str, place: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SigpropError(
            f"{place} is damaged ({error}); expected one JSON object a line"
        ) from error


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file beside its place and move it there, so that no half of it is ever seen.

    Raises:
        SigpropError: if it can't be written, as on a full disk; what was there before stands.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        beside = Path(name)
        try:
            write(beside)
            beside.chmod(0o644)
            os.fsync(handle)  # the content is on the disk before the name is
            beside.replace(path)
        finally:
            os.close(handle)
            beside.unlink(missing_ok=True)
    except OSError as error:
        raise SigpropError(
            f"{str(path)!r} can't be written ({error.strerror}); expected room and permission "
            "there. What was there before is untouched"
        ) from error


def free_name(parent: Path, stem: str) -> Path:
    """Return a path under `parent` that is not taken: `stem`, or `stem-2`, `stem-3`, ..."""
    path, number = parent / stem, 1
    while path.exists():
        number += 1
        path = parent / f"{stem}-{number}"
    return path
