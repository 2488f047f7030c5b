"""The folder of a comparison: one file for each finished run, and the results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from sigprop_snn.errors import SigpropError
from sigprop_snn.files import write_text_atomically
from sigprop_snn.settings.train_config import NOT_OF_THE_RESULT, TrainConfig

_CELLS, _RUNS = "cells", "runs"


class Store:
    """The folder of a comparison. Each file is written in full or not at all.

    Args:
        path: the folder. It is made if necessary, and may hold the records of an earlier call.

    Raises:
        SigpropError: if the folder can't be written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            (path / _CELLS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SigpropError(
                f"comparison folder {str(path)!r} can't be written to ({error.strerror}); "
                "expected a folder with write permission (choose another with --out)"
            ) from error

    def load(self, training: TrainConfig) -> dict[str, Any] | None:
        """Return the record of a run, or None if the run failed or has no record.

        Raises:
            SigpropError: if the record is damaged, or of a run with other settings.
        """
        path = self._cell(training)
        if not path.exists():
            return None
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            config, error = record["config"], record["error"]
        except (ValueError, KeyError, TypeError, OSError) as problem:
            raise SigpropError(
                f"{str(path)!r} can't be read ({type(problem).__name__}); expected the record of "
                "a finished run (delete the file to repeat the run)"
            ) from problem
        holds = f"comparison folder {str(self.path)!r} holds {training.rule}, seed {training.seed},"
        check_settings(config, training, holds)
        return None if error is not None else record

    def placed(self, training: TrainConfig) -> TrainConfig:
        """Return the configuration of a run with its run folder, which keeps the network."""
        return replace(training, out=self.path / _RUNS / self._cell(training).stem)

    def save(self, training: TrainConfig, outcome: Mapping[str, Any]) -> dict[str, Any]:
        """Write the record of a run and return it."""
        record = {
            "rule": training.rule,
            "seed": training.seed,
            "error": None,
            **outcome,
            "config": settings(training),
        }
        self.write(f"{_CELLS}/{self._cell(training).name}", as_json(record))
        return record

    def write(self, name: str, text: str) -> Path:
        """Write a text file into the folder and return its path."""
        return write_text_atomically(self.path / name, text)

    def _cell(self, training: TrainConfig) -> Path:
        return self.path / _CELLS / f"{training.rule}-seed{training.seed}.json"


def settings(training: TrainConfig) -> dict[str, Any]:
    """Return the settings that decide the result of a run, as plain values."""
    return {k: v for k, v in training.as_json().items() if k not in NOT_OF_THE_RESULT}


def check_settings(stored: Mapping[str, Any], training: TrainConfig, holds: str) -> None:
    """Check that stored settings are those of a run.

    Args:
        stored: what `settings` returned.
        training: the configuration of the run.
        holds: the place, as the beginning of the message.

    Raises:
        SigpropError: if one of them differs.
    """
    for name, value in settings(training).items():
        if stored.get(name) != value:
            raise SigpropError(
                f"{holds} with {stored.get(name)!r} for {name}; expected {value!r} (choose another "
                "folder with --out)"
            )


def as_json(content: Mapping[str, Any]) -> str:
    """Return a JSON object as text."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"
