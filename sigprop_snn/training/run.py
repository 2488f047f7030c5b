"""A training run: its configuration, data and network, and how far it has come."""

from __future__ import annotations

import hashlib
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sigprop_snn.data import Batches, Data
from sigprop_snn.data.feeding import feed
from sigprop_snn.data.loaders import LoaderBatches
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import Network
from sigprop_snn.neurons.engines import engine_for
from sigprop_snn.optimizers.catalogue import optimizer_of
from sigprop_snn.optimizers.local_optimizers import LocalOptimizers
from sigprop_snn.optimizers.schedules import SCHEDULES, LocalSchedules
from sigprop_snn.settings.train_config import TrainConfig
from sigprop_snn.training import randomness
from sigprop_snn.training.building import (
    build_network,
    channels_last,
    check_validation,
    layer_rates,
    load_data,
)
from sigprop_snn.training.checkpoint import FORMAT, load_checkpoint
from sigprop_snn.training.folder import CHECKPOINT, RunFolder
from sigprop_snn.training.metrics import EpochMetrics


@dataclass(frozen=True)
class BestEpoch:
    """The best epoch so far on the validation samples.

    Attributes:
        epoch: its number, from 1.
        accuracy: the network's accuracy on the validation samples.
        network: the network's state at the end of the epoch.
    """

    epoch: int
    accuracy: float
    network: dict[str, Tensor]


