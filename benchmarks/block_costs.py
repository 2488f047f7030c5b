"""Measure what every block of a network costs, to feed `simulate_parallel.py`.

    python benchmarks/block_costs.py --network vgg8 --json benchmarks/results/block_costs_vgg8.json

It measures processor time on one thread, so that other programs disturb little: the seconds that
each block needs to learn from a batch by signal propagation, and those of its forward and backward
pass under backpropagation through time. Two batch sizes give a part that does not depend on the
batch, and a part for each row.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sigprop_snn.device import keep_freed_memory
from sigprop_snn.files import write_text_atomically
from sigprop_snn.layers.norm import RunningNorm, RunningScale
from sigprop_snn.layers.readout import features_read
from sigprop_snn.layers.sources import sources_by_name
from sigprop_snn.machine import machine
from sigprop_snn.network import Block, Network, Readout, conv, mlp, vgg8
from sigprop_snn.neurons import run
from sigprop_snn.neurons.stepwise import stepwise
from sigprop_snn.training import LocalOptimizers

CLASSES = 10
READOUT = "readout"
PICTURE = (3, 32, 32)  # CIFAR's
WARM_UP = 6  # steps of learning before the measurement, for a trained network's rates


@dataclass(frozen=True)
class BackwardCost:
    """What backpropagation of one layer costs; `seconds` are fixed + row * rows.

    Attributes:
        fixed: seconds of the forward pass, of the input's gradient and of the weights' gradient.
        row: the same for one more sample.
        row_gradient_bytes: of the gradient that it sends down, float32, for one sample.
        row_kept_bytes: of the activity that waits for the backward pass, for one sample.
    """

    fixed: tuple[float, float, float]
    row: tuple[float, float, float]
    row_gradient_bytes: float
    row_kept_bytes: float


@dataclass(frozen=True)
class LayerCost:
    """What one layer costs; a row is a sample or a context.

    Attributes:
        name: "block1" for the first block, "readout" for the readout.
        receives: the names of the layers that it receives; none for the first block.
        fixed_seconds: of learning from a batch, that do not depend on the rows.
        row_seconds: of learning, for one more row.
        row_bytes: of its output, one bit for each neuron and step, for one row.
        read_bytes: the same in the small maps that the readout reads; 0 if it reads none.
        statistics_bytes: that replicas reduce before its neurons fire.
        weight_bytes: of its weights, as of their gradients.
        row_activity_bytes: beyond its weights and Adam's averages, for one row.
        backward: of backpropagation.
    """

    name: str
    receives: tuple[str, ...]
    fixed_seconds: float
    row_seconds: float
    row_bytes: float
    read_bytes: float
    statistics_bytes: float
    weight_bytes: float
    row_activity_bytes: float
    backward: BackwardCost

    @classmethod
    def read(cls, row: dict[str, Any]) -> LayerCost:
        """Return the cost of a row of the JSON file."""
        backward = row["backward"]
        pairs = {name: tuple(backward[name]) for name in ("fixed", "row")}
        return cls(
            **{
                **row,
                "receives": tuple(row["receives"]),
                "backward": BackwardCost(**{**backward, **pairs}),
            }
        )


@dataclass(frozen=True)
class NetworkCost:
    """The costs of all layers of a network.

    Attributes:
        network: its name.
        width: factor of its maps and neurons.
        steps: T.
        contexts: rows that travel with every batch.
        layers: from the first block to the readout.
        machine: where they were measured.
    """

    network: str
    width: float
    steps: int
    contexts: int
    layers: tuple[LayerCost, ...]
    machine: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> NetworkCost:
        """Return the costs in a JSON file."""
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**found, "layers": tuple(LayerCost.read(row) for row in found["layers"])})

    def write(self, path: Path) -> None:
        """Write the costs as JSON."""
        write_text_atomically(path, json.dumps(asdict(self), indent=1) + "\n")


def build(name: str, width: float = 1.0, rule: Any = None) -> Network:
    """Return a network for pictures of CIFAR's size, with weights of seed 0.

    Args:
        name: "mlp", "conv" or "vgg8".
        width: factor of the numbers of maps and neurons.
        rule: its rule; the voltage rule if not given.
    """
    torch.manual_seed(0)

    def scaled(*sizes: int) -> list[int]:
        return [max(1, round(width * size)) for size in sizes]

    if name == "mlp":
        return mlp(PICTURE, CLASSES, hidden=scaled(800, 800, 800, 800), rule=rule)
    if name == "conv":
        return conv(PICTURE, CLASSES, channels=scaled(32, 64, 128), rule=rule)
    return vgg8(PICTURE, CLASSES, width=width, rule=rule)


def batch_for(samples: int, steps: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return pictures as a current that is constant in time, `[T, B, 3, 32, 32]`, and labels.

    Each class has its own mean picture, so that a network can learn and fires as a trained one.
    """
    generator = torch.Generator().manual_seed(seed)
    means = torch.rand(CLASSES, *PICTURE, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(CLASSES, (samples,), generator=generator)
    pictures = means[labels] + 0.1 * torch.randn(samples, *PICTURE, generator=generator)
    return pictures.expand(steps, *pictures.shape), labels


def optimizers_for(network: Network) -> LocalOptimizers:
    """Return Adam for each layer."""
    return LocalOptimizers(network, lambda weights: torch.optim.Adam(weights, 1e-3, fused=True))


def learning_seconds(
    network: Network, samples: int, steps: int, repeats: int
) -> dict[str, list[float]]:
    """Return the seconds of every layer's part in each step of learning, by layer.

    A part ends with the update of the layer. The way of the input into the first block is part of
    it, and the readout's traces of a block are part of the layer above.
    """
    optimizers = optimizers_for(network)
    inputs, labels = batch_for(samples, steps)
    found: dict[str, list[float]] = {name: [] for name, _ in network.named_layers()}
    for _ in range(WARM_UP):
        network.learn(inputs, labels, optimizers.step)
    before = 0.0

    def update(name: str) -> None:
        nonlocal before
        optimizers.step(name)
        now = time.thread_time()
        found[name].append(now - before)
        before = now

    for _ in range(repeats):
        before = time.thread_time()
        network.learn(inputs, labels, update)
    return found


def activity_bytes(network: Network, samples: int, steps: int) -> dict[str, float]:
    """Return the peak memory of every layer's part in a step, beyond weights and averages."""
    optimizers = optimizers_for(network)
    inputs, labels = batch_for(samples, steps)
    network.learn(inputs, labels, optimizers.step)

    def update(name: str) -> None:
        optimizers.step(name)
        with record_function(f"learned {name}"):
            pass

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        network.learn(inputs, labels, update)
    assert profiled.profiler is not None and profiled.profiler.kineto_results is not None
    events = sorted(profiled.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    held = peak = 0.0
    found: dict[str, float] = {}
    for event in events:
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
        elif event.name().startswith("learned "):
            found[event.name().removeprefix("learned ")] = peak
            peak = held
    return found


@dataclass
class _Part:
    """One layer under backpropagation: a function of its input."""

    name: str
    forward: Callable[[Tensor], Tensor]
    weights: list[nn.Parameter]


def _parts(network: Network, inputs: Tensor) -> list[_Part]:
    def forward(block: Block) -> Callable[[Tensor], Tensor]:
        return lambda x: stepwise(block.pool, run(block.neuron, block.current(x)).spike)

    parts = [
        _Part(name, forward(block), [p for p in block.parameters() if p.requires_grad])
        for name, block in network.named_blocks()
    ]
    with torch.no_grad():
        for part in parts:
            inputs = part.forward(inputs)
    readout = Readout(math.prod(inputs.shape[2:]), CLASSES)  # of the last block alone
    parts.append(_Part(READOUT, readout, list(readout.parameters())))
    return parts


def backward_seconds(
    network: Network, samples: int, steps: int, repeats: int
) -> dict[str, tuple[float, float, float]]:
    """Return every layer's seconds under backpropagation through time, by layer.

    Returns:
        Of the forward pass, of the input's gradient, and of the weights' gradient.
    """
    inputs, _ = batch_for(samples, steps)
    found = {}
    for index, part in enumerate(_parts(network, inputs)):
        times: list[tuple[float, float, float]] = []
        for _ in range(repeats):
            x = inputs.detach().requires_grad_(index > 0)
            start = time.thread_time()
            output = part.forward(x)
            middle = time.thread_time()
            grad = torch.ones_like(output)
            both = [x, *part.weights] if index else part.weights
            ready = time.thread_time()
            torch.autograd.grad(output, both, grad, retain_graph=bool(index))
            end = time.thread_time()
            whole, below = end - ready, 0.0
            if index:
                start_below = time.thread_time()
                torch.autograd.grad(output, x, grad)
                below = min(whole, time.thread_time() - start_below)
            times.append((middle - start, below, whole - below))
        found[part.name] = (
            statistics.median(each[0] for each in times),
            statistics.median(each[1] for each in times),
            statistics.median(each[2] for each in times),
        )
        with torch.no_grad():
            inputs = part.forward(inputs)
    return found


def kept_bytes(network: Network, samples: int, steps: int) -> dict[str, float]:
    """Return the activity that each layer keeps for the backward pass, without its weights."""
    inputs, _ = batch_for(samples, steps)
    found = {}
    for index, part in enumerate(_parts(network, inputs)):
        weights = {each.untyped_storage().data_ptr() for each in part.weights}
        kept: dict[int, int] = {}

        def keep(tensor: Tensor, kept: dict[int, int] = kept) -> Tensor:
            storage = tensor.untyped_storage()
            kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            output = part.forward(inputs.detach().requires_grad_(index > 0))
        found[part.name] = float(sum(n for at, n in kept.items() if at not in weights))
        inputs = output.detach()
    return found


def output_shapes(network: Network, steps: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every block's output for one sample, behind its pool."""
    inputs, _ = batch_for(2, steps)
    found = {}
    with torch.no_grad():
        for stage in network.stages(inputs):
            if stage.response is not None:
                sent = stage.response.run.spikes.pooled(network.block(stage.name).pool)
                found[stage.name] = tuple(sent.shape[2:])
    return found


def measure(
    name: str,
    *,
    width: float = 1.0,
    steps: int = 4,
    samples: tuple[int, int] = (8, 32),
    backward_samples: tuple[int, int] = (2, 8),
    repeats: int = 5,
) -> NetworkCost:
    """Measure a network on the threads that torch has.

    Args:
        name: "mlp", "conv" or "vgg8".
        width: factor of its maps and neurons.
        steps: T.
        samples: the two batch sizes of learning.
        backward_samples: the two batch sizes of backpropagation.
        repeats: timed steps of each.
    """
    network = build(name, width)
    contexts = CLASSES
    learning = [
        {
            layer: statistics.median(times)
            for layer, times in learning_seconds(network, count, steps, repeats).items()
        }
        for count in samples
    ]
    activity = activity_bytes(network, samples[1], steps)
    shapes = output_shapes(network, steps)
    backward = [backward_seconds(network, count, steps, repeats) for count in backward_samples]
    kept = kept_bytes(network, backward_samples[1], steps)
    receives = {
        name: () if index == 0 else names
        for index, (name, names) in enumerate(sources_by_name(network.named_blocks()).items())
    }
    assert network.readout is not None
    receives[READOUT] = network.readout.names(network.named_blocks())
    rows = [count + contexts for count in samples]
    layers, incoming = [], 0
    for layer, module in network.named_layers():
        fixed, row = _line(rows, [found[layer] for found in learning])
        ways = [
            _line(backward_samples, [found[layer][place] for found in backward])
            for place in range(3)
        ]
        weights = 4.0 * sum(p.numel() for p in module.parameters() if p.requires_grad)
        neurons = math.prod(shapes[layer]) if layer in shapes else 0
        read = features_read([shapes[layer]], network.readout.side) if neurons else 0
        layers.append(
            LayerCost(
                layer,
                receives[layer],
                fixed,
                row,
                steps * neurons / 8,
                steps * read / 8,
                _statistics_bytes(module, incoming),
                weights,
                activity[layer] / rows[1],
                BackwardCost(
                    (ways[0][0], ways[1][0], ways[2][0]),
                    (ways[0][1], ways[1][1], ways[2][1]),
                    4.0 * steps * incoming,
                    kept[layer] / backward_samples[1],
                ),
            )
        )
        incoming = neurons
    return NetworkCost(name, width, steps, contexts, tuple(layers), machine())


def _line(counts: tuple[int, int] | list[int], seconds: list[float]) -> tuple[float, float]:
    """Return the fixed part and the part for each row of two measurements, both not negative."""
    slope = max(0.0, (seconds[1] - seconds[0]) / (counts[1] - counts[0]))
    fixed = seconds[1] - slope * counts[1]
    return (fixed, slope) if fixed >= 0 else (0.0, seconds[1] / counts[1])


def _statistics_bytes(layer: nn.Module, incoming: int) -> float:
    """Return the bytes of a normaliser's sums, and of the mean trace of a centred block."""
    if not isinstance(layer, Block) or not isinstance(layer.norm, RunningNorm | RunningScale):
        return 0.0
    channels = layer.norm.gain.numel()
    return 4.0 * (2 * channels + (incoming if layer.centred else 0))


def main() -> None:
    """Measure a network, print its layers, and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", choices=["mlp", "conv", "vgg8"], default="vgg8")
    parser.add_argument("--width", type=float, default=1.0, help="factor of maps and neurons")
    parser.add_argument("--steps", type=int, default=4, help="time steps T")
    parser.add_argument("--repeats", type=int, default=5, help="timed steps of each")
    parser.add_argument("--samples", default="8,32", help="two batch sizes of learning")
    parser.add_argument("--backward-samples", default="2,8", help="two of backpropagation")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the costs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    sizes = [tuple(map(int, text.split(","))) for text in (given.samples, given.backward_samples)]
    found = measure(
        given.network, width=given.width, steps=given.steps, repeats=given.repeats,
        samples=(sizes[0][0], sizes[0][1]), backward_samples=(sizes[1][0], sizes[1][1]),
    )  # fmt: skip
    print("for one row: learning in ms, bytes sent; under backpropagation: F, B, W in ms, KiB kept")
    for layer in found.layers:
        ways = " ".join(f"{1e3 * seconds:8.2f}" for seconds in layer.backward.row)
        print(
            f"{layer.name:8} {1e3 * layer.row_seconds:8.2f} {layer.row_bytes:8.0f}   {ways} "
            f"{layer.backward.row_kept_bytes / 1024:8.0f}"
        )
    if given.json is not None:
        found.write(given.json)


if __name__ == "__main__":
    main()
