"""Spikes four to a byte: how layers hand their activity on without writing it out.

Four steps of a sample make a window; the steps of a window at which a neuron fires make its
pattern, one of sixteen. The same activity as float32 numbers is sixteen times as much to write,
and to read again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.neurons.kernels.sharing import share

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
        out = torch.empty(self.shape, dtype=dtype)
        if dtype in (torch.float32, torch.bfloat16):
            rows = out.view(torch.uint16) if dtype == torch.bfloat16 else out
            arrays = self._flat().numpy(), rows.view(*out.shape[:2], -1).numpy()
            kernel = _compiled_unpack(dtype == torch.bfloat16)
            one = np.uint16(0x3F80) if dtype == torch.bfloat16 else np.float32(1.0)
            share(functools.partial(kernel, *arrays, one), out.shape[1], worth=1, grain=1)
            return out
        for step, into in enumerate(out):
            into.copy_(self.patterns[:, step // WINDOW] >> step % WINDOW & 1)
        return out

    def rows(self, first: int, last: int | None = None) -> Packed:
        """Return some of the samples."""
        return Packed(self.patterns[first:last], self.steps)

    def flatten(self) -> Packed:
        """Return every sample's neurons in one row, `[T, N, K]`."""
        return Packed(self._flat(), self.steps)

    def weighted(self, weights: Tensor) -> Tensor:
        """Return the sum over time of every step's weight times its spikes, `[N, ...]`, float32.

        Args:
            weights: `[T]`.
        """
        table = torch.zeros(self.patterns.shape[1] * WINDOW)
        table[: self.steps] = weights
        # What each pattern adds in each window.
        bits = torch.arange(PATTERNS)[:, None] >> torch.arange(WINDOW) & 1
        sums = (table.view(-1, 1, WINDOW) * bits).sum(-1)
        patterns = self._flat()
        out = torch.empty(patterns.shape[0], patterns.shape[2])
        arrays = [t.numpy() for t in (patterns, sums.contiguous(), out)]
        share(functools.partial(_compiled_weighted(), *arrays), len(out), worth=1, grain=1)
        return out.view(patterns.shape[0], *self.patterns.shape[2:])

    def _flat(self) -> Tensor:
        return self.patterns.flatten(2) if self.patterns.dim() != 3 else self.patterns


def pack(inputs: Tensor) -> Packed | None:
    """Return the spikes of `[T, N, ...]`, or none if something else than 0 and 1 is among them.

    Args:
        inputs: float32 or bfloat16 on the CPU.
    """
    steps, samples = inputs.shape[:2]
    rows = inputs.detach().reshape(steps, samples, -1).contiguous()
    bits = rows.view(torch.uint16) if rows.dtype == torch.bfloat16 else rows
    windows = -(-steps // WINDOW)
    patterns = torch.empty(samples, windows, rows.shape[2], dtype=torch.uint8)
    other = torch.zeros(samples, dtype=torch.bool)
    arrays = [t.numpy() for t in (bits, patterns, other)]
    one = np.uint16(0x3F80) if rows.dtype == torch.bfloat16 else np.float32(1.0)
    kernel = _compiled_pack(rows.dtype == torch.bfloat16)
    share(functools.partial(kernel, *arrays, one), samples, worth=1, grain=1)
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
    """Pack samples `first` to `last` of `[T, N, K]`."""
    steps, _, width = inputs.shape
    zero = one - one
    for sample in range(first, last):
        for window in range(patterns.shape[1]):
            start = window * WINDOW
            wrong = np.uint8(0)
            into = patterns[sample, window]
            if start + WINDOW <= steps:
                x0, x1 = inputs[start, sample], inputs[start + 1, sample]
                x2, x3 = inputs[start + 2, sample], inputs[start + 3, sample]
                for k in range(width):
                    wrong |= np.uint8(
                        ((x0[k] != zero) & (x0[k] != one))
                        | ((x1[k] != zero) & (x1[k] != one))
                        | ((x2[k] != zero) & (x2[k] != one))
                        | ((x3[k] != zero) & (x3[k] != one))
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
                        wrong |= np.uint8((x[k] != zero) & (x[k] != one))
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


def _weighted(patterns: Any, sums: Any, out: Any, first: int, last: int) -> None:
    """Fill samples `first` to `last` of `out`, `[N, K]`."""
    for sample in range(first, last):
        into = out[sample]
        into[:] = np.float32(0.0)
        for window in range(patterns.shape[1]):
            row, of = patterns[sample, window], sums[window]
            for k in range(patterns.shape[2]):
                into[k] += of[row[k]]


@functools.cache
def _compiled_pack(bfloat16: bool) -> Callable[..., None]:
    from numba import types

    from sigprop_snn.neurons.kernels.compiling import compiled

    value = types.uint16 if bfloat16 else types.float32
    return compiled(
        _pack,
        types.void(
            types.Array(value, 3, "C"),
            types.Array(types.uint8, 3, "C"),
            types.Array(types.boolean, 1, "C"),
            value, types.int64, types.int64,
        ),
    )  # fmt: skip


@functools.cache
def _compiled_unpack(bfloat16: bool) -> Callable[..., None]:
    from numba import types

    from sigprop_snn.neurons.kernels.compiling import compiled

    value = types.uint16 if bfloat16 else types.float32
    return compiled(
        _unpack,
        types.void(
            types.Array(types.uint8, 3, "C"),
            types.Array(value, 3, "C"),
            value, types.int64, types.int64,
        ),
    )  # fmt: skip


@functools.cache
def _compiled_weighted() -> Callable[..., None]:
    from numba import types

    from sigprop_snn.neurons.kernels.compiling import compiled

    return compiled(
        _weighted,
        types.void(
            types.Array(types.uint8, 3, "C"),
            types.Array(types.float32, 2, "C"),
            types.Array(types.float32, 2, "C"),
            types.int64, types.int64,
        ),
    )  # fmt: skip
