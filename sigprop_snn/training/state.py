"""All that changes while a run goes on: what a checkpoint holds, and what a resumed run needs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from sigprop_snn.network import Network
from sigprop_snn.training import randomness
from sigprop_snn.training.optimizers import LocalOptimizers
from sigprop_snn.training.tally import EpochTally


@dataclass
class RunState:
    """All that changes while a run goes on.

    Attributes:
        network: the network as it learns.
        optimizers: its optimizers.
        history: the records of the epochs that are finished.
        batch: how many batches of the next epoch were learned from.
        tally: what was counted over these.
    """

    network: Network
    optimizers: LocalOptimizers
    history: list[dict[str, Any]] = field(default_factory=list)
    batch: int = 0
    tally: EpochTally = field(default_factory=EpochTally)

    def finish_epoch(self, record: dict[str, Any]) -> None:
        """Take an epoch's record and stand before the next one."""
        self.history.append(record)
        self.batch = 0
        self.tally = EpochTally()

    def as_dict(self) -> dict[str, Any]:
        """Return the state, and the process's random states, as plain values and tensors."""
        return {
            "epoch": len(self.history),
            "batch": self.batch,
            "tally": asdict(self.tally),
            "history": self.history,
            "network": self.network.state_dict(),
            "optimizers": self.optimizers.state_dict(),
            "random": randomness.capture(),
        }

    def load(self, saved: dict[str, Any]) -> None:
        """Take back what `as_dict` returned, all but the random states."""
        self.network.load_state_dict(saved["network"])
        self.optimizers.load_state_dict(saved["optimizers"])
        self.history = list(saved["history"])
        self.batch = saved["batch"]
        self.tally = EpochTally(**saved["tally"])


def made_with() -> dict[str, Any]:
    """Return what decides over the last bits of a sum: torch's version and its threads."""
    return {"torch": str(torch.__version__), "threads": torch.get_num_threads()}
