"""Contexts for vector targets: values for regression, or several labels per sample."""

from __future__ import annotations

import warnings
from typing import ClassVar

import torch
from torch import Tensor

from sigprop_snn.answers import Answers
from sigprop_snn.arguments import axes, positive, truth, whole
from sigprop_snn.errors import SigpropError
from sigprop_snn.shard import current_shard
from sigprop_snn.signals.base import (
    Entry,
    ProjectedContext,
    Signal,
    as_current,
    check_sizes,
    drawn_weights,
)


class VectorContext(Signal):
    """The context of a sample is the projection of its target vector, for regression.

    The targets of a batch are its contexts, and every sample is compared with all of them. The
    fraction of each context is exp(-d^2 / (2 width^2)), with d its distance from the sample's
    target, divided by the sum over contexts. The vector is encoded as a population code: cosines
    of random projections. The dot product of two codes approximates the same Gaussian of their
    distance (random Fourier features, Rahimi and Recht 2007).

    The readout predicts the values; the blocks predict nothing. A batch of one sample has no other
    target to compare with: only the readout learns from it.

    Args:
        size: K, the length of a target vector.
        shape: shape of the first block's current, without time and batch.
        width: standard deviation of the Gaussian above, in units of the targets; start with
            about the targets' standard deviation.
        cells: size of the population code.
        learned: whether the projection learns with the first block.
        gain: root mean square of each context's current, in units of voltage.

    Raises:
        SigpropError: if a number is not positive.
    """

    answers: ClassVar[Answers] = "values"
    _warned = False  # of a batch of one sample
    shape: tuple[int, ...]
    frequency: Tensor
    phase: Tensor

    def __init__(
        self,
        size: int,
        shape: tuple[int, ...],
        *,
        width: float = 0.5,
        cells: int = 64,
        learned: bool = True,
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        shape = axes("shape of VectorContext", shape)
        check_sizes(self, size, shape, fewest=1)
        cells = whole("cells of VectorContext", cells)
        learned = truth("learned of VectorContext", learned)
        self.classes = size = whole("size of VectorContext", size)
        self.shape = shape
        self.width = width = positive("width of VectorContext", width)
        self.gain = positive("gain of VectorContext", gain)
        self.projection = drawn_weights(cells, shape, learned=learned)
        self.register_buffer("frequency", torch.randn(size, cells) / width)
        self.register_buffer("phase", 2 * torch.pi * torch.rand(cells))

    def forward(self, targets: Tensor) -> Tensor:
        """Return the currents `[B, *shape]` of target vectors `[B, K]`."""
        code = torch.cos(targets.to(self.phase) @ self.frequency + self.phase)
        return as_current(code @ self.projection, self.shape, self.gain)

    def enter(self, inputs: Tensor, labels: Tensor | None) -> Entry:
        """Return the samples, followed by the contexts of their targets."""
        rows = inputs.shape[1]
        if labels is None:
            return Entry(inputs, None, rows, observed_rows=rows)
        if rows == 1 and current_shard() is None and not self._warned:
            self._warned = True
            warnings.warn(
                "a batch of one sample has one target, so under VectorContext its blocks have no "
                "other target to compare and do not learn; expected at least 2 samples",
                stacklevel=2,
            )
        labels = labels.to(self.phase)
        distance = (labels[:, None] - labels).square().sum(2)
        fractions = (-0.5 * distance / self.width**2).softmax(dim=1)
        return Entry(
            inputs, self(labels), rows, observed_rows=rows, targets=fractions, answers=labels
        )

    def check(self, inputs: Tensor, labels: Tensor) -> None:
        """Check the targets of samples `[T, B, ...]`: finite vectors, `[B, K]`.

        Raises:
            SigpropError: if the shape or the type is wrong, or a value is not finite.
        """
        _check_vectors(inputs, labels, self.classes)
        if not labels.is_floating_point():
            raise SigpropError(f"targets are {labels.dtype}; expected floating point values")

    def extra_repr(self) -> str:
        """Return the settings for `print(signal)`."""
        learned = self.projection.requires_grad
        return (
            f"size={self.classes}, shape={self.shape}, width={self.width}, learned={learned}, "
            f"gain={self.gain}"
        )


class MultiLabelContext(ProjectedContext):
    """One projected context per label; a sample may have any number of labels, `[B, K]`.

    Each label is a separate yes/no question, so the loss must not make contexts compete; use
    `BinaryLoss`, for example. A score above 0 predicts the label.
    """

    answers: ClassVar[Answers] = "labels"

    def enter(self, inputs: Tensor, labels: Tensor | None) -> Entry:
        """Return the samples, followed by one context per label."""
        held = labels.to(self.projection) if labels is not None else None
        return super().enter(inputs, held)

    def check(self, inputs: Tensor, labels: Tensor) -> None:
        """Check the labels of samples `[T, B, ...]`: from 0 to 1 each, `[B, K]`.

        Raises:
            SigpropError: if the shape is wrong, or a label is outside [0, 1].
        """
        _check_vectors(inputs, labels, self.classes)
        wrong = labels[(labels < 0) | (labels > 1)]
        if len(wrong):
            raise SigpropError(f"a label is {float(wrong[0])}; expected 0 to 1")


def _check_vectors(inputs: Tensor, targets: Tensor, size: int) -> None:
    batch = inputs.shape[1] if inputs.dim() > 1 else 0
    if targets.shape != (batch, size):
        raise SigpropError(
            f"targets have shape {list(targets.shape)} for an input of shape "
            f"{list(inputs.shape)}; expected {[batch, size]}, a vector of {size} for each sample"
        )
    if targets.is_complex() or not torch.isfinite(targets).all():
        raise SigpropError("targets are not all finite; expected real, finite numbers")
