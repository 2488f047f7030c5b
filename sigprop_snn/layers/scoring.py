"""How right answers are counted."""

from __future__ import annotations

import torch
from torch import Tensor


def correct(scores: Tensor, labels: Tensor) -> Tensor:
    """Return which samples are classified right, `[B]`, for scores `[B, C]`.

    A tie for the highest score is wrong, so that a silent network scores nothing.
    """
    if scores.shape[1] < 2:  # one value: there are no classes
        return torch.zeros_like(labels, dtype=torch.bool)
    target = scores.gather(1, labels[:, None])
    # Count the scores that are not lower than the target's. More than one (a tie or NaN) is wrong.
    return (~(scores < target)).sum(1) == 1


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
