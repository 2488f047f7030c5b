"""The dot-product loss of the signal propagation paper."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.arguments import number, one_of, truth
from sigprop_snn.losses.base import Compared, LocalLoss, check_scale
from sigprop_snn.losses.selection import SELECTIONS, Label, Selection, TopSamples
from sigprop_snn.losses.similarity import (
    cosine_cross_entropy,
    cosines,
    products,
    root_mean_square,
    streams,
)

Normalise = Literal["length", "size", "none"]
NORMALISATIONS: tuple[Normalise, ...] = get_args(Normalise)


@dataclass(frozen=True)
class DotProductLoss(LocalLoss):
    """Cross-entropy over the scaled dot products of the two streams.

    Z = scale * h t^T, after the representations are normalised (arXiv 2204.01723, equations for
    the dot-product loss and for the selection of targets).

    Args:
        scale: factor of the products; for cosines, the largest score.
        grid: feature maps are first averaged to at most this many positions per side.
        centred: whether the mean over the features is subtracted first.
        label_smoothing: fraction of the target that is spread over all contexts.
        normalise: "length" uses cosines, so that the size of the voltages does not matter; "size"
            divides both streams by their root mean square over the batch, without its gradient,
            and the product by the number of features; "none" does not normalise: products are
            summed over features and averaged over positions, as in the authors' code.
        select: how the targets are selected: `Label()`, `Maxima()`, `RandomMaximum()` or
            `TopK(3, 0.1)`, or a name in `SELECTIONS`.

    Raises:
        SigpropError: if a number is out of range, or a choice unknown.
    """

    scale: float = 20.0
    grid: int = 7
    centred: bool = False
    label_smoothing: float = 0.0
    normalise: Normalise = "length"
    select: Selection | str = field(default_factory=Label)

    def __post_init__(self) -> None:
        check_scale(self, self.scale, self.grid)
        number(
            "label_smoothing of DotProductLoss",
            self.label_smoothing,
            "a number from 0 to 1",
            lambda x: 0 <= x <= 1,
        )
        truth("centred of DotProductLoss", self.centred)
        one_of("normalise", self.normalise, NORMALISATIONS)
        if not hasattr(self.select, "targets") or isinstance(self.select, type):
            select = one_of("select", self.select, SELECTIONS)
            object.__setattr__(self, "select", SELECTIONS[select]())

    @property
    def compares_contexts(self) -> bool:
        """Whether targets are chosen by comparing the shared contexts."""
        return not isinstance(self.select, Label)

    @property
    def needs_batch(self) -> bool:
        """Whether sizes or targets are those of the batch."""
        return self.normalise == "size" or isinstance(self.select, TopSamples)

    def scores(self, samples: Tensor, contexts: Tensor) -> Tensor:
        """Return the scaled products."""
        h, t, positions = streams(samples, contexts, self.grid, centred=self.centred)
        if self.normalise == "length":
            return self.scale * cosines(h, t)
        if self.normalise == "none":
            return self.scale / positions * products(h, t)
        size = root_mean_square(h) * root_mean_square(t) * h.shape[1]
        return self.scale * products(h, t) / size

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        return F.cross_entropy(scores, labels, label_smoothing=self.label_smoothing)

    def compare(self, samples: Tensor, contexts: Tensor, labels: Tensor) -> Compared:
        """Return the scores and the loss; cosines with shared contexts need no autograd graph."""
        learns = torch.is_grad_enabled() and (samples.requires_grad or contexts.requires_grad)
        shared = contexts.dim() == samples.dim() and labels.dim() == 1
        if type(self) is DotProductLoss and self.normalise == "length" and learns and shared:
            h, t, _ = streams(samples, contexts, self.grid, centred=self.centred)
            return Compared(*cosine_cross_entropy(h, t, labels, self.scale, self.label_smoothing))
        return super().compare(samples, contexts, labels)

    def targets(self, labels: Tensor, incoming: Tensor | None) -> Tensor:
        """Return the targets that `select` chooses; the labels if `incoming` is None."""
        assert not isinstance(self.select, str)  # resolved above
        return labels if incoming is None else self.select.targets(labels, incoming)
