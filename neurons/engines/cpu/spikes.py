"""Spikes packed four to a byte: how the CPU engine stores what travels from layer to layer.

Four steps of a row make a window. The steps of a window at which a neuron fires make its pattern,
one of sixteen. The same spikes in float32 take sixteen times as much memory, to write and to read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sigprop_snn.neurons.engines.cpu.threads import Kernel, run_kernel
from sigprop_snn.neurons.engines.dense import DenseSpikes
from sigprop_snn.neurons.engines.observed import WINDOW
from sigprop_snn.neurons.engines.order import Order
from sigprop_snn.neurons.pooling import halved, is_halving

PATTERNS = 1 << WINDOW
_NEURONS = 1024  # their weighted sums stay in the first-level cache
_ONE = 0x3F800000  # the bits of a 1 in float32


@dataclass(frozen=True, eq=False)
class PackedSpikes:
    """Spikes of N rows over T steps.

    Attributes:
        patterns: bit t of a byte is 1 if the neuron fires at step t of the window, uint8,
            `[N, W, ...]`. The bits behind the last step are 0. Feature maps may lie in memory
            with their channels last.
        steps: T.
    """

    patterns: Tensor
    steps: int

    @property
    def shape(self) -> torch.Size:
        """The shape of the spikes, `[T, N, ...]`."""
        rows, _, *neurons = self.patterns.shape
        return torch.Size((self.steps, rows, *neurons))

    @property
    def constant(self) -> bool:
        """Whether all steps are known to be the same: never."""
        return False

    def dense(self) -> Tensor:
        """Return the spikes as numbers, `[T, N, ...]`, float32."""
        order, flat = self._flat()
        out = order.empty(self.shape, torch.float32, flat.device)
        for step, into in enumerate(order.apply(out).flatten(2)):
            bit = 1 << step % WINDOW
            torch.ne(flat[:, step // WINDOW] & bit, 0, out=into)
        return out

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Return the sum over time of each step's weight times its spikes, `[N, ...]`, float32.

        Args:
            weights: `[T]`.
        """
        order, flat = self._flat()
        padded = torch.zeros(flat.shape[1], WINDOW, dtype=torch.float32)
        padded.view(-1)[: self.steps] = weights.detach()
        out = order.empty(self.shape[1:], torch.float32, flat.device)
        run_kernel(_weighted_sum, (flat, padded, order.apply(out).flatten(1)), len(out))
        return out

    def count(self) -> Tensor:
        """Return the number of spikes of each neuron, `[N, ...]`, float32."""
        return self.weighted_sum(torch.ones(self.steps, dtype=torch.float32))

    def rows(self, first: int, last: int | None = None) -> PackedSpikes:
        """Return the rows `first` to `last`."""
        return PackedSpikes(self.patterns[first:last], self.steps)

    def flatten(self) -> PackedSpikes:
        """Return the same with one axis of neurons, `[T, N, K]`."""
        return PackedSpikes(self.patterns.flatten(2).contiguous(), self.steps)

    def pooled(self, pool: nn.Module) -> PackedSpikes | DenseSpikes:
        """Return the output of a module for every step, without a gradient.

        A 2x2 maximum pool keeps the spikes packed: the maximum of bits is their OR.
        """
        if isinstance(pool, nn.Identity):
            return self
        if self.patterns.dim() != 5 or not is_halving(pool):
            return DenseSpikes(self.dense()).pooled(pool)
        return PackedSpikes(halved(self.patterns, torch.bitwise_or), self.steps)

    def _flat(self) -> tuple[Order, Tensor]:
        """Return the order of memory, and the patterns in it, as `[N, W, K]`."""
        order = Order.of(self.patterns)
        return order, order.apply(self.patterns).flatten(2).contiguous()


