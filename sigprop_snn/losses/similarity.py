"""Functions that the local losses use: flat representations, their products and distances.

Contexts are shared by all samples, `[M, D]`, or separate for each sample, `[B, K, D]`; every
function accepts both, except where it says otherwise.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from sigprop_snn.device import without_autocast
from sigprop_snn.neurons.engines import engine_for

_ROUNDING = 16  # a mean of equal numbers differs from them by less than so many eps
_FLOOR = 1e-12  # smallest length; avoids division by zero for silent rows


class Streams(NamedTuple):
    """The two streams of a layer; each representation is a row of D numbers.

    Attributes:
        samples: `[B, D]`.
        contexts: `[M, D]`, or `[B, K, D]` if each sample has separate contexts.
        positions: number of feature map positions in a row; 1 without feature maps.
    """

    samples: Tensor
    contexts: Tensor
    positions: int


def streams(samples: Tensor, contexts: Tensor, grid: int, *, centred: bool = False) -> Streams:
    """Return the flattened representations of both streams.

    Args:
        samples: `[B, ...]`.
        contexts: `[M, ...]` or `[B, K, ...]`.
        grid: feature maps are first averaged to at most this many positions per side.
        centred: whether each row's mean over its features is subtracted.
    """
    own = contexts.dim() > samples.dim()
    rows = contexts.flatten(0, 1) if own else contexts
    samples, rows = on_grid(samples, grid), on_grid(rows, grid)
    positions = samples.shape[2:].numel()
    if samples.dim() == 4 and samples.is_contiguous(memory_format=torch.channels_last):
        # Keep the channels-last order: both streams have it, and no copy is made.
        samples, rows = samples.movedim(1, -1), rows.movedim(1, -1)
    flat, other = _flat(samples, centred), _flat(rows, centred)
    return Streams(flat, other.view(*contexts.shape[:2], -1) if own else other, positions)


def products(samples: Tensor, contexts: Tensor) -> Tensor:
    """Return every sample's dot product with every context, `[B, M]` or `[B, K]`."""
    if contexts.dim() > samples.dim():
        return torch.einsum("bd,bkd->bk", samples, contexts)
    return samples @ contexts.t()


def cosines(samples: Tensor, contexts: Tensor) -> Tensor:
    """Return every sample's cosine with every context; 0 if either is silent."""
    found: Tensor = _Cosines.apply(samples, contexts)
    return found


class _Cosines(torch.autograd.Function):
    """Cosines and their gradient, with few passes over the representations.

    For c = s t / (|s| |t|), dc/ds = t / (|s| |t|) - c s / |s|^2. Both terms multiply a
    representation by a small matrix, of the size of the cosines, so no representation is
    normalised. A silent row has cosine 0 and causes no gradient in the other stream.
    """

    @staticmethod
    def forward(ctx: Any, samples: Tensor, contexts: Tensor) -> Tensor:
        own, others = (
            torch.linalg.vector_norm(rows, dim=-1).clamp_(min=_FLOOR).reciprocal_()
            for rows in (samples, contexts)
        )
        both = own[:, None] * others
        with without_autocast(samples.device.type):
            found = products(samples, contexts).mul_(both)
        ctx.save_for_backward(samples, contexts, own, others, both, found)
        return found

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        (grad,) = grads
        samples, contexts, own, others, both, found = ctx.saved_tensors
        by_product, along = grad * both, grad * found
        back = (along.sum(-1) * own.square())[:, None]
        with without_autocast(samples.device.type):
            if contexts.dim() > samples.dim():
                turned = torch.einsum("bk,bkd->bd", by_product, contexts)
                of_contexts = by_product[..., None] * samples[:, None]
                aside = (along * others.square())[..., None]
            else:
                turned, of_contexts = by_product @ contexts, by_product.t() @ samples
                aside = (along.sum(0) * others.square())[:, None]
        turned.addcmul_(back, samples, value=-1.0)
        return turned, of_contexts.addcmul_(aside, contexts, value=-1.0)


