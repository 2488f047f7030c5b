"""The run folder: the files of a run, each written in full or not at all."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError as error:
    raise ImportError(
        "sigprop_snn needs the file locks of Linux or macOS; on Windows, run it in WSL"
    ) from error

from sigprop_snn.arguments import path as as_path
from sigprop_snn.errors import SigpropError
from sigprop_snn.files import write_atomically, write_text_atomically
from sigprop_snn.settings.config_file import config_of, read_config, read_json, settings_of
from sigprop_snn.settings.train_config import NOT_OF_THE_RESULT, TrainConfig
from sigprop_snn.training.checkpoint import load_run_checkpoint, write_checkpoint

CONFIG, METRICS, CHECKPOINT, SUMMARY = (
    "config.json",
    "metrics.jsonl",
    "checkpoint.pt",
    "summary.json",
)


class RunFolder:
    """The folder of one run.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._saved_at = time.monotonic()

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> RunFolder:
        """Make the folder of a new run.

        Raises:
            SigpropError: if the folder is not empty or can't be written to.
        """
        path = as_path("out", path)
        try:
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                hint = "choose another with --out"
                if (path / CONFIG).is_file():
                    hint += f", or continue that run: sigprop-snn resume {shlex.quote(str(path))}"
                raise SigpropError(
                    f"run folder {str(path)!r} is not empty; expected a new or empty folder "
                    f"({hint})"
                )
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            raise SigpropError(
                f"run folder {str(path)!r} can't be written to ({error.strerror}); "
                "expected a folder with write permission (choose another with --out)"
            ) from error
        return cls(path)

    @classmethod
    def existing(cls, path: str | os.PathLike[str]) -> RunFolder:
        """Return the folder of an earlier run.

        Raises:
            SigpropError: if the folder holds no run.
        """
        path = as_path("path", path)
        try:
            found = (path / CONFIG).is_file()
        except OSError as error:
            raise SigpropError(
                f"run folder {str(path)!r} can't be read ({error.strerror}); expected a folder "
                "that `sigprop-snn train` made"
            ) from error
        if not found:
            raise SigpropError(
                f"no run at {str(path)!r}; expected a folder that `sigprop-snn train` made, "
                f"with a {CONFIG}"
            )
        return cls(path)

    @property
    def figures(self) -> Path:
        """The folder of the run's figures."""
        return self.path / "figures"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing this run during the `with` block.

        The system releases the lock when the process ends, even if it is killed.

        Raises:
            SigpropError: if another process has the lock.
        """
        try:
            handle = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise SigpropError(
                f"run folder {str(self.path)!r} can't be opened ({error.strerror}); expected a "
                "folder with read permission"
            ) from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise SigpropError(
                    f"run folder {str(self.path)!r} is in use by another process; expected one "
                    "process at a time"
                ) from error
            except OSError:
                pass  # a file system without locks
            yield
        finally:
            os.close(handle)

    def load(
        self,
        *,
        data_root: str | os.PathLike[str] | None = None,
        device: str | None = None,
        epochs: int | None = None,
    ) -> tuple[TrainConfig, dict[str, Any] | None]:
        """Return the run's resolved configuration, and its checkpoint if there is one.

        Nothing in the folder is changed. The configuration may have another number of epochs than
        the checkpoint: the run then goes on to this number.

        Args:
            data_root: replaces the configuration's folder of data sets, if not None.
            device: replaces the configuration's device, if not None.
            epochs: replaces the configuration's number of epochs, if not None.

        Raises:
            SigpropError: if a file is damaged or does not fit the others. The message names it.
        """
        config = self.config()
        if data_root is not None:
            config = replace(config, data_root=as_path("data_root", data_root))
        if device is not None:
            config = replace(config, device=device)
        if epochs is not None:
            config = replace(config, epochs=epochs)
        config = config.resolved()
        if not self.has(CHECKPOINT):
            for name in (METRICS, SUMMARY):
                if self.has(name):
                    raise SigpropError(
                        f"run folder {str(self.path)!r} holds {name} but no {CHECKPOINT}; "
                        "expected both"
                    )
            return config, None
        # The lines are read first. A run that still trains writes a checkpoint before its line, so
        # the checkpoint has the epochs of all lines read here.
        lines = self.metrics()
        checkpoint = load_run_checkpoint(self.path / CHECKPOINT)
        self._check_config(config, checkpoint["config"])
        self._check_metrics(lines, checkpoint["history"])
        self._check_epochs(config, len(checkpoint["history"]))
        return config, checkpoint

    def config(self) -> TrainConfig:
        """Return the configuration in the folder's file."""
        return read_config(self.path / CONFIG)

    def summary(self) -> dict[str, Any]:
        """Return the summary of a finished run."""
        place = f"summary {str(self.path / SUMMARY)!r}"
        summary = read_json(self.path / SUMMARY, place)
        if not isinstance(summary, dict) or "test_accuracy" not in summary:
            raise SigpropError(f"{place} has no 'test_accuracy'; expected a file of a training run")
        return summary

    def metrics(self) -> list[Any]:
        """Return the content of each line of the metrics file; nothing if there is no file."""
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

    def has(self, name: str) -> bool:
        """Return whether a file exists."""
        return (self.path / name).exists()

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        """Write a file of one JSON object."""
        text = json.dumps(content, indent=2, allow_nan=False) + "\n"
        write_text_atomically(self.path / name, text)

    def write_metrics(self, history: Sequence[dict[str, Any]]) -> None:
        """Write the metrics file, one line for each epoch."""
        text = "".join(json.dumps(record) + "\n" for record in history)
        write_text_atomically(self.path / METRICS, text)

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Write the checkpoint."""
        write_atomically(self.path / CHECKPOINT, lambda file: write_checkpoint(file, state))
        self._saved_at = time.monotonic()

    def seconds_since_checkpoint(self) -> float:
        """Return the seconds since this object was made or wrote its last checkpoint."""
        return time.monotonic() - self._saved_at

    def remove_partial_files(self) -> None:
        """Delete files that a killed process did not finish."""
        for name in (CONFIG, METRICS, CHECKPOINT, SUMMARY):
            for partial in self.path.glob(f".{name}.*"):
                self._delete(partial)

    def remove_summary(self) -> None:
        """Delete the summary of a run that goes on."""
        self._delete(self.path / SUMMARY)

    def _delete(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise SigpropError(
                f"{str(path)!r} can't be deleted ({error.strerror}); expected a run folder with "
                "write permission"
            ) from error

    def remove(self) -> None:
        """Delete the folder with all its files."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _check_config(self, config: TrainConfig, saved: dict[str, Any]) -> None:
        place = f"checkpoint {str(self.path / CHECKPOINT)!r}"
        expected = config_of(settings_of(saved, place), place).as_json()
        for key, value in config.as_json().items():
            if key not in (*NOT_OF_THE_RESULT, "epochs") and value != expected[key]:
                raise SigpropError(
                    f"{str(self.path / CONFIG)!r} has {value!r} for {key}, but {place} was made "
                    f"with {expected[key]!r}; expected the same. For a run with other settings: "
                    f"sigprop-snn train --config {shlex.quote(str(self.path / CONFIG))}"
                )

    def _check_epochs(self, config: TrainConfig, done: int) -> None:
        assert config.epochs is not None  # resolved
        if config.epochs < done:
            raise SigpropError(
                f"epochs is {config.epochs}, but the run in {str(self.path)!r} has learned "
                f"{done}; expected {done} or more"
            )

    def _check_metrics(self, lines: list[Any], history: list[Any]) -> None:
        # The last line may be missing: a run can be killed before it writes it.
        for number, line in enumerate(lines, start=1):
            if number > len(history) or line != history[number - 1]:
                raise SigpropError(
                    f"line {number} of {str(self.path / METRICS)!r} differs from the checkpoint's "
                    f"record of epoch {number}; expected the metrics of the same run"
                )


def free_name(parent: Path, stem: str) -> Path:
    """Return a path in `parent` that does not exist: `stem`, or `stem-2`, `stem-3`, ..."""
    path, number = parent / stem, 1
    while path.exists():
        number += 1
        path = parent / f"{stem}-{number}"
    return path


def _parsed(line: str, place: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise SigpropError(
            f"{place} is damaged ({error}); expected one JSON object per line"
        ) from error
