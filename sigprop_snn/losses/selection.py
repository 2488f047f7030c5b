"""Which contexts are the targets of a sample, judged by the contexts that enter a layer.

A layer can't make a distinction that the layer below has lost. Kohan et al. (arXiv 2204.01723,
target selection) therefore compare the incoming contexts with one another: where two are alike,
both are right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.errors import SigpropError

_ALIKE = 1e-6  # cosines this near to the largest count as the largest: rounding must not choose


class Selection(Protocol):
    """Chooses the targets of the samples."""

    def targets(self, labels: Tensor, incoming: Tensor) -> Tensor:
        """Return the right contexts of every sample: columns `[B]`, or fractions `[B, M]`.

        Args:
            labels: the right context's column, `[B]`, or the fraction of each context, `[B, M]`.
            incoming: the contexts as they enter the layer, `[T, M, ...]`.
        """


@dataclass(frozen=True)
class Label:
    """The labels as they are."""

    def targets(self, labels: Tensor, incoming: Tensor) -> Tensor:
        """Return the labels."""
        return labels


@dataclass(frozen=True)
class Maxima:
    """All contexts that are most similar to the right one, in equal parts."""

    def targets(self, labels: Tensor, incoming: Tensor) -> Tensor:
        """Return the fraction of every context, `[B, M]`."""
        return _of_labels(labels, _maxima(incoming))


@dataclass(frozen=True)
class RandomMaximum:
    """One of the contexts that are most similar to the right one, by chance."""

    def targets(self, labels: Tensor, incoming: Tensor) -> Tensor:
        """Return a column for every sample, `[B]`."""
        return torch.multinomial(_of_labels(labels, _maxima(incoming)), 1).squeeze(1)


@dataclass(frozen=True)
class TopK:
    """The contexts most similar to the right one, by a softmax of their similarity.

    Args:
        top: how many contexts are targets.
        temperature: of the softmax; the smaller, the more goes to the most similar one.

    Raises:
        SigpropError: if a number is out of its range.
    """

    top: int = 3
    temperature: float = 0.1

    def __post_init__(self) -> None:
        if self.top < 1 or not self.temperature > 0:
            raise SigpropError(
                f"TopK has top {self.top} and temperature {self.temperature}; expected top >= 1 "
                "and temperature > 0"
            )

    def targets(self, labels: Tensor, incoming: Tensor) -> Tensor:
        """Return the fraction of every context, `[B, M]`."""
        near = similarity(incoming)
        best = near.topk(min(self.top, len(near)), dim=1)
        fractions = (best.values / self.temperature).softmax(dim=1)
        return _of_labels(labels, torch.zeros_like(near).scatter(1, best.indices, fractions))


#: The selections by name, with their measured defaults.
SELECTIONS: dict[str, Callable[[], Selection]] = {
    "label": Label,
    "maxima": Maxima,
    "random-maximum": RandomMaximum,
    "top-k": TopK,
}


def similarity(incoming: Tensor) -> Tensor:
    """Return the cosine of every incoming context with every other, `[M, M]`.

    Their mean activity over time is compared, `[T, M, ...]`. Two silent contexts are alike.
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
    """Return the row of each label, or the mean of rows that its fractions make."""
    return labels.to(rows) @ rows if labels.is_floating_point() else rows[labels]
