"""Local losses: how the two streams of a layer are compared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.errors import SigpropError


class LocalLoss(ABC):
    """How a layer's representation of the samples is compared with that of the contexts."""

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

    def targets(self, labels: Tensor, incoming: Tensor | None) -> Tensor:
        """Return what the scores are compared with, given the labels.

        Args:
            labels: as `loss` takes them.
            incoming: the activity of the shared contexts that comes into the layer,
                `[T, M, ...]`; None at the front and for contexts of a sample's own.
        """
        return labels


@dataclass(frozen=True)
class DotProductLoss(LocalLoss):
    """Cross-entropy over scaled dot products of normalised representations.

    Z = scale * h t^T / (|h| |t|), compared with the label (arXiv 2204.01723, equations for the
    dot-product loss; the normalisation is what lets voltages of any size be compared).

    Args:
        scale: the largest score; larger is a sharper comparison.
        grid: representations of feature maps are averaged over a grid of this many positions a
            side before they are compared.
        centred: whether the mean over the features is taken off first.
        label_smoothing: share of the target that is spread over all contexts.

    Raises:
        SigpropError: if the scale or the grid is not positive.
    """

    scale: float = 20.0
    grid: int = 7
    centred: bool = False
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.scale < float("inf") or self.grid < 1 or not 0 <= self.label_smoothing <= 1:
            raise SigpropError(
                f"DotProductLoss has scale {self.scale}, grid {self.grid} and label smoothing "
                f"{self.label_smoothing}; expected scale > 0, grid >= 1 and smoothing from 0 to 1"
            )

    def scores(self, samples: Tensor, contexts: Tensor) -> Tensor:
        """Return the scaled cosines."""
        if contexts.dim() > samples.dim():  # each sample has contexts of its own
            own = self._directions(contexts.flatten(0, 1)).view(*contexts.shape[:2], -1)
            return self.scale * torch.einsum("bd,bkd->bk", self._directions(samples), own)
        return self.scale * self._directions(samples) @ self._directions(contexts).t()

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy."""
        return F.cross_entropy(scores, labels, label_smoothing=self.label_smoothing)

    def _directions(self, representation: Tensor) -> Tensor:
        if representation.dim() == 4 and min(representation.shape[-2:]) > self.grid:
            representation = F.adaptive_avg_pool2d(representation, self.grid)
        flat = representation.flatten(1)
        if self.centred:
            flat = flat - flat.mean(dim=1, keepdim=True)
        return F.normalize(flat, dim=1)