def without_mean(rows: Tensor, dim: int) -> Tensor:
    """Return rows minus their mean along an axis; 0 where no more than rounding is left.

    A cosine or a unit length would otherwise turn the rounding into a direction.
    """
    centred = rows - rows.mean(dim=dim, keepdim=True)
    least = _ROUNDING * torch.finfo(rows.dtype).eps
    size, whole = (torch.linalg.vector_norm(each, dim=-1, keepdim=True) for each in (centred, rows))
    return centred.masked_fill((size <= least * whole).detach(), 0.0)


def cosine_cross_entropy(
    samples: Tensor, contexts: Tensor, labels: Tensor, scale: float, smoothing: float
) -> tuple[Tensor, Tensor]:
    """Return scaled cosines `[B, M]` and their mean cross-entropy; only the loss has a gradient.

    The engine computes the gradient in the forward pass, so no graph is kept.

    Args:
        samples: `[B, D]`.
        contexts: `[M, D]`.
        labels: the right context's column for every sample, `[B]`.
        scale: factor of the cosines.
        smoothing: fraction of the target that is spread over all contexts.
    """
    scores, loss = _CosineCrossEntropy.apply(samples, contexts, labels, scale, smoothing)
    return scores, loss


class _CosineCrossEntropy(torch.autograd.Function):
    """Cosines and their cross-entropy; the forward pass computes the gradient."""

    @staticmethod
    def forward(
        ctx: Any, samples: Tensor, contexts: Tensor, labels: Tensor, scale: float, smoothing: float
    ) -> tuple[Tensor, Tensor]:
        engine = engine_for(samples.device)
        found = engine.cosine_cross_entropy(samples, contexts, labels, scale, smoothing)
        ctx.save_for_backward(found.grad_rows, found.grad_others)
        ctx.mark_non_differentiable(found.scores)
        return found.scores, found.losses.mean()

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        # A product with a tensor: reading the number would make the program wait for a GPU.
        grad_samples, grad_contexts = (grads[1] * grad for grad in ctx.saved_tensors)
        return grad_samples, grad_contexts, None, None, None


_SILENT = 1e-3  # a stream with a smaller root mean square is silent; in units of voltage


def squared_distances(samples: Tensor, contexts: Tensor) -> Tensor:
    """Return every sample's squared distance from every context."""
    squares = samples.square().sum(-1, keepdim=True)
    others = contexts.square().sum(-1)
    return squares + others - 2.0 * products(samples, contexts)


def root_mean_square(values: Tensor) -> Tensor:
    """Return a stream's root mean square, detached; 1 for a silent stream, which has no size.

    Divided by a size near 0, the other stream would overflow.
    """
    size = values.detach().square().mean().sqrt()
    return torch.where(size > _SILENT, size, 1.0)


def as_fractions(targets: Tensor, columns: int, like: Tensor) -> Tensor:
    """Return targets as the fraction of each context, `[B, M]`; columns become one-hot."""
    if targets.dim() == 2:
        return targets.to(like)
    return F.one_hot(targets, columns).to(like)


def on_grid(representation: Tensor, grid: int) -> Tensor:
    """Return feature maps averaged to at most `grid` positions per side; others as they are."""
    if representation.dim() == 4 and min(representation.shape[-2:]) > grid:
        averaged: Tensor = _GridMean.apply(representation, grid)
        return averaged
    return representation


class _GridMean(torch.autograd.Function):
    """Maps averaged to a grid, by the engine of their device."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, grid: int) -> Tensor:
        ctx.save_for_backward(maps)
        ctx.grid = grid
        return engine_for(maps.device).grid_mean(maps, grid)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (maps,) = ctx.saved_tensors
        return engine_for(maps.device).grid_mean_gradient(maps, ctx.grid, grads[0]), None


def _flat(representation: Tensor, centred: bool) -> Tensor:
    flat = representation.flatten(1)
    return flat - flat.mean(dim=1, keepdim=True) if centred else flat
