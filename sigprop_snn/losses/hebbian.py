"""The Hebbian loss: what fires for a context is wired to what comes in with its samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.losses.base import LocalLoss, check_scale
from sigprop_snn.losses.similarity import as_fractions, products, streams

_SPANNED = 1e-8  # share of the largest eigenvalue below which a direction is rounding


@dataclass(frozen=True)
class HebbianLoss(LocalLoss):
    """The sample's activity along its context's, the contexts' mean taken off and held constant.

    L = -scale * mean over b of h_b . c(y_b), c(k) the activity of context k less the mean over
    the contexts, at unit length. Its gradient for the weights of h = W x is -c(y) x^T: a step
    against it adds presynaptic activity times the context's centred activity, and looks at
    neither an error nor what the samples did. Only the samples' stream learns.

    Args:
        scale: of the scores.
        decorrelated: whether the centred contexts are turned apart, to the nearest orthogonal
            ones, instead of each brought to unit length. Above the first layer they pass through
            the weights that they shape, and would otherwise fall together.
        grid: feature maps are averaged over a grid of this many positions a side first.

    Raises:
        SigpropError: if the scale or the grid is not positive.
    """

    scale: float = 1.0
    decorrelated: bool = True
    grid: int = 7

    def __post_init__(self) -> None:
        check_scale(self, self.scale, self.grid)

    def scores(self, samples: Tensor, contexts: Tensor) -> Tensor:
        """Return the samples' activity along every centred context."""
        h, t, _ = streams(samples, contexts.detach(), self.grid)
        centred = t - t.mean(dim=-2, keepdim=True)
        apart = _orthogonal(centred) if self.decorrelated else F.normalize(centred, dim=-1)
        return self.scale * products(h, apart)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the negative mean activity along the right contexts."""
        right = as_fractions(labels, scores.shape[1], scores)
        return -(right * scores).sum(1).mean()


def _orthogonal(contexts: Tensor) -> Tensor:
    """Return (C C^T)^(-1/2) C for contexts `[..., K, D]`; what they do not span stays zero."""
    wide = contexts.double()
    values, vectors = torch.linalg.eigh(wide @ wide.mT)
    kept = values > _SPANNED * values[..., -1:].clamp(min=torch.finfo(wide.dtype).tiny)
    inverse = torch.where(kept, values, 1.0).rsqrt() * kept
    apart: Tensor = vectors * inverse[..., None, :] @ vectors.mT @ wide
    return apart.to(contexts)
