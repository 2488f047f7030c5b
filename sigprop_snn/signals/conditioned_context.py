"""The context conditioned on the input: every sample has contexts of its own."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.errors import SigpropError
from sigprop_snn.signals.base import Entry, Signal, as_current, check_sizes, drawn_weights


class ConditionedContext(Signal):
    """The projection of a class and of the sample it might belong to.

    t1 = f(S1 c + D1 x) (arXiv 2204.01723, the input-conditioned context): the contexts of a
    sample lie around what it looks like, and the class moves them apart. While learning, a sample
    meets its own class and a few wrong ones, drawn anew each time, in a random order; to guess it
    meets them all.

    Args:
        classes: C.
        shape: shape of the first block's current, without time and batch.
        inputs: shape of a sample, without time and batch.
        wrong: how many wrong classes a sample meets while learning; all, in their order, where
            there are no more.
        share: how much of a context is the sample's: root mean square of its projection beside
            that of the class, which is 1.
        rank: the sample passes through this many numbers, drawn once, on its way.
        learned: whether the projections learn with the first block.
        gain: root mean square of each context's current, in units of voltage.

    Raises:
        SigpropError: if a number is out of its range.
    """

    per_sample: ClassVar[bool] = True
    shape: tuple[int, ...]
    mixture: Tensor
    draws: Tensor

    def __init__(
        self,
        classes: int,
        shape: tuple[int, ...],
        inputs: tuple[int, ...],
        *,
        wrong: int = 9,
        share: float = 0.5,
        rank: int = 64,
        learned: bool = True,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        check_sizes(self, classes, shape)
        if wrong < 1 or rank < 1 or not 0 <= share < float("inf"):
            raise SigpropError(
                f"ConditionedContext has wrong {wrong}, rank {rank} and share {share}; expected "
                "wrong >= 1, rank >= 1 and share >= 0"
            )
        self.classes = classes
        self.shape = tuple(shape)
        self.wrong = min(wrong, classes - 1)
        self.share = share
        self.gain = gain
        features = math.prod(inputs)
        self.projection = drawn_weights(classes, shape, learned=learned)
        self.of_input = drawn_weights(rank, shape, learned=learned)
        self.register_buffer("mixture", torch.randn(features, rank) / features**0.5)
        self.register_buffer("draws", torch.zeros((), dtype=torch.long))

    def forward(self, inputs: Tensor, classes: Tensor) -> Tensor:
        """Return the currents of contexts, `[K * B, *shape]`, the first of every sample first.

        Args:
            inputs: samples, `[T, B, ...]`.
            classes: the classes that each sample meets, `[B, K]`.
        """
        of_input = _unit(inputs.mean(0).flatten(1) @ self.mixture @ self.of_input)
        of_class = _unit(self.projection)[classes.t()]  # [K, B, D]
        return as_current((of_class + self.share * of_input).flatten(0, 1), self.shape, self.gain)

    def enter(self, inputs: Tensor, labels: Tensor | None) -> Entry:
        """Return the samples, with the contexts of each behind them."""
        rows = inputs.shape[1]
        if labels is None or self.wrong == self.classes - 1:
            met = torch.arange(self.classes, device=inputs.device).expand(rows, -1)
            targets = labels
        else:
            met = self._draw(labels)
            targets = (met == labels[:, None]).long().argmax(dim=1)
        return Entry(
            inputs,
            self(inputs, met),
            rows,
            observed_rows=rows,
            contexts_per_sample=met.shape[1],
            targets=targets,
            answers=labels,
        )

    def extra_repr(self) -> str:
        """Return the settings for `print(signal)`."""
        return (
            f"classes={self.classes}, shape={self.shape}, wrong={self.wrong}, share={self.share}, "
            f"learned={self.projection.requires_grad}, gain={self.gain}"
        )

    def _draw(self, labels: Tensor) -> Tensor:
        """Return the classes that samples meet while learning, `[B, wrong + 1]`.

        The draws follow from how many there were, which is saved with the weights: a run that is
        resumed sees what it would have seen.
        """
        made = torch.Generator().manual_seed(int(self.draws))
        self.draws += 1
        rank = torch.rand(len(labels), self.classes, generator=made).to(labels.device)
        rank[torch.arange(len(labels), device=labels.device), labels] = -1.0  # always among them
        met = rank.argsort(dim=1)[:, : self.wrong + 1]
        order = torch.rand(met.shape, generator=made).argsort(dim=1).to(labels.device)
        return met.gather(1, order)


def _unit(rows: Tensor) -> Tensor:
    return F.layer_norm(rows, rows.shape[-1:], eps=1e-10)
