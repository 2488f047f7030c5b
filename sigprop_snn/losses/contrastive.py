"""The contrastive loss: both streams have to find each other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.losses.base import LocalLoss, check_scale
from sigprop_snn.losses.similarity import as_fractions, cosines, streams


@dataclass(frozen=True)
class ContrastiveLoss(LocalLoss):
    """Symmetric InfoNCE: each sample finds its context, and each context its samples.

    Half the cross-entropy over the contexts of each sample, and half that over the samples of
    each context (Radford et al., arXiv 2103.00020; several samples of one context share its
    target, as in Khosla et al., arXiv 2004.11362). A context without a sample in the batch has
    nothing to find. Of a sample's own contexts, the k-th of every sample make a column.

    Args:
        scale: the largest score, one over the temperature.
        grid: feature maps are averaged over a grid of this many positions a side first.
        centred: whether the mean over the features is taken off first.

    Raises:
        SigpropError: if the scale or the grid is not positive.
    """

    scale: float = 10.0
    grid: int = 7
    centred: bool = False

    def __post_init__(self) -> None:
        check_scale(self, self.scale, self.grid)

    def scores(self, samples: Tensor, contexts: Tensor) -> Tensor:
        """Return the scaled cosines."""
        h, t, _ = streams(samples, contexts, self.grid, centred=self.centred)
        return self.scale * cosines(h, t)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the mean of both ways."""
        right = as_fractions(labels, scores.shape[1], scores)
        total = right.sum(0)
        sought = total > 0
        share = torch.where(sought, right / total.clamp(min=torch.finfo(right.dtype).tiny), 0.0)
        back = -(share * scores.log_softmax(dim=0)).sum(0)
        return 0.5 * (F.cross_entropy(scores, right) + back.sum() / sought.sum())
