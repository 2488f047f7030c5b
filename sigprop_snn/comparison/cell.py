"""One rule, one seed: a training run, and what is kept of it."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from sigprop_snn.monitors import cost
from sigprop_snn.training import TrainConfig, Trained, keep_freed_memory, peak_memory_mb, train

_COUNTED = 512  # test samples that spikes and operations are counted on


def run_cell(training: TrainConfig) -> dict[str, Any]:
    """Train, and return what a comparison keeps, as plain values.

    The peak of the memory is the process's: call it in a fresh one.

    Args:
        training: the run, resolved.
    """
    keep_freed_memory()
    device = training.torch_device()
    before = peak_memory_mb(device)
    with tempfile.TemporaryDirectory() as folder:
        settings = {**vars(training), "out": Path(folder) / "run"}
        trained = train(TrainConfig(**settings), say=lambda _: None)
    peak = peak_memory_mb(device)  # before the counting, which is no part of learning
    history = trained.history
    return {
        "test_accuracy": history[-1]["test_accuracy"],
        "test_accuracies": [record["test_accuracy"] for record in history],
        # The first epoch compiles kernels where the machine has not seen them yet.
        "seconds_per_epoch": statistics.median(record["seconds"] for record in history),
        "memory_mb": peak - before,
        "process_mb": peak,
        "parameters": _parameters(trained),
        "train_samples": trained.summary["train_samples"],
        "test_samples": trained.summary["test_samples"],
        **_costs(trained),
    }


def _parameters(trained: Trained) -> int:
    groups: Mapping[str, list[Any]] = trained.network.local_parameters()
    distinct = {id(weights): weights.numel() for group in groups.values() for weights in group}
    return sum(distinct.values())


def _costs(trained: Trained) -> dict[str, float | None]:
    """Return spikes and operations of a sample's inference, in the mean."""
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
