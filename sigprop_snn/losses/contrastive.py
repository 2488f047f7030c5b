"""The contrastive loss: cross-entropy over contexts and over samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.losses.base import LocalLoss, check_scale
from sigprop_snn.losses.similarity import as_fractions, cosines, streams


@dataclass(frozen=True)
class ContrastiveLoss(LocalLoss):
    """Symmetric InfoNCE: each sample selects its context, and each context its samples.

    The mean of the cross-entropy over the contexts, for each sample, and that over the samples,
    for each context (Radford et al., arXiv 2103.00020). The target of a context is divided between
    its samples (Khosla et al., arXiv 2004.11362). A context without samples in the batch is left
    out. If each sample has separate contexts, the k-th contexts of all samples form a column.

    Args:
        scale: the largest score, 1 / temperature.
        grid: feature maps are first averaged to at most this many positions per side.
        centred: whether the mean over the features is subtracted first.

    Raises:
        SigpropError: if the scale or the grid is not positive.
    """

    scale: float = 10.0
    grid: int = 7
    centred: bool = False

    def __post_init__(self) -> None:
        check_scale(self, self.scale, self.grid)

    @property
    def needs_batch(self) -> bool:
        """Whether the loss of a sample depends on the other samples: contexts seek theirs."""
        return True

    def scores(self, samples: Tensor, contexts: Tensor) -> Tensor:
        """Return the scaled cosines."""
        h, t, _ = streams(samples, contexts, self.grid, centred=self.centred)
        return self.scale * cosines(h, t)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the mean of both cross-entropies."""
        right = as_fractions(labels, scores.shape[1], scores)
        total = right.sum(0)
        sought = total > 0
        fraction = torch.where(sought, right / total.clamp(min=torch.finfo(right.dtype).tiny), 0.0)
        back = -(fraction * scores.log_softmax(dim=0)).sum(0)
        return 0.5 * (F.cross_entropy(scores, right) + back.sum() / sought.sum())
