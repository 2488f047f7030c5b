"""A product of spikes beside the dense one: `python benchmarks/spike_product.py`.

T = 50, 128 samples, 784 to 800; ratios of the medians of interleaved repeats, listing included.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sigprop_snn.network import HalvingPool
from sigprop_snn.neurons.kernels import event_linear, event_outer
from sigprop_snn.training import keep_freed_memory

REPEATS = 9


def ratio(dense: Callable[[], object], ours: Callable[[], object]) -> float:
    """Return how many times longer the dense way takes."""
    found: tuple[list[float], list[float]] = ([], [])
    for repeat in range(REPEATS + 1):
        for task, times in zip((dense, ours), found, strict=True):
            start = time.perf_counter()
            task()
            if repeat:
                times.append(time.perf_counter() - start)
    return statistics.median(found[0]) / statistics.median(found[1])


def main() -> None:
    """Measure spikes without any order in time, which is the hardest case; print the ratios."""
    keep_freed_memory()
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(800, 784, generator=generator)
    grad = torch.randn(50, 128, 800, generator=generator)
    print(f"{torch.get_num_threads()} threads; times faster than torch's dense product")
    print(f"{'spikes':>8} {'product':>9} {'weight gradient':>16}")
    for density in (0.02, 0.13, 0.24, 0.5, 1.0):
        spikes = (torch.rand(50, 128, 784, generator=generator) < density).float()
        forward = ratio(
            lambda x=spikes: F.linear(x, weight), lambda x=spikes: event_linear(x, weight)
        )
        flat = spikes.flatten(0, 1)
        outer = ratio(
            lambda x=flat: grad.flatten(0, 1).t() @ x, lambda x=spikes: event_outer(x, grad)
        )
        print(f"{100 * density:7.0f}% {forward:9.1f} {outer:16.1f}")
    maps = (torch.rand(1280, 12, 28, 28, generator=generator) < 0.1).float()
    pool = ratio(lambda: F.max_pool2d(maps, 2), lambda: HalvingPool()(maps))
    print(f"2x2 pool of 12 maps of 28x28: {pool:.1f} times faster than torch's")


if __name__ == "__main__":
    main()
