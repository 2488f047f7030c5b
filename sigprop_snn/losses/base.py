"""The base of the local losses, which compare the two streams of a layer, and their sums."""

from __future__ import annotations

import functools
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from sigprop_snn.answers import Answers
from sigprop_snn.arguments import positive, refused, whole
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

    Losses compose: `DotProductLoss() + 10 * Similarity()` is a loss, a `WeightedSum`.

    Attributes:
        takes: the kinds of answer that this loss accepts.
    """

    takes: ClassVar[frozenset[Answers]] = frozenset({"classes", "values"})

    @property
    def has_scores(self) -> bool:
        """Whether the loss compares samples with contexts; one without only adds to another."""
        return True

    @property
    def compares_contexts(self) -> bool:
        """Whether targets are chosen by comparing the shared contexts."""
        return False

    @property
    def needs_batch(self) -> bool:
        """Whether the loss of a sample depends on the other samples of the batch.

        Processes that share a batch then gather its rows. A subclass that compares samples in
        `scores` or `loss` returns True.
        """
        return type(self).compare_samples is not LocalLoss.compare_samples

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

    def head(self, maps: int | None) -> nn.Module | None:
        """Return a new module with the weights that the loss itself learns in a block, or None.

        The network keeps one for each block. It learns with the block, and is not part of the
        forward path.

        Args:
            maps: number of feature maps of the block's representation; None without feature maps.
        """
        return None

    def compare_samples(
        self, samples: Tensor, labels: Tensor, columns: int, head: nn.Module | None
    ) -> Tensor | None:
        """Return a loss of the samples alone, a scalar that is added to `compare`'s; or None.

        Args:
            samples: the samples' representations, `[B, ...]`.
            labels: every sample's label, `[B]`, or the fraction of each column, `[B, M]`. No
                targets were selected.
            columns: M, the number of different labels.
            head: the block's module from `head`.
        """
        return None

    def __add__(self, other: LocalLoss) -> WeightedSum:
        """Return the sum of two losses."""
        if not isinstance(other, LocalLoss):
            return NotImplemented
        return WeightedSum((*_terms(self), *_terms(other)))

    def __mul__(self, weight: float) -> WeightedSum:
        """Return the loss times a positive number.

        Raises:
            SigpropError: if the number is not positive and finite.
        """
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            return NotImplemented
        return WeightedSum(tuple(Term(weight * term.weight, term.loss) for term in _terms(self)))

    __rmul__ = __mul__


class Term(NamedTuple):
    """One loss of a sum, with its weight."""

    weight: float
    loss: LocalLoss


@dataclass(frozen=True, repr=False)
class WeightedSum(LocalLoss):
    """A weighted sum of local losses, such as `DotProductLoss() + 10 * Similarity()`.

    The scores, and the targets if they are selected, are those of the first term that has scores.

    Args:
        terms: the losses with their weights.

    Raises:
        SigpropError: if there is no term, or a weight is not positive and finite.
    """

    terms: tuple[Term, ...]

    def __post_init__(self) -> None:
        if isinstance(self.terms, tuple | list) and not self.terms:
            raise SigpropError("WeightedSum got no terms; expected at least one")
        if not isinstance(self.terms, tuple | list) or not all(_is_term(t) for t in self.terms):
            raise refused("terms of WeightedSum", self.terms, "pairs of a weight and a LocalLoss")
        object.__setattr__(self, "terms", tuple(Term(*term) for term in self.terms))
        for weight, loss in self.terms:
            if not 0 < weight < math.inf:
                raise SigpropError(
                    f"{type(loss).__name__} has the weight {weight} in a sum; expected a finite "
                    "number > 0"
                )

    def __repr__(self) -> str:
        """Return the sum as it is written in Python."""
        return " + ".join(f"{w} * {loss}" if w != 1 else f"{loss}" for w, loss in self.terms)

    @property
    def takes(self) -> frozenset[Answers]:  # type: ignore[override]
        """The kinds of answer that every term accepts."""
        return frozenset.intersection(*(term.loss.takes for term in self.terms))

    @property
    def has_scores(self) -> bool:
        """Whether a term has scores."""
        return any(term.loss.has_scores for term in self.terms)

    @property
    def compares_contexts(self) -> bool:
        """Whether targets are chosen by comparing the shared contexts."""
        return self.has_scores and self._first.loss.compares_contexts

    @property
    def needs_batch(self) -> bool:
        """Whether a term depends on the other samples of the batch."""
        return any(term.loss.needs_batch for term in self.terms)

    def scores(self, samples: Tensor, contexts: Tensor) -> Tensor:
        """Return the scores of the first term that has scores."""
        return self._first.loss.scores(samples, contexts)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the weighted loss of the first term that has scores."""
        return self._first.weight * self._first.loss.loss(scores, labels)

    def compare(self, samples: Tensor, contexts: Tensor, labels: Tensor) -> Compared:
        """Return the scores, and the weighted sum of the losses that compare with the contexts."""
        found = [
            (weight, loss.compare(samples, contexts, labels))
            for weight, loss in self.terms
            if loss.has_scores
        ]
        if not found:
            raise no_scores(self)
        losses = [weight * compared.loss for weight, compared in found]
        return Compared(found[0][1].scores, functools.reduce(torch.add, losses))

    def targets(self, labels: Tensor, incoming: Tensor | None) -> Tensor:
        """Return the targets that the first term with scores chooses."""
        return self._first.loss.targets(labels, incoming)

    def head(self, maps: int | None) -> nn.Module | None:
        """Return the modules of the terms that have one, by the term's place in the sum."""
        made = {str(place): term.loss.head(maps) for place, term in enumerate(self.terms)}
        modules = {place: module for place, module in made.items() if module is not None}
        return nn.ModuleDict(modules) if modules else None

    def compare_samples(
        self, samples: Tensor, labels: Tensor, columns: int, head: nn.Module | None
    ) -> Tensor | None:
        """Return the weighted sum of the terms' losses of the samples alone."""
        heads = dict(head.named_children()) if head is not None else {}
        losses = [
            weight * loss
            for place, (weight, term) in enumerate(self.terms)
            if (loss := term.compare_samples(samples, labels, columns, heads.get(str(place))))
            is not None
        ]
        return functools.reduce(torch.add, losses) if losses else None

    @property
    def _first(self) -> Term:
        for term in self.terms:
            if term.loss.has_scores:
                return term
        raise no_scores(self)


def _terms(loss: LocalLoss) -> tuple[Term, ...]:
    return loss.terms if isinstance(loss, WeightedSum) else (Term(1, loss),)


def no_scores(loss: LocalLoss) -> SigpropError:
    """Return the error for a loss that compares no contexts where one has to."""
    return SigpropError(
        f"{loss} compares no contexts and has no scores; expected a sum with a loss that has, "
        f"such as DotProductLoss() + {loss}"
    )


def _is_term(term: object) -> bool:
    """Return whether something is a weight and a loss."""
    if not isinstance(term, tuple | list) or len(term) != 2:
        return False
    weight, loss = term
    return isinstance(weight, int | float) and isinstance(loss, LocalLoss)


def check_scale(loss: LocalLoss, scale: float, grid: int) -> None:
    """Check a loss's scale and grid.

    Raises:
        SigpropError: if the scale or the grid is not positive and finite.
    """
    name = type(loss).__name__
    positive(f"scale of {name}", scale)
    whole(f"grid of {name}", grid)
