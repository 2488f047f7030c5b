"""Losses of the distance between the two streams: squared distance and cosine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.answers import Answers
from sigprop_snn.arguments import not_negative, number, whole
from sigprop_snn.losses.base import LocalLoss, check_scale
from sigprop_snn.losses.similarity import (
    as_fractions,
    cosines,
    root_mean_square,
    squared_distances,
    streams,
)


@dataclass(frozen=True)
class L2Loss(LocalLoss):
    """Cross-entropy over negative squared distances (arXiv 2204.01723, the L2 form of its loss).

    Z = -scale * |h - t|^2 / D, with D features. Unlike a cosine, it depends on the length of the
    representations.

    Args:
        scale: factor of the distances.
        grid: feature maps are first averaged to at most this many positions per side.
        normalise: whether both streams are divided by the samples' root mean square over the
            batch, so that the size of the voltages does not matter. No gradient flows through it.

    Raises:
        SigpropError: if the scale or the grid is not positive.
    """

    scale: float = 20.0
    grid: int = 7
    normalise: bool = True

    def __post_init__(self) -> None:
        check_scale(self, self.scale, self.grid)

    @property
    def needs_batch(self) -> bool:
        """Whether the streams are divided by the batch's root mean square."""
        return self.normalise

    def scores(self, samples: Tensor, contexts: Tensor) -> Tensor:
        """Return the scaled negative distances."""
        h, t, _ = streams(samples, contexts, self.grid)
        if self.normalise:
            size = root_mean_square(h)
            h, t = h / size, t / size
        return -self.scale / h.shape[1] * squared_distances(h, t)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        return F.cross_entropy(scores, labels)


@dataclass(frozen=True)
class CosineLoss(LocalLoss):
    """Pull every sample towards its right context, and push it away from the wrong ones.

    1 - cos(h, t) averaged over the right contexts, plus repulsion * max(0, cos(h, t) - margin)
    averaged over the wrong ones. Contexts do not compete, so a sample may have several right ones.

    Args:
        margin: a wrong context with a cosine up to this adds no loss.
        repulsion: weight of the wrong contexts; the right ones have weight 1.
        grid: feature maps are first averaged to at most this many positions per side.
        centred: whether the mean over the features is subtracted first.

    Raises:
        SigpropError: if a number is out of range.
    """

    takes: ClassVar[frozenset[Answers]] = frozenset({"classes", "values", "labels"})

    margin: float = 0.0
    repulsion: float = 1.0
    grid: int = 7
    centred: bool = True

    def __post_init__(self) -> None:
        margin = "a number >= -1 and < 1"
        number("margin of CosineLoss", self.margin, margin, lambda x: -1 <= x < 1)
        not_negative("repulsion of CosineLoss", self.repulsion)
        whole("grid of CosineLoss", self.grid)

    def scores(self, samples: Tensor, contexts: Tensor) -> Tensor:
        """Return the cosines."""
        h, t, _ = streams(samples, contexts, self.grid, centred=self.centred)
        return cosines(h, t)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the mean attraction plus the weighted mean repulsion."""
        right = as_fractions(labels, scores.shape[1], scores)
        wrong = 1.0 - right
        pull = (right * (1.0 - scores)).sum(1) / right.sum(1).clamp(min=1.0)
        push = (wrong * F.relu(scores - self.margin)).sum(1) / wrong.sum(1).clamp(min=1.0)
        return (pull + self.repulsion * push).mean()