@dataclass
class TrainingRun:
    """A training run. `checkpoint` and `restore` keep all that changes while it learns.

    Attributes:
        config: its resolved configuration.
        data: its training, validation and test samples.
        network: the network.
        optimizers: the optimizers of the layers.
        schedules: the schedules of their learning rates.
        history: the records of the finished epochs.
        batch: number of batches of the current epoch that the network has learned from.
        metrics: sums over these batches.
        best: the best epoch so far, if validation samples choose one.
        random_states: the random states to start from; None for a new run.
    """

    config: TrainConfig
    data: Data
    network: Network
    optimizers: LocalOptimizers
    schedules: LocalSchedules
    history: list[dict[str, Any]] = field(default_factory=list)
    batch: int = 0
    metrics: EpochMetrics = field(default_factory=EpochMetrics)
    best: BestEpoch | None = None
    random_states: dict[str, Any] | None = None
    _fed: dict[int, Batches] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def new(cls, config: TrainConfig, data: Data | None = None) -> TrainingRun:
        """Load the data and build the network of a run before its first batch.

        Args:
            config: the resolved configuration.
            data: the data of a run whose data come from outside; see `own_data.data_of`.
        """
        assert config.learning_rate is not None and config.epochs is not None  # resolved
        if data is None:
            data = load_data(config)
        check_validation(config, data)
        network = build_network(config, data.shape, len(data.classes))
        network = network.to(config.torch_device())
        if channels_last(network, config):
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        make = partial(optimizer_of, config.optimizer, weight_decay=config.weight_decay)
        rates = layer_rates(network, config)
        optimizers = LocalOptimizers(
            network,
            make(rate=config.learning_rate),
            {layer: make(rate=config.learning_rate * factor) for layer, factor in rates.items()},
        )
        batches = config.epochs * len(data.train)
        schedules = LocalSchedules(optimizers, SCHEDULES[config.schedule], batches)
        return cls(config, data, network, optimizers, schedules)

    @property
    def epochs(self) -> int:
        """Number of epochs, if the run does not stop early."""
        assert self.config.epochs is not None  # resolved
        return self.config.epochs

    @property
    def device(self) -> torch.device:
        """The device that the network is on."""
        return next(self.network.parameters()).device

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """The dtype of matrix products under autocast, or None for float32."""
        return autocast_dtype(self.config)

    def fed(self, batches: Batches) -> Batches:
        """Return batches of the run's data in the way that keeps its device busy; see `feed`."""
        if id(batches) not in self._fed:
            self._fed[id(batches)] = feed(batches, self.device)
        return self._fed[id(batches)]

    def is_over(self) -> bool:
        """Return whether all epochs are done, or patience has run out."""
        done, patience = len(self.history), self.config.patience
        stale = (
            patience is not None and self.best is not None and done - self.best.epoch >= patience
        )
        return stale or done >= self.epochs

    def description(self) -> str:
        """Return a line about the data, the network and the rule."""
        config, data = self.config, self.data
        validation = (
            f", {data.validation.samples} validation" if data.validation is not None else ""
        )
        slow = engine_for(self.device).name == "reference"
        kernels = " without kernels, step by step in torch" if slow else ""
        return (
            f"{config.dataset}: {data.train.samples} training{validation} and "
            f"{data.test.samples} test samples, {config.steps} steps; network {config.network}, "
            f"rule {config.rule}, on {self.device}{kernels}"
        )

    def position(self) -> str:
        """Return how far the run has come, in words."""
        if self.is_over():
            return f"finished; epochs learned: {len(self.history)}"
        return (
            f"in epoch {len(self.history) + 1} of {self.epochs}, after {self.batch} "
            f"of {len(self.data.train)} batches"
        )

    def finish_epoch(self, record: dict[str, Any]) -> None:
        """Add the record of the current epoch and move to the next epoch."""
        self.history.append(record)
        self.batch = 0
        self.metrics = EpochMetrics()
        accuracy = record.get("validation_accuracy")
        if accuracy is not None and (self.best is None or accuracy > self.best.accuracy):
            network = {name: value.clone() for name, value in self.network.state_dict().items()}
            self.best = BestEpoch(len(self.history), accuracy, network)

    def choose_epoch(self) -> int:
        """Return the number of the best epoch, and load its state into the network.

        Without validation samples it is the last epoch, and the network stays as it is.
        """
        if self.best is None:
            return len(self.history)
        self.network.load_state_dict(self.best.network)
        return self.best.epoch

    def checkpoint(self, metrics: EpochMetrics | None = None) -> dict[str, Any]:
        """Return the run and the random states of the process, as plain values and tensors.

        Args:
            metrics: the sums over the batches of the epoch, if they are not this process's.
        """
        metrics = self.metrics if metrics is None else metrics
        metrics.settle()
        return {
            "format": FORMAT,
            "config": self.config.as_json(),
            **_description_of(self.data),
            "content": _content_of(self.data),
            "made_with": _rounding(),
            "epoch": len(self.history),
            "batch": self.batch,
            "tally": asdict(metrics),
            "history": self.history,
            "network": self.network.state_dict(),
            "best": None if self.best is None else vars(self.best),
            "optimizers": self.optimizers.state_dict(),
            "schedules": self.schedules.state_dict(),
            "random": randomness.capture(),
        }

    def restore(self, checkpoint: dict[str, Any], place: str) -> None:
        """Put a new run where a checkpoint was written.

        The random states of the process stay as they are; `random_states` holds those to restore.

        Args:
            checkpoint: what `load_run_checkpoint` returned.
            place: the file's name, for errors.

        Raises:
            SigpropError: if the run's data are others than the checkpoint's, or its network has
                another form.
        """
        for key, expected in _description_of(self.data).items():
            if checkpoint.get(key) != expected:
                raise SigpropError(
                    f"the data of {self.config.dataset!r} have {key} {expected}, but checkpoint "
                    f"{place!r} was made with {checkpoint.get(key)}; expected the same samples"
                )
        before = checkpoint.get("content", {})  # runs of older versions have none
        now = _content_of(self.data) if before else {}
        for split, content in now.items():
            if content != before.get(split):
                raise SigpropError(
                    f"the {split} samples of {self.config.dataset!r} have changed since checkpoint "
                    f"{place!r} was made; expected the same files or values"
                )
        try:
            self.network.load_state_dict(checkpoint["network"])
            self.history = list(checkpoint["history"])
            self.batch = checkpoint["batch"]
            self._restore_rates(checkpoint)
            self.metrics = EpochMetrics(**checkpoint["tally"])
            self.best = None if checkpoint["best"] is None else BestEpoch(**checkpoint["best"])
            self.random_states = checkpoint["random"]
            with randomness.kept():  # finds damaged random states before anything is written
                randomness.restore(checkpoint["random"])
        except (AttributeError, KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())  # torch's messages have several lines
            raise SigpropError(
                f"checkpoint {place!r} does not fit the run ({reason}); expected the state of the "
                "network that the run's config.json describes"
            ) from error

    def _restore_rates(self, checkpoint: dict[str, Any]) -> None:
        """Restore optimizers and schedules.

        If the run now has another number of epochs, the schedule is that of a run which had this
        number from the start, at the same batch.
        """
        if checkpoint["config"]["epochs"] == self.epochs:
            self.optimizers.load_state_dict(checkpoint["optimizers"])
            self.schedules.load_state_dict(checkpoint["schedules"])
            return
        with warnings.catch_warnings():
            # Torch warns of a schedule that moves before its optimizer.
            warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
            for _ in range(len(self.history) * len(self.data.train) + self.batch):
                self.schedules.step()
        rates = [group["lr"] for group in self.optimizers.param_groups]
        self.optimizers.load_state_dict(checkpoint["optimizers"])
        for group, rate in zip(self.optimizers.param_groups, rates, strict=True):
            group["lr"] = rate


