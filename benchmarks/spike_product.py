"""Products of spikes beside dense ones: `python benchmarks/spike_product.py`.

Linear, 784 to 800, and a convolution, 12 maps of 14x14 to 32, 5x5; T = 50, 128 samples. Ratios of
the medians of interleaved repeats; packing and listing the spikes is included. A layer is the
product and LIF neurons behind it, beside torch's product and our LIF kernel.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sigprop_snn.network import HalvingPool
from sigprop_snn.neurons import LIF, run, run_packed
from sigprop_snn.neurons.kernels import (
    Convolution,
    Packed,
    Synapse,
    convolution_outer,
    event_linear,
    event_outer,
    pack,
)
from sigprop_snn.training import keep_freed_memory

REPEATS = 9
STEPS, SAMPLES = 50, 128


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


def packed(spikes: Tensor) -> Packed:
    """Return spikes packed; there is nothing but 0 and 1 among them."""
    found = pack(spikes)
    assert found is not None
    return found


def linear(x: Tensor, weight: Tensor, grad: Tensor) -> tuple[float, float, float]:
    """Return the ratios of a product, of a whole layer and of the weight's gradient."""
    neuron, flat = LIF(), x.flatten(0, 1)
    return (
        ratio(lambda: F.linear(x, weight), lambda: event_linear(x, weight)),
        ratio(
            lambda: run(neuron, F.linear(x, weight)),
            lambda: run_packed(neuron, Synapse.of(packed(x), weight, None)),
        ),
        ratio(lambda: grad.flatten(0, 1).t() @ flat, lambda: event_outer(x, grad)),
    )


def convolution(x: Tensor, weight: Tensor, grad: Tensor) -> tuple[float, float]:
    """Return the ratios of a whole layer and of the weight's gradient."""
    neuron, flat = LIF(), x.flatten(0, 1)

    def layer() -> object:
        current = F.conv2d(flat, weight, padding=2)
        return run(neuron, current.view(STEPS, SAMPLES, *current.shape[1:]))

    def dense_gradient() -> object:
        return torch.ops.aten.convolution_backward(
            grad.flatten(0, 1), flat, weight, None, [1, 1], [2, 2], [1, 1], False, [0, 0], 1,
            [False, True, False],
        )  # fmt: skip

    return (
        ratio(
            layer,
            lambda: run_packed(neuron, Convolution.of(packed(x), weight, None, (2, 2))),
        ),
        ratio(dense_gradient, lambda: convolution_outer(packed(x), grad, (5, 5), (2, 2))),
    )


def main() -> None:
    """Measure spikes without any order in time, which is the hardest case; print the ratios."""
    keep_freed_memory()
    generator = torch.Generator().manual_seed(0)
    flat_weight = torch.randn(800, 784, generator=generator) / 28
    flat_grad = torch.randn(STEPS, SAMPLES, 800, generator=generator)
    weight = torch.randn(32, 12, 5, 5, generator=generator) / 17
    grad = torch.randn(STEPS, SAMPLES, 14, 14, 32, generator=generator).movedim(-1, 2)
    print(f"{torch.get_num_threads()} threads; times faster than dense")
    print(f"{'':8}{'linear':>28}{'convolution':>20}")
    print(f"{'spikes':>8}{'product':>9}{'layer':>8}{'gradient':>11}{'layer':>9}{'gradient':>11}")
    with torch.no_grad():
        for density in (0.02, 0.13, 0.24, 0.5, 1.0):
            rows = torch.rand(STEPS, SAMPLES, 784, generator=generator) < density
            maps = torch.rand(STEPS, SAMPLES, 12, 14, 14, generator=generator) < density
            product, layer, outer = linear(rows.float(), flat_weight, flat_grad)
            maps_layer, maps_outer = convolution(maps.float(), weight, grad)
            print(
                f"{100 * density:7.0f}%{product:9.1f}{layer:8.1f}{outer:11.1f}"
                f"{maps_layer:9.1f}{maps_outer:11.1f}"
            )
    images = (torch.rand(1280, 12, 28, 28, generator=generator) < 0.1).float()
    pool = ratio(lambda: F.max_pool2d(images, 2), lambda: HalvingPool()(images))
    print(f"2x2 pool of 12 maps of 28x28: {pool:.1f} times faster than torch's")


if __name__ == "__main__":
    main()
