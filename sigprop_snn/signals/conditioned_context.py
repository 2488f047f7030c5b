"""The context conditioned on the input: every sample has separate contexts."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.arguments import axes, not_negative, positive, truth, whole
from sigprop_snn.shard import current_shard
from sigprop_snn.signals.base import Entry, Signal, as_current, check_sizes, drawn_weights


class ConditionedContext(Signal):
    """The sum of the projections of a class and of a sample.

    t1 = f(S1 c + D1 x) (arXiv 2204.01723, the input-conditioned context): the contexts of a
    sample share the sample's projection and differ by the class. In training, a sample is compared
    with its right class and a few random wrong ones, in a random order; in prediction, with all.

    Args:
        classes: C.
        shape: shape of the first block's current, without time and batch.
        inputs: shape of a sample, without time and batch.
        wrong: number of wrong classes for each sample in training; with C - 1 or more, all
            classes are used, in order.
        share: weight of the sample in a context: root mean square of its projection; that of the
            class is 1.
        rank: the sample is first projected to this many numbers, by fixed random weights.
        learned: whether the projections learn with the first block.
        gain: root mean square of each context's current, in units of voltage.

    Raises:
        SigpropError: if a number is out of range.
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
        shape = axes("shape of ConditionedContext", shape)
        features = math.prod(axes("inputs of ConditionedContext", inputs))
        check_sizes(self, classes, shape)
        wrong = whole("wrong of ConditionedContext", wrong)
        rank = whole("rank of ConditionedContext", rank)
        learned = truth("learned of ConditionedContext", learned)
        self.classes = whole("classes of ConditionedContext", classes)
        self.shape = shape
        self.wrong = min(wrong, self.classes - 1)
        self.share = not_negative("share of ConditionedContext", share)
        self.gain = positive("gain of ConditionedContext", gain)
        self.projection = drawn_weights(classes, shape, learned=learned)
        self.of_input = drawn_weights(rank, shape, learned=learned)
        self.register_buffer("mixture", torch.randn(features, rank) / features**0.5)
        self.register_buffer("draws", torch.zeros((), dtype=torch.long))

    def forward(self, inputs: Tensor, classes: Tensor) -> Tensor:
        """Return the currents of contexts, `[K * B, *shape]`, first context of all samples first.

        Args:
            inputs: samples, `[T, B, ...]`.
            classes: the classes to combine with each sample, `[B, K]`.
        """
        of_input = _unit(inputs.mean(0).flatten(1) @ self.mixture @ self.of_input)
        of_class = _unit(self.projection)[classes.t()]  # [K, B, D]
        return as_current((of_class + self.share * of_input).flatten(0, 1), self.shape, self.gain)

    def enter(self, inputs: Tensor, labels: Tensor | None) -> Entry:
        """Return the samples, followed by the contexts of each."""
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
        """Draw the classes for each sample in training, `[B, wrong + 1]`.

        The seed is the number of earlier draws, which is saved with the weights, so a resumed run
        draws the same classes.
        """
        made = torch.Generator().manual_seed(int(self.draws))
        self.draws += 1
        shard = current_shard()
        rows = len(labels) if shard is None else shard.total
        drawn = torch.rand(rows, self.classes, generator=made)
        order = torch.rand(rows, self.wrong + 1, generator=made)
        if shard is not None:
            drawn, order = shard.own(drawn), shard.own(order)
        rank = drawn.to(labels.device)
        rank[torch.arange(len(labels), device=labels.device), labels] = -1.0  # always kept
        met = rank.argsort(dim=1)[:, : self.wrong + 1]
        order = order.argsort(dim=1).to(labels.device)
        return met.gather(1, order)


def _unit(rows: Tensor) -> Tensor:
    return F.layer_norm(rows, rows.shape[-1:], eps=1e-10)
