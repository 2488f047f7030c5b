"""What a report measures anew on a trained network."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from sigprop_snn.data import Batches, Data
from sigprop_snn.device import to_device
from sigprop_snn.errors import SigpropError
from sigprop_snn.figures import Observed, observe
from sigprop_snn.monitors import (
    Cost,
    EnergyModel,
    Finding,
    VoltageHistogram,
    cost,
    examine,
    voltage_histograms,
)
from sigprop_snn.network import Network


@dataclass(frozen=True)
class Confusion:
    """How a network tells the classes apart.

    Attributes:
        counts: `[C, C]`, rows are true classes, columns predicted ones.
        ties: samples with a tie for the highest score, by true class, `[C]`; they are in no
            column and count as wrong.
    """

    counts: Tensor
    ties: Tensor

    @property
    def samples(self) -> int:
        """How many samples were judged."""
        return int(self.counts.sum() + self.ties.sum())

    @property
    def accuracy(self) -> float:
        """The share that was classified rightly."""
        return float(self.counts.trace()) / max(self.samples, 1)


@dataclass(frozen=True)
class Measured:
    """What a trained network does on its test samples.

    Attributes:
        confusion: over all test samples.
        looked_at: how many of them the other figures stand on.
        cost: what inference costs, or why it can't be counted.
        findings: what ails the network.
        voltages: where its membrane voltages lie, by block.
        observed: what one sample does to it.
        label: that sample's class.
        predicted: what the network takes it for; None for a tie.
    """

    confusion: Confusion
    looked_at: int
    cost: Cost | str
    findings: list[Finding]
    voltages: dict[str, VoltageHistogram]
    observed: Observed
    label: int
    predicted: int | None


def measure(network: Network, data: Data, samples: int, model: EnergyModel | None) -> Measured:
    """Return what a network does on its test samples.

    Args:
        network: the trained network.
        data: what it was trained and tested on.
        samples: about how many test samples the costly figures stand on, spread over all.
        model: what an operation costs.
    """
    chosen = _spread(data.test, samples)
    counted: Cost | str
    try:
        counted = cost(network, chosen, model)
    except SigpropError as error:
        counted = str(error)
    inputs, labels = next(iter(data.test))
    winner = _winners(network, inputs)[0]
    return Measured(
        confusion_of(network, data.test, len(data.classes)),
        sum(len(labels) for _, labels in chosen),
        counted,
        examine(network, chosen, classes=data.classes, labels=data.train.labels),
        voltage_histograms(network, chosen),
        observe(network, inputs[:, 0]),
        int(labels[0]),
        int(winner) if winner >= 0 else None,
    )


def confusion_of(
    network: Network, batches: Iterable[tuple[Tensor, Tensor]], classes: int
) -> Confusion:
    """Return which classes a network takes for which; ties are kept apart."""
    counts = torch.zeros(classes, classes, dtype=torch.long)
    ties = torch.zeros(classes, dtype=torch.long)
    for inputs, labels in batches:
        winners = _winners(network, inputs)
        clear = winners >= 0
        pairs = labels[clear] * classes + winners[clear]
        counts += torch.bincount(pairs, minlength=classes**2).view(classes, classes)
        ties += torch.bincount(labels[~clear], minlength=classes)
    return Confusion(counts, ties)


def _winners(network: Network, inputs: Tensor) -> Tensor:
    """Return the class with the highest score, `[B]`, or -1 for a tie."""
    was_training = network.training
    network.eval()
    with torch.no_grad():
        scores = network(to_device(inputs, next(network.parameters()).device)).cpu()
    network.train(was_training)
    best = scores.topk(2, dim=1)
    clear = best.values[:, 0] > best.values[:, 1]
    return torch.where(clear, best.indices[:, 0], -1)


def _spread(batches: Batches, samples: int) -> list[tuple[Tensor, Tensor]]:
    """Return about so many samples in whole batches, spread evenly over all of them."""
    every = max(1, batches.samples // max(samples, 1))
    return [batch for number, batch in enumerate(batches) if number % every == 0]
