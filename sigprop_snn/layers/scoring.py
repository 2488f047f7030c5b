"""How right answers are counted."""

from __future__ import annotations

import torch
from torch import Tensor

from sigprop_snn.arguments import instance
from sigprop_snn.errors import SigpropError


def correct(scores: Tensor, labels: Tensor) -> Tensor:
    """Return which samples are classified right, `[B]`, for scores `[B, C]`.

    A tie for the highest score is wrong, so that a silent network scores nothing.

    Raises:
        SigpropError: if they are no tensors of these shapes, or the labels no whole numbers.
    """
    instance("scores", scores, Tensor, "a tensor [B, C]")
    instance("labels", labels, Tensor, "a tensor [B]")
    if scores.dim() != 2 or labels.shape != scores.shape[:1] or labels.is_floating_point():
        raise SigpropError(
            f"scores have shape {list(scores.shape)} and labels are {labels.dtype} of shape "
            f"{list(labels.shape)}; expected [B, C] and integers [B]"
        )
    if scores.shape[1] < 2:  # one value: there are no classes
        return torch.zeros_like(labels, dtype=torch.bool)
    target = scores.gather(1, labels[:, None])
    # All scores but the target's own have to be lower. A tie or NaN is not, so it is wrong.
    return (scores < target).sum(1) == scores.shape[1] - 1


def hits(scores: Tensor, targets: Tensor) -> Tensor:
    """Return how many samples score highest at their target, a tensor without axes.

    Args:
        scores: `[B, C]`.
        targets: the column of each sample, `[B]`, or the fraction of each context, `[B, M]`: then
            every column with the largest fraction is right.
    """
    if not targets.is_floating_point():
        return correct(scores, targets).sum()
    best = scores.argmax(dim=1)
    right = targets.gather(1, best[:, None]).squeeze(1) == targets.amax(dim=1)
    return (correct(scores, best) & right).sum()
