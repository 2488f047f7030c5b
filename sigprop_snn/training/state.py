"""All that changes while a run goes on: what a checkpoint holds, and what a resumed run needs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from sigprop_snn.network import Network
from sigprop_snn.training import randomness
from sigprop_snn.training.optimizers import LocalOptimizers
from sigprop_snn.training.schedule import LocalSchedules
from sigprop_snn.training.tally import EpochTally


@dataclass(frozen=True)
class BestEpoch:
    """The best epoch so far on the validation samples.

    Attributes:
        epoch: its number, from 1.
        accuracy: of the network on the validation samples.
        network: the network's state at its end.
    """

    epoch: int
    accuracy: float
    network: dict[str, Tensor]


@dataclass
class RunState:
    """All that changes while a run goes on.

    Attributes:
        network: the network as it learns.
        optimizers: its optimizers.
        schedules: what moves their learning rates.
        history: the records of the epochs that are finished.
        batch: how many batches of the next epoch were learned from.
        tally: what was counted over these.
        best: the best epoch so far, where one is chosen.
    """

    network: Network
    optimizers: LocalOptimizers
    schedules: LocalSchedules
    history: list[dict[str, Any]] = field(default_factory=list)
    batch: int = 0
    tally: EpochTally = field(default_factory=EpochTally)
    best: BestEpoch | None = None

    def finish_epoch(self, record: dict[str, Any]) -> None:
        """Take an epoch's record and stand before the next one."""
        self.history.append(record)
        self.batch = 0
        self.tally = EpochTally()
        accuracy = record.get("validation_accuracy")
        if accuracy is not None and (self.best is None or accuracy > self.best.accuracy):
            network = {name: value.clone() for name, value in self.network.state_dict().items()}
            self.best = BestEpoch(len(self.history), accuracy, network)

    def stale(self, patience: int | None) -> bool:
        """Return whether the last `patience` epochs were no better than one before them."""
        if patience is None or self.best is None:
            return False
        return len(self.history) - self.best.epoch >= patience

    def choose_epoch(self) -> int:
        """Put the network where the best epoch left it, if one is chosen; return which it holds."""
        if self.best is None:
            return len(self.history)
        self.network.load_state_dict(self.best.network)
        return self.best.epoch

    def as_dict(self) -> dict[str, Any]:
        """Return the state, and the process's random states, as plain values and tensors."""
        return {
            "epoch": len(self.history),
            "batch": self.batch,
            "tally": asdict(self.tally),
            "history": self.history,
            "network": self.network.state_dict(),
            "best": None if self.best is None else vars(self.best),
            "optimizers": self.optimizers.state_dict(),
            "schedules": self.schedules.state_dict(),
            "random": randomness.capture(),
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Take back what `as_dict` returned, all but the random states."""
        self.network.load_state_dict(saved["network"])
        self.optimizers.load_state_dict(saved["optimizers"])
        self.schedules.load_state_dict(saved["schedules"])
        self.history = list(saved["history"])
        self.batch = saved["batch"]
        self.tally = EpochTally(**saved["tally"])
        self.best = None if saved["best"] is None else BestEpoch(**saved["best"])


def made_with() -> dict[str, Any]:
    """Return what decides over the last bits of a sum: torch's version and its threads."""
    return {"torch": str(torch.__version__), "threads": torch.get_num_threads()}
