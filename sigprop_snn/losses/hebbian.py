"""The Hebbian loss: correlates the samples' activity with that of their contexts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.losses.base import LocalLoss, check_scale
from sigprop_snn.losses.similarity import as_fractions, products, streams, without_mean

_SPANNED = 1e-8  # eigenvalues below this fraction of the largest are rounding errors


@dataclass(frozen=True)
class HebbianLoss(LocalLoss):
    """The dot product of the sample's activity with its centred context, without an error term.

    L = -scale * mean over b of h_b . c(y_b); c(k) is the activity of context k minus the mean
    over the contexts, at unit length. For h = W x, the gradient for W is proportional to
    -c(y) x^T: gradient descent adds the context's centred activity times the presynaptic
    activity. The gradient depends on neither an error nor h. The contexts get no gradient.

    Args:
        scale: factor of the scores.
        decorrelated: whether the centred contexts are replaced by the nearest orthonormal ones,
            instead of being scaled to unit length. Above the first layer, contexts pass through
            the weights that they train, and would otherwise become equal.
        grid: feature maps are first averaged to at most this many positions per side.

    Raises:
        SigpropError: if the scale or the grid is not positive.
    """

    scale: float = 1.0
    decorrelated: bool = True
    grid: int = 7

    def __post_init__(self) -> None:
        check_scale(self, self.scale, self.grid)

    def scores(self, samples: Tensor, contexts: Tensor) -> Tensor:
        """Return the samples' scaled dot products with the centred contexts."""
        h, t, _ = streams(samples, contexts.detach(), self.grid)
        centred = without_mean(t, -2)
        apart = _orthogonal(centred) if self.decorrelated else F.normalize(centred, dim=-1)
        return self.scale * products(h, apart)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the negative mean score of the right contexts."""
        right = as_fractions(labels, scores.shape[1], scores)
        return -(right * scores).sum(1).mean()


def _orthogonal(contexts: Tensor) -> Tensor:
    """Return (C C^T)^(-1/2) C, by the pseudoinverse, for contexts `[..., K, D]`."""
    wide = contexts.double()
    values, vectors = torch.linalg.eigh(wide @ wide.mT)
    kept = values > _SPANNED * values[..., -1:].clamp(min=torch.finfo(wide.dtype).tiny)
    inverse = torch.where(kept, values, 1.0).rsqrt() * kept
    apart: Tensor = vectors * inverse[..., None, :] @ vectors.mT @ wide
    return apart.to(contexts)
