"""One rule with one seed: a training run, and the record of its results."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from sigprop_snn.comparison.store import check_settings, settings
from sigprop_snn.data import Data
from sigprop_snn.device import step_memory_mb, to_device
from sigprop_snn.monitors import cost
from sigprop_snn.settings.train_config import TrainConfig
from sigprop_snn.training import Trained, keep_freed_memory, peak_memory_mb, resume, train
from sigprop_snn.training.folder import CONFIG, RunFolder
from sigprop_snn.training.own_data import config_for

_COUNTED = 512  # test samples on which spikes and operations are counted


def run_cell(training: TrainConfig, data: Data | None = None) -> dict[str, Any]:
    """Train, and return the results for the comparison as plain values.

    Peak memory is measured for the whole process, so call this function in a fresh process.

    Args:
        training: the resolved configuration of the run. Its run folder is kept; without one, the
            network is thrown away.
        data: data from outside. They are in this process, whose peak memory is then not measured.
    """
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        out = training.out or Path(folder) / "run"
        if (out / CONFIG).is_file():  # an interrupted comparison
            stored = settings(RunFolder.existing(out).config())
            asked = training if data is None else config_for(training, data)
            check_settings(
                stored, asked.resolved(), f"{str(out)!r} holds a run that was interrupted,"
            )
            trained = resume(
                out, say=_quiet, data=data, data_root=training.data_root, device=training.device
            )
        else:
            trained = train(replace(training, out=out), say=_quiet, data=data)
    # Measure it before the code below, which is no part of learning.
    process_mb = peak_memory_mb(training.torch_device()) if data is None else None
    history = trained.history
    costs = _costs(trained)  # before the steps below, which move the running statistics
    return {
        "test_accuracy": history[-1]["test_accuracy"],
        "test_accuracies": [record["test_accuracy"] for record in history],
        # The first epoch may include the compilation of kernels, hence the median.
        "seconds_per_epoch": statistics.median(record["seconds"] for record in history),
        "memory_mb": _step_memory_mb(trained),
        "process_mb": process_mb,
        "parameters": _parameters(trained),
        "train_samples": trained.summary["train_samples"],
        "test_samples": trained.summary["test_samples"],
        **costs,
    }


def _quiet(_: str) -> None:
    """Ignore a line about the progress of one run."""


def _step_memory_mb(trained: Trained) -> float:
    """Return the peak memory of a learning step in MiB, beyond weights, gradients and input."""
    network = trained.network
    device = next(network.parameters()).device
    inputs, labels = next(iter(trained.data.train))
    inputs, labels = to_device(inputs, device), labels.to(device)
    network.train()
    step = partial(network.learn, inputs, labels, lambda _: None)
    step()  # allocates the gradients
    return step_memory_mb(step, device)


def _parameters(trained: Trained) -> int:
    groups: Mapping[str, list[Any]] = trained.network.local_parameters()
    distinct = {id(weights): weights.numel() for group in groups.values() for weights in group}
    return sum(distinct.values())


def _costs(trained: Trained) -> dict[str, float | None]:
    """Return the mean number of spikes and operations to predict one sample."""
    test = trained.data.test
    first = next(iter(test))[1]
    total = cost(trained.network, islice(test, max(1, _COUNTED // len(first)))).total
    graded = any(block.neuron.graded for block in trained.network.each_block())
    return {
        "spikes": None if graded else total.spikes,
        "operations": total.additions + total.macs,
        "additions": total.additions,
        "macs": total.macs,
        "energy_nj": total.energy,
    }
