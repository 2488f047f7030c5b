"""Event-driven products: the cost of a synapse in proportion to its spikes.

A spike that did not come needs no multiplication. For every row only the weights of what is not
zero are summed, which is the dense product in another order of summation. Up to about three
tenths of the entries it beats the processor's dense product; above, the dense product runs.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.neurons.kernels.sharing import share

_DENSEST = 0.3  # share of entries that are not zero up to which this kernel is the faster one
_DENSEST_OUTER = 0.2  # the same for the weight's gradient
_PROBED = 64  # rows looked at to tell
_WORTH_IT = 1 << 22  # products below this are quicker done densely than looked at
_TILE = 208  # columns whose weights stay in the second-level cache
_COLUMNS = 128  # columns of a gradient that stay there with it
_ROWS_A_THREAD, _COLUMNS_A_THREAD = 512, 128
_ROWS = 512  # rows whose active entries are listed at a time


def event_linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `inputs @ weight.T + bias`, by events where that is faster.

    Equal to `torch.nn.functional.linear` within rounding, gradients included; what this kernel
    has no way for (other devices, dtypes, dense inputs) goes to that function.

    Args:
        inputs: `[N, K]`, mostly zeros.
        weight: `[F, K]`.
        bias: `[F]`, or none.
    """
    if not _fits(inputs, weight, bias):
        return F.linear(inputs, weight, bias)
    product: Tensor = _EventLinear.apply(inputs, weight, bias)
    return product


class _EventLinear(torch.autograd.Function):
    """The product by events, and its weight's gradient by the same events."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(inputs, weight)
        rows = inputs.contiguous()
        out = rows.new_empty(rows.shape[0], weight.shape[0])
        start = weight.new_zeros(weight.shape[0]) if bias is None else bias.contiguous()
        arrays = [t.detach().numpy() for t in (rows, weight.t().contiguous(), start, out)]
        share(functools.partial(_compiled(), *arrays), rows.shape[0], worth=_ROWS_A_THREAD)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        inputs, weight = ctx.saved_tensors
        return (
            grad @ weight if ctx.needs_input_grad[0] else None,
            _event_outer(grad, inputs) if ctx.needs_input_grad[1] else None,
            grad.sum(0) if ctx.needs_input_grad[2] else None,
        )


def _event_outer(grad: Tensor, inputs: Tensor) -> Tensor:
    """Return `grad.T @ inputs`, `[F, K]`, by events."""
    if _density(inputs) > _DENSEST_OUTER:
        return grad.t() @ inputs
    out = grad.new_zeros(inputs.shape[1], grad.shape[1])
    arrays = [t.detach().numpy() for t in (inputs.contiguous(), grad.contiguous(), out)]
    share(functools.partial(_compiled_outer(), *arrays), grad.shape[1], worth=_COLUMNS_A_THREAD)
    return out.t()


def _fits(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    tensors = [inputs, weight] if bias is None else [inputs, weight, bias]
    return (
        all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and inputs.dim() == 2
        and inputs.shape[1] < 1 << 16
        and inputs.shape[0] * weight.numel() >= _WORTH_IT
        and _density(inputs) <= _DENSEST
        and importlib.util.find_spec("numba") is not None
    )


def _density(inputs: Tensor) -> float:
    probed = inputs[:: max(1, inputs.shape[0] // _PROBED)]
    return float(torch.count_nonzero(probed)) / max(1, probed.numel())


def _event_linear(inputs: Any, weight: Any, bias: Any, out: Any, start: int, stop: int) -> None:
    """Fill rows `start` to `stop` of `out`; `weight` is `[K, F]`."""
    width, columns = weight.shape
    active = np.empty((_ROWS, width), np.uint16)
    counts = np.empty(_ROWS, np.int64)
    for first in range(start, stop, _ROWS):
        rows = min(_ROWS, stop - first)
        _list_active(inputs, first, rows, active, counts)
        for left in range(0, columns, _TILE):
            right = min(left + _TILE, columns)
            for row in range(rows):
                x = inputs[first + row]
                ks = active[row]
                y = out[first + row, left:right]
                b = bias[left:right]
                for f in range(right - left):
                    y[f] = b[f]
                found = counts[row]
                i = 0
                # Eight at a time: the row's sums are read and written once for all of them.
                while i + 8 <= found:
                    x0, x1, x2, x3 = x[ks[i]], x[ks[i + 1]], x[ks[i + 2]], x[ks[i + 3]]
                    x4, x5, x6, x7 = x[ks[i + 4]], x[ks[i + 5]], x[ks[i + 6]], x[ks[i + 7]]
                    w0, w1 = weight[ks[i], left:right], weight[ks[i + 1], left:right]
                    w2, w3 = weight[ks[i + 2], left:right], weight[ks[i + 3], left:right]
                    w4, w5 = weight[ks[i + 4], left:right], weight[ks[i + 5], left:right]
                    w6, w7 = weight[ks[i + 6], left:right], weight[ks[i + 7], left:right]
                    for f in range(right - left):
                        y[f] += ((x0 * w0[f] + x1 * w1[f]) + (x2 * w2[f] + x3 * w3[f])) + (
                            (x4 * w4[f] + x5 * w5[f]) + (x6 * w6[f] + x7 * w7[f])
                        )
                    i += 8
                while i < found:
                    xi = x[ks[i]]
                    wi = weight[ks[i], left:right]
                    for f in range(right - left):
                        y[f] += xi * wi[f]
                    i += 1


def _sum_outer(inputs: Any, grad: Any, out: Any, start: int, stop: int) -> None:
    """Add every row's `inputs x grad` to columns `start` to `stop` of `out`, `[K, F]`."""
    width = inputs.shape[1]
    active = np.empty((_ROWS, width), np.uint16)
    counts = np.empty(_ROWS, np.int64)
    for first in range(0, inputs.shape[0], _ROWS):
        rows = min(_ROWS, inputs.shape[0] - first)
        _list_active(inputs, first, rows, active, counts)
        for left in range(start, stop, _COLUMNS):
            right = min(left + _COLUMNS, stop)
            for row in range(rows):
                g = grad[first + row, left:right]
                for i in range(counts[row]):
                    k = active[row, i]
                    x = inputs[first + row, k]
                    y = out[k, left:right]
                    for f in range(right - left):
                        y[f] += x * g[f]


def _list_active(inputs: Any, first: int, rows: int, active: Any, counts: Any) -> None:
    """List the places of what is not zero in some rows, and how many there are."""
    for row in range(rows):
        found = 0
        for k in range(inputs.shape[1]):
            active[row, found] = k
            found += inputs[first + row, k] != np.float32(0.0)
        counts[row] = found


@functools.cache
def _compiled() -> Callable[..., None]:
    return _with_planes(_event_linear, with_bias=True)


@functools.cache
def _compiled_outer() -> Callable[..., None]:
    return _with_planes(_sum_outer, with_bias=False)


def _with_planes(function: Callable[..., None], *, with_bias: bool) -> Callable[..., None]:
    from numba import types
    from numba.extending import register_jitable

    from sigprop_snn.neurons.kernels.compiling import compiled

    register_jitable(_list_active)
    real, whole = types.float32, types.int64
    plane, line = types.Array(real, 2, "C"), types.Array(real, 1, "C")
    middle = (line,) if with_bias else ()
    signature = types.void(plane, plane, *middle, plane, whole, whole)
    return compiled(function, signature, fastmath={"contract"})
