"""How a trained network and each of its layers do on data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from sigprop_snn.device import to_device
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import Network, Stage, correct


@dataclass(frozen=True)
class LayerFigures:
    """How one block did.

    Attributes:
        name: "block1" for the first.
        accuracy: share of samples whose nearest context here is their class's; None where the
            layer makes no guess.
        spike_rate: spikes per neuron and step.
        dead_fraction: share of the neurons that never fired.
    """

    name: str
    accuracy: float | None
    spike_rate: float
    dead_fraction: float


@dataclass(frozen=True)
class Evaluation:
    """How a network did: its own accuracy, and each block's."""

    accuracy: float
    layers: list[LayerFigures]


@torch.no_grad()
def evaluate(
    network: Network,
    batches: Iterable[tuple[Tensor, Tensor]],
    watch: Callable[[Stage, Tensor], object] | None = None,
) -> Evaluation:
    """Return how a network does on batches of `(x [T, B, ...], labels [B])`.

    The network is put into evaluation mode and back. Nothing is learned.

    Args:
        network: the network.
        batches: what it is judged by.
        watch: looks at every layer's stage of every batch with its labels, such as
            `HealthCheck.watch`.

    Raises:
        SigpropError: if the network's targets are not classes.
    """
    if network.signal.answers != "classes":
        raise SigpropError(
            f"evaluate counts classes, but the targets of {type(network.signal).__name__} are "
            f"{network.signal.answers}; expected regression_error or multi_label_accuracy for them"
        )
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    right: dict[str, int] = {}
    tallies: dict[str, _Tally] = {}
    samples = predicted = 0
    for inputs, labels in batches:
        inputs, labels = to_device(inputs, device), labels.to(device)
        samples += len(labels)
        by_layer: dict[str, Tensor] = {}
        for stage in network.stages(inputs):
            if watch is not None:
                watch(stage, labels)
            if stage.scores is not None:
                by_layer[stage.name] = stage.scores
                hits = int(correct(stage.scores, labels).sum())
                right[stage.name] = right.get(stage.name, 0) + hits
            if stage.response is not None:
                tallies.setdefault(stage.name, _Tally()).add(stage, len(labels), len(inputs))
        predicted += int(correct(network.predicted(by_layer), labels).sum())
    network.train(was_training)
    layers = [
        LayerFigures(
            name,
            right[name] / samples if name in right else None,
            tally.spike_rate,
            tally.dead_fraction,
        )
        for name, tally in tallies.items()
    ]
    return Evaluation(predicted / samples, layers)


class _Tally:
    """Counts a block's spikes over batches."""

    def __init__(self) -> None:
        self.by_neuron: Tensor | None = None
        self.chances = 0

    def add(self, stage: Stage, rows: int, steps: int) -> None:
        assert stage.response is not None
        counts = stage.response.run.spike_count[:rows].sum(0)
        self.by_neuron = counts if self.by_neuron is None else self.by_neuron + counts
        self.chances += rows * steps

    @property
    def spike_rate(self) -> float:
        assert self.by_neuron is not None
        return float(self.by_neuron.double().mean()) / self.chances

    @property
    def dead_fraction(self) -> float:
        assert self.by_neuron is not None
        return float((self.by_neuron == 0).double().mean())
