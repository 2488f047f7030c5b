"""Products of spikes, window by window: a neuron that fires at several steps is read once.

The weights of all neurons with the same pattern are summed, once; the current of a step is the sum
over the patterns that have it. The dense product reads every weight at every step, an event-driven
one reads it at every spike; here it is read once a window, at most.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.neurons.kernels.listing import Windows
from sigprop_snn.neurons.kernels.packed import WINDOW
from sigprop_snn.neurons.kernels.panels import Panels, panels_of
from sigprop_snn.neurons.kernels.sharing import Compiled, share
from sigprop_snn.neurons.kernels.vectors import PANEL, add_patterns, sum_patterns

_SAMPLES = 16  # at least, whose windows pass through a panel before the next panel comes,
_PASSED = 32  # and as many as have so many windows


def windows_product(
    windows: Windows, weight: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """Return the current `[T, N, F]` of spikes, in float32 or bfloat16.

    Args:
        windows: the spikes, `[T, N, K]`.
        weight: `[F, K]`.
        bias: `[F]`, or none.
        dtype: what the result is rounded to. For bfloat16 the weights may be summed in float16.
    """
    panels = panels_of(weight, bias, half=dtype == torch.bfloat16)
    return panels_product(windows, panels, len(weight), dtype)


def panels_product(windows: Windows, panels: Panels, columns: int, dtype: torch.dtype) -> Tensor:
    """Return the same for weights that are in panels already, of so many columns."""
    out = torch.empty(windows.steps, windows.samples, columns, dtype=dtype)
    bits = out.view(torch.uint16) if dtype == torch.bfloat16 else out
    given = panels.unit, windows.events, windows.starts, panels.table, panels.start, bits
    group = max(_SAMPLES, _PASSED * WINDOW // windows.steps)
    passes = -(-windows.samples // group) * len(panels.table)
    kernel = _compiled_product(panels.table.dtype, dtype)
    share(kernel, (*given, group), passes, worth=1, grain=1)
    return out


def windows_outer(windows: Windows, grad: Tensor) -> Tensor:
    """Return the weight's gradient `[F, K]`: the sum over steps and samples of grad times spike.

    Args:
        windows: the spikes, `[T, N, K]`.
        grad: that of the current, float32, `[T, N, F]`; it may be some rows of a larger one.
    """
    columns = grad.shape[2]
    sums = torch.zeros(-(-columns // PANEL), windows.neurons + 1, PANEL)
    rows = grad if grad.stride(2) == 1 else grad.contiguous()
    given = windows.events, windows.starts, rows, sums
    share(_compiled_outer(), given, len(sums), worth=1, grain=1)
    own = sums[:, : windows.neurons].transpose(1, 2)
    return own.reshape(-1, windows.neurons)[:columns]


def _product(
    unit: Any, events: Any, starts: Any, table: Any, bias: Any, out: Any, group: int,
    first: int, last: int,
) -> None:  # fmt: skip
    """Fill `out`, `[T, N, F]`: in each pass, a panel's columns of a group of samples."""
    steps, samples, columns = out.shape
    room = events.shape[1]
    panels, rows, width = table.shape
    windows = -(-steps // WINDOW)
    sums = np.empty((WINDOW, width), np.float32)
    for each in range(first, last):
        start, panel = each // panels * group, each % panels
        weights = panel * rows * width
        left = panel * width
        for sample in range(start, min(start + group, samples)):
            for window in range(windows):
                row = sample * windows + window
                sum_patterns(
                    table, weights, unit, events, row * room, starts, row, bias, left, sums, 0
                )
                for t in range(min(WINDOW, steps - window * WINDOW)):
                    into = out[window * WINDOW + t, sample, left : left + width]
                    for f in range(min(width, columns - left)):
                        into[f] = _rounded(sums[t, f], into[f])


def _outer(events: Any, starts: Any, grad: Any, sums: Any, first: int, last: int) -> None:
    """Fill panels `first` to `last` of `sums`, `[P, K, panel]`."""
    steps, samples, columns = grad.shape
    room = events.shape[1]
    windows = -(-steps // WINDOW)
    apart, beside = grad.strides[0] // grad.itemsize, grad.strides[1] // grad.itemsize
    edge = np.zeros((WINDOW, PANEL), np.float32)
    for panel in range(first, last):
        rows = panel * sums.shape[1] * PANEL
        left = panel * PANEL
        width = min(PANEL, columns - left)
        for sample in range(samples):
            for window in range(windows):
                row = sample * windows + window
                step = window * WINDOW
                length = min(WINDOW, steps - step)
                if length == WINDOW and width == PANEL:
                    add_patterns(
                        sums, rows, events, row * room, starts, row,
                        grad, step * apart + sample * beside + left, apart,
                    )  # fmt: skip
                    continue
                for t in range(length):
                    for f in range(width):
                        edge[t, f] = grad[step + t, sample, left + f]
                add_patterns(sums, rows, events, row * room, starts, row, edge, 0, PANEL)


def _rounded(value: Any, like: Any) -> Any:
    """Return a float32 in the dtype that `like` has; the compiler puts the code in its place."""
    raise AssertionError("compiled code only")


def _rounded_typed(value: Any, like: Any) -> Callable[[Any, Any], Any]:
    from numba import types

    if isinstance(like, types.Float):
        return lambda value, like: value

    def nearest(value: Any, like: Any) -> Any:
        # The upper half of a float32, ties to even.
        bits = np.float32(value).view(np.uint32)
        odd = (bits >> np.uint32(16)) & np.uint32(1)
        return np.uint16((bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))

    return nearest


@functools.cache
def _compiled_product(table: torch.dtype, out: torch.dtype) -> Compiled:
    from numba import types
    from numba.extending import overload

    from sigprop_snn.neurons.kernels.compiling import compiled

    _teach_rounded(overload)
    return compiled(
        _product,
        types.float32,
        types.Array(types.uint16, 2, "C"),
        types.Array(types.int32, 2, "C"),
        types.Array(types.float32 if table == torch.float32 else types.uint16, 3, "C"),
        types.Array(types.float32, 1, "C"),
        types.Array(types.float32 if out == torch.float32 else types.uint16, 3, "C"),
        types.int64,
    )


@functools.cache
def _teach_rounded(overload: Callable[..., Any]) -> None:
    overload(_rounded, strict=False)(_rounded_typed)


@functools.cache
def _compiled_outer() -> Compiled:
    from numba import types

    from sigprop_snn.neurons.kernels.compiling import compiled

    return compiled(
        _outer,
        types.Array(types.uint16, 2, "C"),
        types.Array(types.int32, 2, "C"),
        types.Array(types.float32, 3, "A"),
        types.Array(types.float32, 3, "C"),
    )
