"""One rule, one seed: a training run, and what is kept of it."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Mapping
from functools import partial
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from sigprop_snn.config import TrainConfig
from sigprop_snn.device import to_device
from sigprop_snn.monitors import cost
from sigprop_snn.training import Trained, keep_freed_memory, peak_memory_mb, train

_COUNTED = 512  # test samples that spikes and operations are counted on


def run_cell(training: TrainConfig) -> dict[str, Any]:
    """Train, and return what a comparison keeps, as plain values.

    The peak of the memory is the process's: call it in a fresh one.

    Args:
        training: the run, resolved.
    """
    keep_freed_memory()
    with tempfile.TemporaryDirectory() as folder:
        settings = {**vars(training), "out": Path(folder) / "run"}
        trained = train(TrainConfig(**settings), say=lambda _: None)
    # Taken before what follows, which is no part of learning.
    process = peak_memory_mb(training.torch_device())
    history = trained.history
    return {
        "test_accuracy": history[-1]["test_accuracy"],
        "test_accuracies": [record["test_accuracy"] for record in history],
        # The first epoch compiles kernels where the machine has not seen them yet.
        "seconds_per_epoch": statistics.median(record["seconds"] for record in history),
        "memory_mb": _step_memory_mb(trained),
        "process_mb": process,
        "parameters": _parameters(trained),
        "train_samples": trained.summary["train_samples"],
        "test_samples": trained.summary["test_samples"],
        **_costs(trained),
    }


def _step_memory_mb(trained: Trained) -> float:
    """Return what a learning step takes beyond what stays, at its peak, in MiB.

    On a CPU it is torch's own record of what is allocated and freed: exact, where a process's
    figures move with the habits of the C library.
    """
    network = trained.network
    device = next(network.parameters()).device
    inputs, labels = next(iter(trained.data.train))
    inputs, labels = to_device(inputs, device), labels.to(device)
    network.train()
    step = partial(network.learn, inputs, labels, lambda _: None)
    step()  # leaves the gradients, which stay
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        return float(torch.cuda.max_memory_allocated(device) - before) / 2**20
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    assert profiled.profiler is not None and profiled.profiler.kineto_results is not None
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = accumulate(e.nbytes() for e in sorted(events, key=lambda e: e.start_ns()))
    return max(held, default=0) / 2**20


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
