"""The base of the local losses, which compare the two streams of a layer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from torch import Tensor

from sigprop_snn.answers import Answers
from sigprop_snn.errors import SigpropError


class Compared(NamedTuple):
    """The result of comparing a layer's two streams.

    Attributes:
        scores: score of each sample for each context, `[B, M]` or `[B, K]`.
        loss: a scalar.
    """

    scores: Tensor
    loss: Tensor


class LocalLoss(ABC):
    """Compares a layer's representation of the samples with that of the contexts.

    Attributes:
        takes: the kinds of answer that this loss accepts.
    """

    takes: ClassVar[frozenset[Answers]] = frozenset({"classes", "values"})

    @property
    def compares_contexts(self) -> bool:
        """Whether targets are chosen by comparing the shared contexts."""
        return False

    @abstractmethod
    def scores(self, samples: Tensor, contexts: Tensor) -> Tensor:
        """Return the score of each sample for each context; higher means more similar.

        Args:
            samples: the samples' representations, `[B, ...]`.
            contexts: the contexts' representations: shared, `[M, ...]`, or separate for each
                sample, `[B, K, ...]`.

        Returns:
            `[B, M]` or `[B, K]`.
        """

    @abstractmethod
    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, a scalar.

        Args:
            scores: `[B, M]`.
            labels: the right context's column for every sample, `[B]`, or the fraction of each
                context, `[B, M]`.
        """

    def compare(self, samples: Tensor, contexts: Tensor, labels: Tensor) -> Compared:
        """Return the scores and the loss; a subclass may compute both together, faster."""
        scores = self.scores(samples, contexts)
        return Compared(scores, self.loss(scores, labels))

    def targets(self, labels: Tensor, incoming: Tensor | None) -> Tensor:
        """Return the targets of the scores.

        Args:
            labels: as in `loss`.
            incoming: the shared contexts' activity at the layer's input, `[T, M, ...]`. None if
                `compares_contexts` is false, in the first layer, and if each sample has separate
                contexts.
        """
        return labels


def check_scale(loss: LocalLoss, scale: float, grid: int) -> None:
    """Check a loss's scale and grid.

    Raises:
        SigpropError: if the scale or the grid is not positive and finite.
    """
    if not 0 < scale < float("inf") or grid < 1:
        raise SigpropError(
            f"{type(loss).__name__} has scale {scale} and grid {grid}; expected a finite "
            "scale > 0 and grid >= 1"
        )