def pack(inputs: Tensor) -> PackedSpikes | None:
    """Return the spikes of `[T, N, ...]`, or none if a number is neither 0 nor 1.

    Args:
        inputs: float32 or bfloat16 on the CPU.
    """
    steps, rows = inputs.shape[:2]
    order = Order.of(inputs)
    flat = order.apply(inputs.detach()).reshape(steps, rows, -1).contiguous()
    windows = -(-steps // WINDOW)
    patterns = order.empty((rows, windows, *inputs.shape[2:]), torch.uint8, inputs.device)
    refused = torch.zeros(rows, dtype=torch.bool)
    # Compared as bits: integers are compared faster, and NaN needs no care.
    into = order.apply(patterns).flatten(2)
    run_kernel(_pack_rows, (flat.float().view(torch.uint32), into, refused), rows)
    return None if refused.any() else PackedSpikes(patterns, steps)


def side_by_side(parts: Sequence[PackedSpikes]) -> PackedSpikes:
    """Return packed spikes of several layers, whose maps have one size, as those of one."""
    # The layer kernels take maps with their channels last.
    maps = torch.cat([part.patterns.movedim(2, -1) for part in parts], dim=-1)
    return PackedSpikes(maps.movedim(-1, 2), parts[0].steps)


def flat_rows(values: Tensor) -> tuple[Tensor, int, int]:
    """Return the memory of `[T, N, ...]` as one axis, and the distances of steps and of rows.

    Some rows of a larger batch are not contiguous, and kernels are slow on arrays that are not.
    """
    if not values[0, 0].is_contiguous():
        values = values.contiguous()
    last = sum((size - 1) * by for size, by in zip(values.shape, values.stride(), strict=True))
    return values.as_strided((last + 1,), (1,)), values.stride(0), values.stride(1)


@Kernel
def _pack_rows(inputs: Any, patterns: Any, refused: Any, first: int, last: int) -> None:
    """Pack rows `first` to `last` of `[T, N, K]`, given the bits of the numbers."""
    steps, _, width = inputs.shape
    zero, one = np.uint32(0), np.uint32(_ONE)
    # Window by window: the rows of a step are neighbours in memory.
    for window in range(patterns.shape[1]):
        start = window * WINDOW
        more = min(WINDOW, steps - start) - 1
        exist = np.uint8((2 << more) - 1)  # bits of the steps; the last stands for those behind it
        for row in range(first, last):
            a, b = inputs[start, row], inputs[start + min(1, more), row]
            c, d = inputs[start + min(2, more), row], inputs[start + more, row]
            pattern = patterns[row, window]
            wrong = False
            for k in range(width):
                is_a, is_b, is_c, is_d = a[k] != zero, b[k] != zero, c[k] != zero, d[k] != zero
                wrong |= (is_a & (a[k] != one)) | (is_b & (b[k] != one))
                wrong |= (is_c & (c[k] != one)) | (is_d & (d[k] != one))
                early = np.uint8(is_a) | np.uint8(is_b) << np.uint8(1)
                late = np.uint8(is_c) << np.uint8(2) | np.uint8(is_d) << np.uint8(3)
                pattern[k] = (early | late) & exist
            if wrong:
                refused[row] = True


@Kernel
def _weighted_sum(patterns: Any, weights: Any, out: Any, first: int, last: int) -> None:
    """Fill rows `first` to `last` of `[N, K]`, given the weights of each window's steps."""
    zero = np.float32(0.0)
    for row in range(first, last):
        for start in range(0, out.shape[1], _NEURONS):
            sums = out[row, start : start + _NEURONS]
            sums[:] = 0
            for window in range(patterns.shape[1]):
                w0, w1, w2, w3 = weights[window]
                pattern = patterns[row, window, start : start + _NEURONS]
                for k in range(len(sums)):
                    # numba counts in 64 bits unless it is told to use as many as a float32 has.
                    bits = np.int32(pattern[k])
                    early = (w0 if np.int32(bits & 1) else zero) + (
                        w1 if np.int32(bits & 2) else zero
                    )
                    late = (w2 if np.int32(bits & 4) else zero) + (
                        w3 if np.int32(bits & 8) else zero
                    )
                    sums[k] += early + late
