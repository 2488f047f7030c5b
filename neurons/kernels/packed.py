"""Spikes four to a byte: how layers hand their activity on without writing it out.

Four steps of a sample make a window; the steps of a window at which a neuron fires make its
pattern, one of sixteen. The same activity as float32 numbers is sixteen times as much to write,
and to read again.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.neurons.kernels.sharing import Compiled, share
from sigprop_snn.neurons.kernels.vectors import LANES, weigh

WINDOW = 4  # steps
PATTERNS = 1 << WINDOW


class Packed(NamedTuple):
    """Spikes of N samples over T steps.

    Attributes:
        patterns: bit t of a byte tells whether the neuron fires at step t of the window, uint8,
            `[N, W, ...]`; the bits behind the last step are zero.
        steps: T.
    """

    patterns: Tensor
    steps: int

    @property
    def shape(self) -> torch.Size:
        """The shape of the spikes, `[T, N, ...]`."""
        samples, _, *rest = self.patterns.shape
        return torch.Size((self.steps, samples, *rest))

    def unpacked(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the spikes as numbers, `[T, N, ...]`."""
        rows = self._rows()
        out = torch.empty(self.steps, rows.shape[0], rows.shape[2], dtype=dtype)
        if dtype in (torch.float32, torch.bfloat16):
            half = dtype == torch.bfloat16
            given = (rows, out.view(torch.uint16), 0x3F80) if half else (rows, out, 1.0)
            share(_compiled_unpack(half), given, len(rows), worth=1, grain=1)
        else:
            for step, into in enumerate(out):
                into.copy_(rows[:, step // WINDOW] >> step % WINDOW & 1)
        return self._shaped(out, 2)

    def rows(self, first: int, last: int | None = None) -> Packed:
        """Return some of the samples."""
        return Packed(self.patterns[first:last], self.steps)

    def flatten(self) -> Packed:
        """Return every sample's neurons in one row, `[T, N, K]`."""
        return Packed(self.patterns.flatten(2).contiguous(), self.steps)

    def halved(self) -> Packed:
        """Return the spikes of maps `[T, N, C, H, W]` after a 2x2 maximum pool."""
        maps = self.patterns.permute(0, 1, 3, 4, 2).contiguous()
        samples, windows, height, width, channels = maps.shape
        out = maps.new_empty(samples, windows, height // 2, width // 2, channels)
        share(_compiled_halve(), (maps, out), samples, worth=1, grain=1)
        return Packed(out.permute(0, 1, 4, 2, 3), self.steps)

    def weighted(self, weights: Tensor) -> Tensor:
        """Return the sum over time of every step's weight times its spikes, `[N, ...]`, float32.

        Args:
            weights: `[T]`.
        """
        of_step = torch.zeros(self.patterns.shape[1] * WINDOW)
        of_step[: self.steps] = weights
        rows = self._rows()
        out = torch.empty(rows.shape[0], rows.shape[2])
        share(_compiled_weighted(), (rows, of_step, out), len(out), worth=1, grain=1)
        return self._shaped(out, 1)

    @property
    def _channels_last(self) -> bool:
        """Whether the channels of a place of `[N, W, C, H, W']` lie together in memory."""
        return self.patterns.dim() == 5 and not self.patterns.is_contiguous()

    def _rows(self) -> Tensor:
        """Return the patterns in rows `[N, W, K]`, as they lie in memory where they can."""
        if self._channels_last:
            return self.patterns.permute(0, 1, 3, 4, 2).flatten(2).contiguous()
        return self.patterns.flatten(2).contiguous()

    def _shaped(self, values: Tensor, axes: int) -> Tensor:
        """Return rows of values, behind some axes in the order of `_rows`, in their shape."""
        shape = self.patterns.shape[2:]
        if not self._channels_last:
            return values.view(*values.shape[:axes], *shape)
        channels, *size = shape
        return values.view(*values.shape[:axes], *size, channels).movedim(-1, axes)


def pack(inputs: Tensor) -> Packed | None:
    """Return the spikes of `[T, N, ...]`, or none if something else than 0 and 1 is among them.

    Args:
        inputs: float32 or bfloat16 on the CPU.
    """
    steps, samples = inputs.shape[:2]
    rows = inputs.detach().reshape(steps, samples, -1).contiguous()
    half = rows.dtype == torch.bfloat16
    bits = rows.view(torch.uint16 if half else torch.uint32)
    windows = -(-steps // WINDOW)
    patterns = torch.empty(samples, windows, rows.shape[2], dtype=torch.uint8)
    other = torch.zeros(samples, dtype=torch.bool)
    given = bits, patterns, other, 0x3F80 if half else 0x3F800000
    share(_compiled_pack(half), given, samples, worth=1, grain=1)
    if other.any():
        return None
    return Packed(patterns.view(samples, windows, *inputs.shape[2:]), steps)


def unpacked(activity: Tensor | Packed) -> Tensor:
    """Return activity `[T, N, ...]` as numbers."""
    return activity.unpacked() if isinstance(activity, Packed) else activity


def flattened(activity: Tensor | Packed) -> Tensor | Packed:
    """Return activity `[T, N, ...]` with every sample's neurons in one row, `[T, N, K]`."""
    return activity.flatten() if isinstance(activity, Packed) else activity.flatten(2)


def _pack(inputs: Any, patterns: Any, other: Any, one: Any, first: int, last: int) -> None:
    """Pack samples `first` to `last` of `[T, N, K]`, the bits of numbers, given those of a 1."""
    steps, _, width = inputs.shape
    zero = np.uint32(0)
    # Window by window: the samples of a step lie behind each other, and memory is read in order.
    for window in range(patterns.shape[1]):
        start = window * WINDOW
        for sample in range(first, last):
            wrong = zero
            into = patterns[sample, window]
            if start + WINDOW <= steps:
                x0, x1 = inputs[start, sample], inputs[start + 1, sample]
                x2, x3 = inputs[start + 2, sample], inputs[start + 3, sample]
                for k in range(width):
                    # Left to itself, numba counts in 64 bits, and half as many at once.
                    wrong = np.uint32(
                        wrong
                        | np.uint32(x0[k] ^ (one if x0[k] else zero))
                        | np.uint32(x1[k] ^ (one if x1[k] else zero))
                        | np.uint32(x2[k] ^ (one if x2[k] else zero))
                        | np.uint32(x3[k] ^ (one if x3[k] else zero))
                    )
                    into[k] = (
                        np.uint8(x0[k] != zero)
                        | np.uint8(x1[k] != zero) << np.uint8(1)
                        | np.uint8(x2[k] != zero) << np.uint8(2)
                        | np.uint8(x3[k] != zero) << np.uint8(3)
                    )
            else:
                into[:] = 0
                for step in range(steps - start):
                    x = inputs[start + step, sample]
                    for k in range(width):
                        wrong = np.uint32(wrong | np.uint32(x[k] ^ (one if x[k] else zero)))
                        into[k] |= np.uint8(x[k] != zero) << np.uint8(step)
            if wrong:
                other[sample] = True
                return


def _unpack(patterns: Any, out: Any, one: Any, first: int, last: int) -> None:
    """Write samples `first` to `last` of `[T, N, K]`."""
    steps, _, width = out.shape
    zero = one - one
    for sample in range(first, last):
        for step in range(steps):
            row, into = patterns[sample, step // WINDOW], out[step, sample]
            bit = np.uint8(1) << np.uint8(step % WINDOW)
            for k in range(width):
                into[k] = one if row[k] & bit else zero


def _weighted(patterns: Any, weights: Any, out: Any, first: int, last: int) -> None:
    """Fill samples `first` to `last` of `out`, `[N, K]`."""
    _, windows, width = patterns.shape
    whole = width - width % LANES
    for sample in range(first, last):
        row = sample * windows * width
        for k in range(0, whole, LANES):
            weigh(out, sample * width + k, patterns, row + k, width, weights, windows)
        for k in range(whole, width):
            total = np.float32(0.0)
            for window in range(windows):
                for t in range(WINDOW):
                    if patterns[sample, window, k] >> t & 1:
                        total += weights[window * WINDOW + t]
            out[sample, k] = total


def _halve(maps: Any, out: Any, first: int, last: int) -> None:
    """Pool samples `first` to `last` of `[N, W, H, W', C]`."""
    _, windows, height, width, channels = out.shape
    rows = np.empty((maps.shape[3], channels), np.uint8)
    for sample in range(first, last):
        for window in range(windows):
            for y in range(height):
                upper, lower = maps[sample, window, 2 * y], maps[sample, window, 2 * y + 1]
                for x in range(2 * width):
                    for c in range(channels):
                        rows[x, c] = upper[x, c] | lower[x, c]
                into = out[sample, window, y]
                for x in range(width):
                    for c in range(channels):
                        into[x, c] = rows[2 * x, c] | rows[2 * x + 1, c]


@functools.cache
def _compiled_halve() -> Compiled:
    from numba import types

    from sigprop_snn.neurons.kernels.compiling import compiled

    maps = types.Array(types.uint8, 5, "C")
    return compiled(_halve, maps, maps)


@functools.cache
def _compiled_pack(bfloat16: bool) -> Compiled:
    from numba import types

    from sigprop_snn.neurons.kernels.compiling import compiled

    value = types.uint16 if bfloat16 else types.uint32
    return compiled(
        _pack,
        types.Array(value, 3, "C"),
        types.Array(types.uint8, 3, "C"),
        types.Array(types.boolean, 1, "C"),
        types.uint32,
    )


@functools.cache
def _compiled_unpack(bfloat16: bool) -> Compiled:
    from numba import types

    from sigprop_snn.neurons.kernels.compiling import compiled

    value = types.uint16 if bfloat16 else types.float32
    return compiled(
        _unpack,
        types.Array(types.uint8, 3, "C"),
        types.Array(value, 3, "C"),
        value,
    )


@functools.cache
def _compiled_weighted() -> Compiled:
    from numba import types

    from sigprop_snn.neurons.kernels.compiling import compiled

    return compiled(
        _weighted,
        types.Array(types.uint8, 3, "C"),
        types.Array(types.float32, 1, "C"),
        types.Array(types.float32, 2, "C"),
    )
