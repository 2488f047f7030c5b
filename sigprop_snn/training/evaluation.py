"""Evaluating a network: its accuracy, and that of each layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sigprop_snn.arguments import instance, refused, whole
from sigprop_snn.data.source import derive_seed
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import Answers, Network, Stage, correct
from sigprop_snn.network.mode import evaluation_mode
from sigprop_snn.training import randomness

_JUDGING = 2  # number of the stream of random numbers; learning has another


@dataclass(frozen=True)
class LayerEvaluation:
    """Accuracy and activity of one block.

    Attributes:
        name: "block1" for the first.
        accuracy: fraction of samples whose nearest context in this block is that of their class;
            None if the layer makes no prediction.
        spike_rate: spikes per neuron and time step.
        dead_fraction: fraction of neurons that never fired.
    """

    name: str
    accuracy: float | None
    spike_rate: float
    dead_fraction: float


@dataclass(frozen=True)
class Evaluation:
    """Accuracy of a network, and of its blocks.

    Attributes:
        accuracy: fraction of samples that the network classified correctly.
        layers: each block's.
    """

    accuracy: float
    layers: list[LayerEvaluation]

    def __str__(self) -> str:
        """Return the accuracies in one line."""
        blocks = [
            f"{layer.name} {layer.accuracy:.2%}"
            for layer in self.layers
            if layer.accuracy is not None
        ]
        return f"accuracy {self.accuracy:.2%}" + (f" ({', '.join(blocks)})" if blocks else "")


@torch.no_grad()
def evaluate(
    network: Network,
    batches: Iterable[tuple[Tensor, Tensor]],
    watch: Callable[[Stage, Tensor], object] | None = None,
) -> Evaluation:
    """Evaluate a network in evaluation mode.

    Args:
        network: the network; its weights and its mode stay as they are.
        batches: `(x [T, B, ...], labels [B])`.
        watch: receives every layer's stage of every batch and the labels, as `HealthCheck.watch`
            does.

    Raises:
        SigpropError: if the network's targets are not classes, there is no batch, or a batch is
            one that `learn` refuses.
    """
    instance("network", network, Network, "a Network")
    if watch is not None and not callable(watch):
        raise refused("watch", watch, "a function of a stage and labels")
    if network.signal.answers != "classes":
        raise SigpropError(
            f"the targets of {type(network.signal).__name__} are {network.signal.answers}; "
            "expected classes. For others use regression_error or multi_label_accuracy"
        )
    # Counts stay on the device until the end, so that no batch waits for a GPU.
    right: dict[str, Tensor] = {}
    spikes: dict[str, _SpikeCounts] = {}
    samples = 0
    predicted: Tensor | int = 0
    with evaluation_mode(network):
        for inputs, labels in network.checked(batches):
            samples += len(labels)
            by_layer: dict[str, Tensor] = {}
            for stage in network.stages(inputs):
                if watch is not None:
                    watch(stage, labels)
                if stage.scores is not None:
                    by_layer[stage.name] = stage.scores
                    hits = correct(stage.scores, labels).sum()
                    right[stage.name] = right[stage.name] + hits if stage.name in right else hits
                if stage.response is not None:
                    counts = spikes.setdefault(stage.name, _SpikeCounts())
                    counts.add(stage, len(labels), len(inputs))
            predicted = predicted + correct(network.predicted(by_layer), labels).sum()
    samples = _positive(samples)
    layers = [
        LayerEvaluation(
            name,
            int(right[name]) / samples if name in right else None,
            counts.spike_rate,
            counts.dead_fraction,
        )
        for name, counts in spikes.items()
    ]
    return Evaluation(int(predicted) / samples, layers)


def judge(
    network: Network,
    batches: Iterable[tuple[Tensor, Tensor]],
    seed: int,
    watch: Callable[[Stage, Tensor], object] | None = None,
) -> Evaluation:
    """Evaluate a network with random numbers that depend on the seed alone.

    A noisy network gives the same result for the same seed. The random states of the process stay
    as they are, so an evaluation does not change what a run learns afterwards.

    Args:
        network: as in `evaluate`.
        batches: as in `evaluate`.
        seed: the seed.
        watch: as in `evaluate`.
    """
    with randomness.seeded(derive_seed(whole("seed", seed, 0), _JUDGING)):
        return evaluate(network, batches, watch)


def regression_error(network: Network, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return the root mean square error over samples and values, in evaluation mode.

    Args:
        network: a network whose targets are values, such as those of `VectorContext`.
        batches: `(x [T, B, ...], targets [B, K])`.

    Raises:
        SigpropError: if the network's targets are not values, or there is no batch.
    """
    total, values = 0.0, 0
    for scores, targets in _predictions(network, batches, "values"):
        total += float((scores - targets.to(scores)).double().square().sum())
        values += targets.numel()
    return math.sqrt(total / _positive(values))


def multi_label_accuracy(network: Network, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return the fraction of correct labels over all samples, in evaluation mode.

    A score above 0 predicts that a label holds.

    Args:
        network: a network whose targets are labels, such as those of `MultiLabelContext`.
        batches: `(x [T, B, ...], labels [B, K])`; a label above 0.5 holds.

    Raises:
        SigpropError: if the network's targets are not labels, or there is no batch.
    """
    right = labels = 0
    for scores, targets in _predictions(network, batches, "labels"):
        right += int(((scores > 0) == (targets > 0.5)).sum())
        labels += targets.numel()
    return right / _positive(labels)


@torch.no_grad()
def _predictions(
    network: Network, batches: Iterable[tuple[Tensor, Tensor]], answers: Answers
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the scores and the targets of every batch."""
    instance("network", network, Network, "a Network")
    if network.signal.answers != answers:
        raise SigpropError(
            f"the targets of {type(network.signal).__name__} are {network.signal.answers}; "
            f"expected a network whose targets are {answers}"
        )
    with evaluation_mode(network):
        for inputs, targets in network.checked(batches):
            yield network(inputs), targets


def _positive(count: int) -> int:
    if not count:
        raise SigpropError("batches is empty; expected at least one batch")
    return count


class _SpikeCounts:
    """The spikes of a block over batches."""

    def __init__(self) -> None:
        self.by_neuron: Tensor | None = None
        self.steps = 0

    def add(self, stage: Stage, rows: int, steps: int) -> None:
        assert stage.response is not None
        counts = stage.response.run.spike_count[:rows].sum(0)
        self.by_neuron = counts if self.by_neuron is None else self.by_neuron + counts
        self.steps += rows * steps

    @property
    def spike_rate(self) -> float:
        assert self.by_neuron is not None
        return float(self.by_neuron.double().mean()) / self.steps

    @property
    def dead_fraction(self) -> float:
        assert self.by_neuron is not None
        return float((self.by_neuron == 0).double().mean())
