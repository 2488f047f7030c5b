"""Products with spikes against dense ones: `python benchmarks/spike_product.py`.

One linear layer, 784 to 800, and one convolution, 12 maps of 14x14 to 32 maps, 5x5; T = 50, 128
samples. Each ratio compares the medians of interleaved repeats. Packing and listing the spikes is
included. A layer is the product and the LIF neurons behind it; the dense side is torch's product
and the CPU engine's LIF kernel.
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
from sigprop_snn.neurons import LIF, run
from sigprop_snn.neurons.engines.cpu.convolution import (
    SpikingConvolution,
    convolution_weight_gradient,
)
from sigprop_snn.neurons.engines.cpu.linear import SpikingLinear, linear_weight_gradient
from sigprop_snn.neurons.engines.cpu.spikes import PackedSpikes, pack
from sigprop_snn.training import keep_freed_memory

REPEATS = 9
STEPS, SAMPLES = 50, 128


def ratio(dense: Callable[[], object], ours: Callable[[], object]) -> float:
    """Return how many times longer the dense function takes."""
    found: tuple[list[float], list[float]] = ([], [])
    for repeat in range(REPEATS + 1):
        for task, times in zip((dense, ours), found, strict=True):
            start = time.perf_counter()
            task()
            if repeat:  # the first call compiles and warms up
                times.append(time.perf_counter() - start)
    return statistics.median(found[0]) / statistics.median(found[1])


def packed(spikes: Tensor) -> PackedSpikes:
    """Return spikes `[T, N, ...]` of 0 and 1, packed."""
    found = pack(spikes)
    assert found is not None
    return found


def linear(x: Tensor, weight: Tensor, grad: Tensor) -> tuple[float, float, float]:
    """Return the ratios of the product, of the layer and of the weight gradient."""
    neuron, flat = LIF(), x.flatten(0, 1)

    def synapse() -> SpikingLinear:
        return SpikingLinear.of(packed(x), weight, None)

    return (
        ratio(lambda: F.linear(x, weight), lambda: synapse().currents()),
        ratio(
            lambda: run(neuron, F.linear(x, weight), engine="cpu"),
            lambda: synapse().run(neuron),
        ),
        ratio(
            lambda: grad.flatten(0, 1).t() @ flat,
            lambda: linear_weight_gradient(packed(x), grad),
        ),
    )


def convolution(x: Tensor, weight: Tensor, grad: Tensor) -> tuple[float, float]:
    """Return the ratios of the layer and of the weight gradient."""
    neuron, flat = LIF(), x.flatten(0, 1)

    def layer() -> object:
        current = F.conv2d(flat, weight, padding=2)
        return run(neuron, current.view(STEPS, SAMPLES, *current.shape[1:]), engine="cpu")

    def dense_gradient() -> object:
        return torch.ops.aten.convolution_backward(
            grad.flatten(0, 1), flat, weight, None, [1, 1], [2, 2], [1, 1], False, [0, 0], 1,
            [False, True, False],
        )  # fmt: skip

    return (
        ratio(
            layer,
            lambda: SpikingConvolution.of(packed(x), weight, None, (2, 2)).run(neuron),
        ),
        ratio(
            dense_gradient,
            lambda: convolution_weight_gradient(packed(x), grad, (5, 5), (2, 2)),
        ),
    )


def main() -> None:
    """Print the ratios for spikes drawn independently at every step, the hardest case."""
    keep_freed_memory()
    generator = torch.Generator().manual_seed(0)
    flat_weight = torch.randn(800, 784, generator=generator) / 28
    flat_grad = torch.randn(STEPS, SAMPLES, 800, generator=generator)
    weight = torch.randn(32, 12, 5, 5, generator=generator) / 17
    grad = torch.randn(STEPS, SAMPLES, 14, 14, 32, generator=generator).movedim(-1, 2)
    print(f"{torch.get_num_threads()} threads; how many times faster than dense")
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
