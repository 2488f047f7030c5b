"""Local losses: how the two streams of a layer are compared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, get_args

import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.network.comparison import (
    cosines,
    entropy_of_cosines,
    products,
    root_mean_square,
    streams,
)
from sigprop_snn.network.readout import Answers
from sigprop_snn.network.selection import SELECTIONS, Select, selected

Normalise = Literal["length", "size", "none"]
NORMALISATIONS: tuple[Normalise, ...] = get_args(Normalise)


class Compared(NamedTuple):
    """How a layer's two streams compare.

    Attributes:
        scores: how near each sample is to each context, `[B, M]` or `[B, K]`.
        loss: a scalar.
    """

    scores: Tensor
    loss: Tensor


class LocalLoss(ABC):
    """How a layer's representation of the samples is compared with that of the contexts.

    Attributes:
        takes: the kinds of answer whose contexts this loss can compare.
    """

    takes: ClassVar[frozenset[Answers]] = frozenset({"classes", "values"})

    @property
    def compares_contexts(self) -> bool:
        """Whether its targets come of the contexts that all samples share."""
        return False

    @abstractmethod
    def scores(self, samples: Tensor, contexts: Tensor) -> Tensor:
        """Return how near each sample is to each context.

        Args:
            samples: the samples' representations, `[B, ...]`.
            contexts: the shared contexts' `[M, ...]`, or `[B, K, ...]` where every sample has
                contexts of its own.

        Returns:
            `[B, M]` or `[B, K]`.
        """

    @abstractmethod
    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, a scalar.

        Args:
            scores: `[B, M]`.
            labels: the right context's column for every sample, `[B]`, or each context's share
                of what is right, `[B, M]`.
        """

    def compare(self, samples: Tensor, contexts: Tensor, labels: Tensor) -> Compared:
        """Return the scores and the loss together; a loss may have a quicker way to both."""
        scores = self.scores(samples, contexts)
        return Compared(scores, self.loss(scores, labels))

    def targets(self, labels: Tensor, incoming: Tensor | None) -> Tensor:
        """Return what the scores are compared with, given the labels.

        Args:
            labels: as `loss` takes them.
            incoming: the activity of the shared contexts that comes into the layer,
                `[T, M, ...]`; None where the loss does not say `compares_contexts`, at the front,
                and for contexts of a sample's own.
        """
        return labels


@dataclass(frozen=True)
class DotProductLoss(LocalLoss):
    """Cross-entropy over the scaled dot products of the two streams.

    Z = scale * h t^T, the representations normalised first, compared with the selected target
    (arXiv 2204.01723, equations for the dot-product loss and for the selection of targets).

    Args:
        scale: what the products are multiplied by; of cosines it is the largest score.
        grid: representations of feature maps are averaged over a grid of this many positions a
            side before they are compared.
        centred: whether the mean over the features is taken off first.
        label_smoothing: share of the target that is spread over all contexts.
        normalise: "length" compares directions, so that voltages of any size can be compared;
            "size" divides both streams by their root mean square over the batch, held constant,
            and the product by the number of features; "none" takes them as they are, summed over
            features and averaged over positions, as the authors' code does.
        select: how the target is selected; see `selection.selected`.
        top: how many contexts "top-k" takes.
        temperature: of the similarities in "top-k".

    Raises:
        SigpropError: if a number is out of its range, or a choice unknown.
    """

    scale: float = 20.0
    grid: int = 7
    centred: bool = False
    label_smoothing: float = 0.0
    normalise: Normalise = "length"
    select: Select = "label"
    top: int = 3
    temperature: float = 0.1

    def __post_init__(self) -> None:
        check_scale(self, self.scale, self.grid)
        if not 0 <= self.label_smoothing <= 1:
            raise SigpropError(
                f"DotProductLoss has label smoothing {self.label_smoothing}; expected 0 to 1"
            )
        if self.normalise not in NORMALISATIONS:
            raise UnknownNameError("normalisation", self.normalise, NORMALISATIONS)
        if self.select not in SELECTIONS:
            raise UnknownNameError("selection of targets", self.select, SELECTIONS)
        if self.top < 1 or not self.temperature > 0:
            raise SigpropError(
                f"DotProductLoss has top {self.top} and temperature {self.temperature}; expected "
                "top >= 1 and temperature > 0"
            )

    @property
    def compares_contexts(self) -> bool:
        """Whether its targets come of the contexts that all samples share."""
        return self.select != "label"

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
        """Return the scores and the loss; those of cosines in one pass, where it can be."""
        if type(self) is DotProductLoss and self.normalise == "length":
            h, t, _ = streams(samples, contexts, self.grid, centred=self.centred)
            told = entropy_of_cosines(h, t, labels, self.scale, self.label_smoothing)
            if told is not None:
                return Compared(*told)
        return super().compare(samples, contexts, labels)

    def targets(self, labels: Tensor, incoming: Tensor | None) -> Tensor:
        """Return the targets that `select` names."""
        return selected(labels, incoming, self.select, top=self.top, temperature=self.temperature)


def check_scale(loss: LocalLoss, scale: float, grid: int) -> None:
    """Check the two settings that every loss has.

    Raises:
        SigpropError: if the scale or the grid is not positive and finite.
    """
    if not 0 < scale < float("inf") or grid < 1:
        raise SigpropError(
            f"{type(loss).__name__} has scale {scale} and grid {grid}; expected a finite "
            "scale > 0 and grid >= 1"
        )
