"""Learning signals: they feed the target into the first block of the network."""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sigprop_snn.answers import Answers
from sigprop_snn.arguments import axes, positive, truth, whole
from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.engines.late import refuse_if

# `as_current` normalises the projection, so its initial size is free. Adam's steps have a fixed
# size, so small weights learn faster.
_DRAWN = 0.1
_NORM_FLOOR = 1e-10  # added to a variance; avoids division by zero


class Entry(NamedTuple):
    """The input of the first block: rows of the samples, then rows of the contexts.

    Either all samples share the contexts, or each sample has K contexts: `[K * B]` rows, with the
    first context of every sample first.

    Attributes:
        inputs: rows that pass through the first block's synapse, `[T, N, ...]`.
        contexts: the constant current of contexts that enter after the synapse, `[M, ...]`, or
            None.
        samples: number of sample rows; they come first.
        observed_rows: number of rows, from the first, that the normalisers observe.
        contexts_per_sample: K; 0 if all samples share the contexts.
        targets: the target of the scores, if labels were given: the right context's column for
            every sample, `[B]`, or the fraction of each context, `[B, M]`.
        answers: the readout's target, if labels were given.
    """

    inputs: Tensor
    contexts: Tensor | None
    samples: int
    observed_rows: int
    contexts_per_sample: int = 0
    targets: Tensor | None = None
    answers: Tensor | None = None

    def without_samples(self) -> Entry:
        """Return the entry without the rows of the samples."""
        return self._replace(
            inputs=self.inputs[:, self.samples :],
            samples=0,
            observed_rows=max(0, self.observed_rows - self.samples),
        )


class Signal(nn.Module, ABC):
    """A learning signal: how targets enter the front of the network.

    Attributes:
        answers: the kind of target, which the readout learns.
        per_sample: whether each sample has separate contexts; see `Entry`.
        classes: C, or the number of labels or values.
        shape: shape of the first block's current, without time and batch, if the signal must
            match it.
    """

    answers: ClassVar[Answers] = "classes"
    per_sample: ClassVar[bool] = False
    classes: int
    shape: tuple[int, ...] | None = None

    @abstractmethod
    def enter(self, inputs: Tensor, labels: Tensor | None) -> Entry:
        """Return the first block's input for samples `[T, B, ...]`.

        Without labels, the entry has the contexts of all classes, so that each layer can predict.
        """

    def plain(self, inputs: Tensor) -> Tensor:
        """Return the samples as they enter without a target, `[T, B, ...]`."""
        return inputs

    def check(self, inputs: Tensor, labels: Tensor) -> None:
        """Check the labels of samples `[T, B, ...]`: integers from 0 to C - 1, `[B]`.

        Raises:
            SigpropError: if the shape, the type or a label is wrong.
        """
        if labels.dim() != 1 or inputs.dim() < 2 or labels.shape[0] != inputs.shape[1]:
            raise SigpropError(
                f"labels have shape {list(labels.shape)} for an input of shape "
                f"{list(inputs.shape)}; expected [B] for [T, B, ...]"
            )
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise SigpropError(f"labels are {labels.dtype}; expected integers")
        labels = labels.long()  # torch compares no unsigned numbers of 16 bits or more
        refuse_if(
            lambda: _outside(labels, self.classes).any(),
            lambda: _out_of_range(labels, self.classes),
            labels.device,
        )


def _outside(labels: Tensor, classes: int) -> Tensor:
    return (labels < 0) | (labels >= classes)


def _out_of_range(labels: Tensor, classes: int) -> SigpropError:
    wrong = labels[_outside(labels, classes)]
    return SigpropError(
        f"label {int(wrong[0])} is out of range; expected 0 to {classes - 1}, for {classes} classes"
    )


def check_sizes(signal: Signal, classes: int, shape: tuple[int, ...], fewest: int = 2) -> None:
    """Check the sizes of a new signal.

    Raises:
        SigpropError: if there are too few classes, or the shape is empty.
    """
    name = type(signal).__name__
    if whole(f"classes of {name}", classes, 0) < fewest or not shape or min(shape) < 1:
        raise SigpropError(
            f"{type(signal).__name__} got {classes} classes and shape {list(shape)}; expected at "
            f"least {fewest} classes and positive sizes"
        )


def drawn_weights(rows: int, shape: tuple[int, ...], *, learned: bool) -> nn.Parameter:
    """Return a projection's initial weights, `[rows, size of shape]`."""
    return nn.Parameter(_DRAWN * torch.randn(rows, math.prod(shape)), requires_grad=learned)


def as_current(projected: Tensor, shape: tuple[int, ...], gain: float) -> Tensor:
    """Return projections `[M, D]` as currents `[M, *shape]`: mean 0, root mean square `gain`."""
    if projected.is_cuda:
        # Torch's layer norm gives a row to one multiprocessor: a few long rows leave the rest idle.
        centred = projected - projected.mean(1, keepdim=True)
        current = centred * (centred.square().mean(1, keepdim=True) + _NORM_FLOOR).rsqrt()
    else:
        current = F.layer_norm(projected, projected.shape[1:], eps=_NORM_FLOOR)
    return gain * current.view(-1, *shape)


class ProjectedContext(Signal):
    """Each class's context, projected to a current for the first block's neurons.

    t1 = f(S1 c) (arXiv 2204.01723, equation 2): a one-hot context c passes through the signal's
    weights S1 and drives the first block's neurons as a constant current. Only the C distinct
    contexts pass through the network, for any batch size.

    Args:
        classes: C, the number of contexts.
        shape: shape of the first block's current, without time and batch.
        learned: whether S1 learns with the first block; if not, it keeps its random start.
        gain: root mean square of each context's current, in units of voltage.
        scaled: whether the current of each neuron has a factor and an offset that learn, as in a
            layer norm with weights. The gain is then that at the start.

    Raises:
        SigpropError: if there are fewer than two classes, or the shape is empty.
    """

    shape: tuple[int, ...]
    factor: nn.Parameter | None
    offset: nn.Parameter | None

    def __init__(
        self,
        classes: int,
        shape: tuple[int, ...],
        *,
        learned: bool = True,
        gain: float = 1.0,
        scaled: bool = False,
    ) -> None:
        super().__init__()
        shape = axes("shape of ProjectedContext", shape)
        check_sizes(self, classes, shape)
        self.classes = operator.index(classes)
        self.shape = shape
        self.gain = positive("gain of ProjectedContext", gain)
        learned = truth("learned of ProjectedContext", learned)
        self.projection = drawn_weights(self.classes, shape, learned=learned)
        self.factor = self.offset = None
        if truth("scaled of ProjectedContext", scaled):
            self.factor = nn.Parameter(torch.ones(shape))
            self.offset = nn.Parameter(torch.zeros(shape))

    def forward(self) -> Tensor:
        """Return the current of every context, `[C, *shape]`."""
        current = as_current(self.projection, self.shape, self.gain)
        if self.factor is None or self.offset is None:
            return current
        return torch.addcmul(self.offset, current, self.factor)

    def enter(self, inputs: Tensor, labels: Tensor | None) -> Entry:
        """Return the samples, followed by one context per class."""
        rows = inputs.shape[1]
        return Entry(inputs, self(), rows, observed_rows=rows, targets=labels, answers=labels)

    def extra_repr(self) -> str:
        """Return the settings for `print(signal)`."""
        learned = self.projection.requires_grad
        scaled = ", scaled=True" if self.factor is not None else ""
        return (
            f"classes={self.classes}, shape={self.shape}, learned={learned}, gain={self.gain}"
            f"{scaled}"
        )