def load_weights(network: Network, path: Path) -> str:
    """Start a network from the weights of an earlier run, where name and shape agree.

    Args:
        network: the network.
        path: the folder of the earlier run.

    Returns:
        A line about the layers that start from the run and those that are new.

    Raises:
        SigpropError: if there is no checkpoint, or no weight agrees.
    """
    folder = RunFolder.existing(path)
    checkpoint = load_checkpoint(folder.path / CHECKPOINT)
    best = checkpoint.get("best")
    saved = checkpoint["network"] if best is None else best["network"]
    own = network.state_dict()
    fits = {
        name: value
        for name, value in saved.items()
        if name in own and isinstance(value, Tensor) and value.shape == own[name].shape
    }
    of_blocks = {name for name in own if name.startswith("blocks.") and name.endswith("weight")}
    if not of_blocks & fits.keys():
        raise SigpropError(
            f"init_from is {str(path)!r}, whose blocks have weights of other shapes; expected a "
            "run of the same network"
        )
    network.load_state_dict({**own, **fits})
    new = sorted({name for name, _ in network.named_parameters()} - fits.keys())
    return f"starts from the weights of {path}" + (f"; new: {', '.join(new)}" if new else "")


def rounding_note(checkpoint: dict[str, Any]) -> str | None:
    """Return why a resumed run may differ in its last bits from an uninterrupted one, if it may."""
    before, now = checkpoint["made_with"], _rounding()
    if before == now:
        return None
    return (
        f"the run began with {before['threads']} threads of torch {before['torch']} and continues "
        f"with {now['threads']} threads of torch {now['torch']}: the last bits of its weights may "
        "differ from those of an uninterrupted run"
    )


def patience_note(run: TrainingRun) -> str | None:
    """Return a line that says that patience ended a finished run before its last epoch, or None."""
    if len(run.history) >= run.epochs:
        return None
    return f"patience {run.config.patience} has run out: no epoch is added"


def autocast_dtype(config: TrainConfig) -> torch.dtype | None:
    """Return the dtype of a run's matrix products under autocast, or None for float32."""
    return None if config.precision == "float32" else torch.bfloat16


def precision(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """Return the context in which a run computes: autocast, or an empty one for float32."""
    dtype = autocast_dtype(config)
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)


def schedule_note(config: TrainConfig, checkpoint: dict[str, Any]) -> str | None:
    """Return how the learning rate continues if the run has another number of epochs, or None."""
    before = checkpoint["config"]["epochs"]
    if before == config.epochs:
        return None
    return (
        f"{config.epochs} epochs, not {before}: the learning rate continues as in a run that had "
        f"{config.epochs} epochs from the start (schedule {config.schedule})"
    )


def _description_of(data: Data) -> dict[str, Any]:
    """Return what tells these data from others, as plain values."""
    return {
        "shape": list(data.shape),
        "classes": list(data.classes),
        "data": {
            "train": _fingerprint(data.train),
            "test": _fingerprint(data.test),
            "validation": _fingerprint(data.validation),
        },
    }


def _fingerprint(batches: Batches | None) -> dict[str, Any] | None:
    """Return the number of samples and a hash of their labels, which costs almost no time."""
    if batches is None:
        return None
    found = batches.labels.to(torch.int64)
    # The order of a loader that shuffles is not part of the data.
    found = found.sort().values if isinstance(batches, LoaderBatches) and batches.changes else found
    labels = found.numpy().tobytes()
    return {"samples": batches.samples, "labels": hashlib.sha256(labels).hexdigest()}


def _content_of(data: Data) -> dict[str, str | None]:
    """Return a hash of the samples of each split; None for loaders, which may change them."""
    splits = {"training": data.train, "test": data.test, "validation": data.validation}
    return {
        name: batches.fingerprint() if isinstance(batches, Batches) else None
        for name, batches in splits.items()
    }


def _rounding() -> dict[str, Any]:
    """Return what decides the last bits of a sum: torch's version and its number of threads."""
    return {"torch": str(torch.__version__), "threads": torch.get_num_threads()}
