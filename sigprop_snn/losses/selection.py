"""Selection of a sample's target contexts by the contexts' activity at the layer's input.

A layer can't separate two contexts that the layer below made equal. Kohan et al. (arXiv
2204.01723, target selection) therefore compare the incoming contexts: if two are similar, both
are targets.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.arguments import number, whole

_ALIKE = 1e-6  # tolerance of the largest cosine, so that rounding does not choose


class Selection(Protocol):
    """Chooses the target contexts of the samples."""

    def targets(self, labels: Tensor, incoming: Tensor) -> Tensor:
        """Return the right contexts of every sample: columns `[B]`, or fractions `[B, M]`.

        Args:
            labels: the right context's column, `[B]`, or the fraction of each context, `[B, M]`.
            incoming: the contexts' activity at the layer's input, `[T, M, ...]`.
        """


@dataclass(frozen=True)
class Label:
    """The labels, unchanged."""

    def targets(self, labels: Tensor, incoming: Tensor) -> Tensor:
        """Return the labels."""
        return labels


@dataclass(frozen=True)
class Maxima:
    """All contexts with the largest similarity to the right one, in equal parts."""

    def targets(self, labels: Tensor, incoming: Tensor) -> Tensor:
        """Return the fraction of every context, `[B, M]`."""
        return _of_labels(labels, _maxima(incoming))


@dataclass(frozen=True)
class RandomMaximum:
    """A random one of the contexts with the largest similarity to the right one."""

    def targets(self, labels: Tensor, incoming: Tensor) -> Tensor:
        """Return a column for every sample, `[B]`."""
        return torch.multinomial(_of_labels(labels, _maxima(incoming)), 1).squeeze(1)


@dataclass(frozen=True)
class TopK:
    """The contexts most similar to the right one, weighted by a softmax of the similarity.

    Args:
        top: number of contexts that are targets.
        temperature: of the softmax; smaller values give more weight to the most similar one.

    Raises:
        SigpropError: if a number is out of range.
    """

    top: int = 3
    temperature: float = 0.1

    def __post_init__(self) -> None:
        whole("top of TopK", self.top)
        number("temperature of TopK", self.temperature, "a number > 0", lambda x: x > 0)

    def targets(self, labels: Tensor, incoming: Tensor) -> Tensor:
        """Return the fraction of every context, `[B, M]`."""
        near = similarity(incoming)
        best = near.topk(min(self.top, len(near)), dim=1)
        fractions = (best.values / self.temperature).softmax(dim=1)
        return _of_labels(labels, torch.zeros_like(near).scatter(1, best.indices, fractions))


@dataclass(frozen=True)
class TopSamples:
    """The contexts most similar to the right one, counted once for each sample of the batch.

    The authors' code compares with one context for each sample of the batch, and the targets of a
    sample are the six most similar of these, in equal parts. A class that is frequent in the batch
    fills the six with its own copies; the contexts most similar to that of a rare class fill the
    rest.

    Args:
        top: number of copies that are targets.

    Raises:
        SigpropError: if the number is not positive.
    """

    top: int = 6

    def __post_init__(self) -> None:
        whole("top of TopSamples", self.top)

    def targets(self, labels: Tensor, incoming: Tensor) -> Tensor:
        """Return the fraction of every context, `[B, M]`."""
        near = similarity(incoming)
        order = near.argsort(dim=1, descending=True)
        wide = labels if labels.is_floating_point() else F.one_hot(labels, len(near))
        copies = wide.sum(0).to(near)[order]
        before = copies.cumsum(1) - copies
        taken = copies.minimum((self.top - before).clamp(min=0))
        rows = torch.zeros_like(near).scatter(1, order, taken / taken.sum(dim=1, keepdim=True))
        return _of_labels(labels, rows)


#: The selections by name, with settings chosen by measurement.
SELECTIONS: dict[str, Callable[[], Selection]] = {
    "label": Label,
    "maxima": Maxima,
    "random-maximum": RandomMaximum,
    "top-k": TopK,
    "top-samples": TopSamples,
}


def similarity(incoming: Tensor) -> Tensor:
    """Return the cosines between the incoming contexts `[T, M, ...]`, `[M, M]`.

    They compare the mean activity over time. The cosine of two silent contexts is 1.
    """
    activity = incoming.detach().mean(0).flatten(1)
    directions = F.normalize(activity, dim=1)
    silent = directions.square().sum(1) < 0.5  # a direction has length 1, or 0
    return directions @ directions.t() + (silent[:, None] & silent).to(directions)


def _maxima(incoming: Tensor) -> Tensor:
    near = similarity(incoming)
    rows = (near >= near.amax(dim=1, keepdim=True) - _ALIKE).to(near)
    return rows / rows.sum(dim=1, keepdim=True)


def _of_labels(labels: Tensor, rows: Tensor) -> Tensor:
    """Return the row of each label, or the mean of the rows, weighted by label fractions."""
    return labels.to(rows) @ rows if labels.is_floating_point() else rows[labels]
