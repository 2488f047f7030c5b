"""The result of a training run, and reading it from a run folder."""

from __future__ import annotations

import os
import shlex
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sigprop_snn.data import Data
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import Network
from sigprop_snn.settings.train_config import TrainConfig
from sigprop_snn.training.folder import CHECKPOINT, SUMMARY, RunFolder
from sigprop_snn.training.own_data import given_data
from sigprop_snn.training.run import TrainingRun, precision


@dataclass(frozen=True)
class Trained:
    """The result of a training run.

    Attributes:
        config: the run's resolved configuration.
        network: the trained network, in evaluation mode.
        data: the run's training, validation and test samples.
        history: the records of the epochs, as in `metrics.jsonl`.
        summary: as in `summary.json`; empty for an unfinished run.
        folder: the run folder.
        epoch: number of the epoch that the network is from: the best on the validation samples if
            there are any, otherwise the last.
        batch: number of batches of the next epoch that the network has learned from, in an
            unfinished run.
    """

    config: TrainConfig
    network: Network
    data: Data
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    folder: RunFolder
    epoch: int
    batch: int = 0

    def precision(self) -> AbstractContextManager[object]:
        """Return the context in which the run computes: autocast, or an empty one for float32."""
        return precision(self.config, next(self.network.parameters()).device)


def load_run(
    path: str | os.PathLike[str],
    *,
    data_root: str | os.PathLike[str] | None = None,
    device: str | None = None,
    data: Any = None,
) -> Trained:
    """Return a run from its folder, as `train` returned it. Nothing in the folder is changed.

    Args:
        path: the run folder. An unfinished run gives the network of its last checkpoint or of its
            best epoch so far, and an empty summary.
        data_root: the folder that holds the data sets now, if not that of the run.
        device: the device to compute on now, if not that of the run.
        data: the data of a run that was trained on data from outside; see `train`.

    Raises:
        SigpropError: if there is no checkpoint, a file is damaged or does not fit the others, or
            the data are others than those of the run.
    """
    folder = RunFolder.existing(path)
    config, checkpoint = folder.load(data_root=data_root, device=device)
    if checkpoint is None:
        place = str(folder.path)
        raise SigpropError(
            f"run folder {place!r} has no {CHECKPOINT} yet; expected one. To continue the run: "
            f"sigprop-snn resume {shlex.quote(place)}"
        )
    run = TrainingRun.new(config, given_data(config, data))
    run.restore(checkpoint, str(folder.path / CHECKPOINT))
    return Trained(
        config,
        run.network.eval(),
        run.data,
        run.history,
        folder.summary() if run.is_over() and folder.has(SUMMARY) else {},
        folder,
        run.choose_epoch(),
        batch=run.batch if run.best is None else 0,
    )
