"""Reading a run folder back, and refusing one whose files don't fit each other."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from sigprop_snn.config import NOT_OF_THE_RESULT, TrainConfig
from sigprop_snn.config_file import config_of, settings_of
from sigprop_snn.data import Batches, Data, load
from sigprop_snn.errors import SigpropError
from sigprop_snn.training import randomness
from sigprop_snn.training.folder import CHECKPOINT, CONFIG, METRICS, SUMMARY, RunFolder
from sigprop_snn.training.state import RunState, made_with

_FORMAT = 1
_CONTENT: dict[str, type] = {
    "format": int,
    "config": dict,
    "data": dict,
    "made_with": dict,
    "epoch": int,
    "batch": int,
    "tally": dict,
    "history": list,
    "network": dict,
    "optimizers": dict,
    "schedules": dict,
    "random": dict,
}


def identity(config: TrainConfig, data: Data) -> dict[str, Any]:
    """Return the part of a checkpoint that says which run it belongs to."""
    return {
        "format": _FORMAT,
        "config": config.as_json(),
        "shape": list(data.shape),
        "classes": list(data.classes),
        "data": {
            "train": _fingerprint(data.train),
            "test": _fingerprint(data.test),
            "validation": _fingerprint(data.validation),
        },
        "made_with": made_with(),
    }


def load_data(config: TrainConfig) -> Data:
    """Return the data that a resolved configuration asks for."""
    assert config.steps is not None  # resolved
    assert config.batch_size is not None
    assert config.augment is not None
    data = load(
        config.dataset,
        root=config.data_root,
        steps=config.steps,
        encoding=config.encoding,
        batch_size=config.batch_size,
        train_samples=config.train_samples,
        test_samples=config.test_samples,
        validation=config.validation,
        seed=config.seed,
        augment=config.augment,
    )
    if config.chooses_epoch and data.validation is None:
        raise SigpropError(
            f"patience is {config.patience} but {config.dataset!r} sets no validation samples "
            "apart; expected a fraction of the training samples with --validation"
        )
    return data


@dataclass(frozen=True)
class SavedRun:
    """What a run folder holds, read and found to fit together.

    Attributes:
        folder: the run folder.
        config: its configuration, with nothing left open.
        checkpoint: its checkpoint, or None if the run was killed before its first one.
    """

    folder: RunFolder
    config: TrainConfig
    checkpoint: dict[str, Any] | None

    def config_for(
        self, data_root: Path | None, device: Literal["auto", "cpu", "cuda"] | None
    ) -> TrainConfig:
        """Return the configuration for where the data and the device are now."""
        config = self.config
        if data_root is not None:
            config = replace(config, data_root=data_root)
        if device is not None:
            config = replace(config, device=device)
        return config.resolved()

    def check_data(self, data: Data) -> None:
        """Refuse data that are not those the run began with."""
        if self.checkpoint is None:
            return
        found = identity(self.config, data)
        for key in ("shape", "classes", "data"):
            if self.checkpoint.get(key) != found[key]:
                raise SigpropError(
                    f"the data of {self.config.dataset!r} have another {key} ({found[key]}) than "
                    f"checkpoint {self._checkpoint_path!r} was made with "
                    f"({self.checkpoint.get(key)}); expected the same samples"
                )

    def restore(self, state: RunState) -> None:
        """Put a fresh state where the checkpoint was written."""
        if self.checkpoint is None:
            return
        try:
            state.load(self.checkpoint)
            with randomness.kept():  # a state that can't be put back is found before any writing
                self.restore_randomness()
        except (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())  # torch tells it over several lines
            raise SigpropError(
                f"checkpoint {self._checkpoint_path!r} does not fit the run ({reason}); expected "
                f"the state of the network that {CONFIG} describes"
            ) from error

    def restore_randomness(self) -> None:
        """Put the random states where the checkpoint was written."""
        if self.checkpoint is not None:
            randomness.restore(self.checkpoint["random"])

    def notes(self) -> list[str]:
        """Return what a person should know before going on."""
        then, now = (self.checkpoint or {}).get("made_with"), made_with()
        if then is None or then == now:
            return []
        told = [f"{made['threads']} threads of torch {made['torch']}" for made in (then, now)]
        return [
            f"the run was begun with {told[0]} and goes on with {told[1]}: its weights can differ "
            "in their last bits from those of a run that was never stopped"
        ]

    @property
    def _checkpoint_path(self) -> str:
        return str(self.folder.path / CHECKPOINT)


def read_run(folder: RunFolder) -> SavedRun:
    """Return what a run folder holds; nothing in it is changed.

    Raises:
        SigpropError: if a file is damaged or does not fit the others; the message names it.
    """
    config = folder.config().resolved()
    if not folder.has(CHECKPOINT):
        for name in (METRICS, SUMMARY):
            if folder.has(name):
                raise SigpropError(
                    f"run folder {str(folder.path)!r} holds {name} but no {CHECKPOINT}; expected "
                    "both"
                )
        return SavedRun(folder, config, None)
    checkpoint = folder.checkpoint()
    place = f"checkpoint {str(folder.path / CHECKPOINT)!r}"
    _check_content(checkpoint, place)
    _check_config(config, checkpoint, folder, place)
    _check_metrics(checkpoint["history"], folder)
    return SavedRun(folder, config, checkpoint)


def _check_content(checkpoint: dict[str, Any], place: str) -> None:
    for key, kind in _CONTENT.items():
        if not isinstance(checkpoint.get(key), kind):
            raise SigpropError(
                f"{place} has {type(checkpoint.get(key)).__name__} for {key!r}; expected "
                f"{kind.__name__}"
            )
    if checkpoint["format"] != _FORMAT:
        raise SigpropError(
            f"{place} is of format {checkpoint['format']}; expected {_FORMAT}, of this version"
        )
    if checkpoint["epoch"] != len(checkpoint["history"]) or checkpoint["batch"] < 0:
        raise SigpropError(
            f"{place} stands at epoch {checkpoint['epoch']}, batch {checkpoint['batch']}, with "
            f"{len(checkpoint['history'])} records; expected a record for each epoch"
        )


def _check_config(
    config: TrainConfig, checkpoint: dict[str, Any], folder: RunFolder, place: str
) -> None:
    then = config_of(settings_of(checkpoint["config"], place), place).as_json()
    for key, value in config.as_json().items():
        if key not in NOT_OF_THE_RESULT and value != then[key]:
            raise SigpropError(
                f"{str(folder.path / CONFIG)!r} says {key} is {value!r}, but {place} was made with "
                f"{then[key]!r}; expected the same. A run with other settings is another run: "
                f"sigprop-snn train --config {folder.path / CONFIG}"
            )


def _check_metrics(history: list[Any], folder: RunFolder) -> None:
    """A killed run's metrics may lack the last epoch; they never say anything else."""
    for number, line in enumerate(folder.metrics(), start=1):
        if number > len(history) or line != history[number - 1]:
            raise SigpropError(
                f"line {number} of {str(folder.path / METRICS)!r} is not what the checkpoint "
                f"beside it says of epoch {number}; expected the metrics of the same run"
            )


def _fingerprint(batches: Batches | None) -> dict[str, Any] | None:
    """Return what tells the samples of one draw from those of another, at no cost to speak of."""
    if batches is None:
        return None
    labels = batches.labels.to(torch.int64).numpy().tobytes()
    return {"samples": batches.samples, "labels": hashlib.sha256(labels).hexdigest()}
