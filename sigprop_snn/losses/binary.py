"""The binary loss: every context is right or wrong, independently of the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.answers import Answers
from sigprop_snn.losses.base import LocalLoss, check_scale
from sigprop_snn.losses.similarity import as_fractions, cosines, streams


@dataclass(frozen=True)
class BinaryLoss(LocalLoss):
    """Binary cross-entropy of every context's scaled cosine; a score above 0 predicts it.

    Args:
        scale: the largest score.
        offset: the cosine at even odds; use 0 if a context is right about half of the time, and
            more if it is right less often.
        grid: feature maps are first averaged to at most this many positions per side.
        centred: whether the mean over the features is subtracted first; without this the cosines
            of rectified voltages are never below 0.

    Raises:
        SigpropError: if the scale or the grid is not positive.
    """

    takes: ClassVar[frozenset[Answers]] = frozenset({"classes", "labels"})

    scale: float = 10.0
    offset: float = 0.0
    grid: int = 7
    centred: bool = True

    def __post_init__(self) -> None:
        check_scale(self, self.scale, self.grid)

    def scores(self, samples: Tensor, contexts: Tensor) -> Tensor:
        """Return the log-odds of every context."""
        h, t, _ = streams(samples, contexts, self.grid, centred=self.centred)
        return self.scale * (cosines(h, t) - self.offset)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the mean binary cross-entropy over samples and contexts."""
        right = as_fractions(labels, scores.shape[1], scores)
        return F.binary_cross_entropy_with_logits(scores, right)
