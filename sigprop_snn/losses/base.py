"""Local losses: how the two streams of a layer are compared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from torch import Tensor

from sigprop_snn.answers import Answers
from sigprop_snn.errors import SigpropError


class Compared(NamedTuple):
    """How a layer's two streams compare.

    Attributes:
        scores: how near each sample is to each context, `[B, M]` or `[B, K]`.
        loss: a scalar.
    """

    scores: Tensor
    loss: Tensor


class LocalLoss(ABC):
    """How a layer's representation of the samples is compared with that of the contexts.

    Attributes:
        takes: the kinds of answer whose contexts this loss can compare.
    """

    takes: ClassVar[frozenset[Answers]] = frozenset({"classes", "values"})

    @property
    def compares_contexts(self) -> bool:
        """Whether targets are chosen by comparing the shared contexts."""
        return False

    @abstractmethod
    def scores(self, samples: Tensor, contexts: Tensor) -> Tensor:
        """Return how near each sample is to each context.

        Args:
            samples: the samples' representations, `[B, ...]`.
            contexts: the shared contexts' `[M, ...]`, or `[B, K, ...]` where every sample has
                contexts of its own.

        Returns:
            `[B, M]` or `[B, K]`.
        """

    @abstractmethod
    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the loss, a scalar.

        Args:
            scores: `[B, M]`.
            labels: the right context's column for every sample, `[B]`, or each context's share
                of what is right, `[B, M]`.
        """

    def compare(self, samples: Tensor, contexts: Tensor, labels: Tensor) -> Compared:
        """Return the scores and the loss together; a loss may have a quicker way to both."""
        scores = self.scores(samples, contexts)
        return Compared(scores, self.loss(scores, labels))

    def targets(self, labels: Tensor, incoming: Tensor | None) -> Tensor:
        """Return what the scores are compared with, given the labels.

        Args:
            labels: as `loss` takes them.
            incoming: the activity of the shared contexts that comes into the layer,
                `[T, M, ...]`; None where the loss does not say `compares_contexts`, at the front,
                and for contexts of a sample's own.
        """
        return labels


def check_scale(loss: LocalLoss, scale: float, grid: int) -> None:
    """Check the two settings that every loss has.

    Raises:
        SigpropError: if the scale or the grid is not positive and finite.
    """
    if not 0 < scale < float("inf") or grid < 1:
        raise SigpropError(
            f"{type(loss).__name__} has scale {scale} and grid {grid}; expected a finite "
            "scale > 0 and grid >= 1"
        )
