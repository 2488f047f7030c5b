"""Learning signals: what enters the front of the network as the target."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sigprop_snn.answers import Answers
from sigprop_snn.errors import SigpropError

# The normalisation makes the size of the projection free; a small one learns faster under Adam,
# whose steps have a fixed size.
_DRAWN = 0.1


class Entry(NamedTuple):
    """What enters the first block: the rows of the samples, then those of the contexts.

    All samples share the contexts, or each sample has K contexts: then the first context of every
    sample comes first, `[K * B]` rows in all.

    Attributes:
        inputs: rows that pass through the first block's synapse, `[T, N, ...]`.
        contexts: the constant current of contexts that enter behind the synapse, `[M, ...]`, or
            none.
        samples: how many of the first rows are samples.
        observed_rows: how many of the first rows the normalisers observe.
        contexts_per_sample: K; 0 where all samples share the contexts.
        targets: what a loss compares the scores with, if labels were given: the right context's
            column for every sample, `[B]`, or the fraction of each context, `[B, M]`.
        answers: what the readout learns, if labels were given.
    """

    inputs: Tensor
    contexts: Tensor | None
    samples: int
    observed_rows: int
    contexts_per_sample: int = 0
    targets: Tensor | None = None
    answers: Tensor | None = None

    def without_samples(self) -> Entry:
        """Return the same with the rows of the contexts alone."""
        return self._replace(
            inputs=self.inputs[:, self.samples :],
            samples=0,
            observed_rows=max(0, self.observed_rows - self.samples),
        )


class Signal(nn.Module, ABC):
    """A learning signal: how targets enter the front of the network.

    Attributes:
        answers: what its targets are, and so what the readout learns.
        per_sample: whether each sample has its own contexts; see `Entry`.
        classes: C, or how many labels or values.
        shape: shape of the first block's current, without time and batch, where the signal has
            to fit it.
    """

    answers: ClassVar[Answers] = "classes"
    per_sample: ClassVar[bool] = False
    classes: int
    shape: tuple[int, ...] | None = None

    @abstractmethod
    def enter(self, inputs: Tensor, labels: Tensor | None) -> Entry:
        """Return what enters the first block for samples `[T, B, ...]`.

        Without labels the contexts are those of every class, so that each layer can predict.
        """

    def plain(self, inputs: Tensor) -> Tensor:
        """Return the samples as they enter without any target, `[T, B, ...]`."""
        return inputs

    def check(self, inputs: Tensor, labels: Tensor) -> None:
        """Check the labels of samples `[T, B, ...]`: integers from 0 to C - 1, `[B]`.

        Raises:
            SigpropError: naming the label and what was expected.
        """
        if labels.dim() != 1 or inputs.dim() < 2 or labels.shape[0] != inputs.shape[1]:
            raise SigpropError(
                f"labels have shape {list(labels.shape)} beside an input of shape "
                f"{list(inputs.shape)}; expected [B] beside [T, B, ...]"
            )
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise SigpropError(f"labels are {labels.dtype}; expected integers")
        wrong = labels[(labels < 0) | (labels >= self.classes)]
        if len(wrong):
            raise SigpropError(
                f"label {int(wrong[0])} is out of range; expected 0 to {self.classes - 1}, "
                f"for {self.classes} classes"
            )


def check_sizes(signal: Signal, classes: int, shape: tuple[int, ...], fewest: int = 2) -> None:
    """Check the sizes that a signal is made with.

    Raises:
        SigpropError: if there are too few classes, or the shape is empty.
    """
    if classes < fewest or not shape or min(shape) < 1:
        raise SigpropError(
            f"{type(signal).__name__} got {classes} classes and shape {list(shape)}; expected at "
            f"least {fewest} classes and positive sizes"
        )


def drawn_weights(rows: int, shape: tuple[int, ...], *, learned: bool) -> nn.Parameter:
    """Return a projection's weights as they start, `[rows, size of shape]`."""
    return nn.Parameter(_DRAWN * torch.randn(rows, math.prod(shape)), requires_grad=learned)


def as_current(projected: Tensor, shape: tuple[int, ...], gain: float) -> Tensor:
    """Return projections `[M, D]` as currents `[M, *shape]`: mean 0, root mean square `gain`."""
    current = F.layer_norm(projected, projected.shape[1:], eps=1e-10)
    return gain * current.view(-1, *shape)


class ProjectedContext(Signal):
    """Each class's context, projected to a current for the first block's neurons.

    t1 = f(S1 c) (arXiv 2204.01723, equation 2): a one-hot context c passes through the signal's
    own weights S1 and drives the first block's neurons as a constant current. Only the C distinct
    contexts travel, whatever the batch.

    Args:
        classes: C, the number of contexts.
        shape: shape of the first block's current, without time and batch.
        learned: whether S1 learns with the first block, or stays as it was drawn.
        gain: root mean square of each context's current, in units of voltage.

    Raises:
        SigpropError: if there are fewer than two classes, or the shape is empty.
    """

    shape: tuple[int, ...]

    def __init__(
        self, classes: int, shape: tuple[int, ...], *, learned: bool = True, gain: float = 1.0
    ) -> None:
        super().__init__()
        check_sizes(self, classes, shape)
        self.classes = classes
        self.shape = tuple(shape)
        self.gain = gain
        self.projection = drawn_weights(classes, shape, learned=learned)

    def forward(self) -> Tensor:
        """Return the current of every context, `[C, *shape]`."""
        return as_current(self.projection, self.shape, self.gain)

    def enter(self, inputs: Tensor, labels: Tensor | None) -> Entry:
        """Return the samples, with one context a class behind them."""
        rows = inputs.shape[1]
        return Entry(inputs, self(), rows, observed_rows=rows, targets=labels, answers=labels)

    def extra_repr(self) -> str:
        """Return the settings for `print(signal)`."""
        learned = self.projection.requires_grad
        return f"classes={self.classes}, shape={self.shape}, learned={learned}, gain={self.gain}"
