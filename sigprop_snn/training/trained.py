"""What is known of a run that has been trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sigprop_snn.config import TrainConfig
from sigprop_snn.data import Data
from sigprop_snn.network import Network
from sigprop_snn.training.folder import RunFolder


@dataclass(frozen=True)
class Trained:
    """A run that has been trained.

    Attributes:
        config: its configuration, with nothing left open.
        network: the trained network, in evaluation mode.
        data: what it was trained and tested on.
        history: the epochs' records, as in `metrics.jsonl`.
        summary: as in `summary.json`; empty for a run that is not finished.
        folder: where the run was written.
        epoch: the epoch that the network was chosen from: the best on the validation samples if
            there are any, otherwise the last.
        batch: how many batches of the next one it has learned from, where it was stopped there.
    """

    config: TrainConfig
    network: Network
    data: Data
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    folder: RunFolder
    epoch: int
    batch: int = 0
