"""Prediction by contexts: by a subset that narrows, and against a neutral context."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sigprop_snn.losses.base import LocalLoss

_LAST = 2  # contexts between which the last block decides


def narrowed(by_block: Sequence[Tensor]) -> Tensor:
    """Return the last block's scores of the contexts that all blocks below kept; others get -inf.

    The adaptive prediction of the signal propagation tutorial (amassivek.github.io/sigprop, step
    4): a sample is compared with a subset of the nearest contexts only. There a tree of contexts
    gives the subset. Here the blocks narrow it: each keeps the nearest of the contexts that it got,
    and a context that it drops is not compared above it. Contexts with equal scores stay together.

    Args:
        by_block: the scores of each block, from the first to the last, `[B, C]`.
    """
    *below, last = by_block
    kept = torch.ones_like(last, dtype=torch.bool)
    for count, scores in zip(subset_sizes(last.shape[1], len(by_block)), below, strict=True):
        scores = scores.masked_fill(~kept, -math.inf)
        kept = kept & (scores >= scores.topk(count, dim=1).values[:, -1:])
    return last.masked_fill(~kept, -math.inf)


def subset_sizes(columns: int, blocks: int) -> list[int]:
    """Return how many contexts each block but the last keeps.

    The number falls by the same factor from block to block, from C to two.

    Args:
        columns: C, the number of contexts.
        blocks: the number of blocks.
    """
    least = min(_LAST, columns)
    factor = least / columns
    return [
        max(least, math.ceil(columns * factor ** (place / (blocks - 1)) - 1e-9))
        for place in range(1, blocks)
    ]


@torch.no_grad()
def above_neutral(scores: Tensor, loss: LocalLoss, samples: Tensor, contexts: Tensor) -> Tensor:
    """Return scores `[B, M]` less the score of a neutral context, which stands for no class.

    The neutral context is the mean of the contexts. Above 0, a sample is more similar to the
    context than to no class. The order of the scores of a sample stays.

    Args:
        scores: each sample's scores, `[B, M]` or `[B, K]`.
        loss: the loss that gave them.
        samples: the samples' representations, `[B, ...]`.
        contexts: the contexts' representations: shared, `[M, ...]`, or separate for each sample,
            `[B, K, ...]`.
    """
    neutral = contexts.mean(contexts.dim() - samples.dim(), keepdim=True)
    return scores.detach() - loss.scores(samples, neutral)
