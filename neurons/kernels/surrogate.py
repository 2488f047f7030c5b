"""The fast sigmoid over a whole run, in one pass each way, compiled by numba.

What the surrogate rule needs of a surrogate is the mean over time of its primitive, and the
derivative at every step, filtered back through the membrane. Step by step in torch that takes a
dozen passes over the voltages of all steps.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.neurons.base import Neuron
from sigprop_snn.neurons.filters import Geometric
from sigprop_snn.neurons.kernels.sharing import Compiled, share
from sigprop_snn.surrogates import FastSigmoid

_CHUNK = 1024  # neurons whose sums stay in the first-level cache
_WORTH_A_THREAD = 1 << 16  # neurons times steps
_LIMIT = np.float32(torch.finfo(torch.float32).max / 8)  # where `scaled` ends


def fits(neuron: Neuron, voltage: Tensor) -> bool:
    """Return whether the kernel knows a neuron's surrogate and the type of its voltage."""
    surrogate = neuron.surrogate
    return (
        type(surrogate) is FastSigmoid
        and isinstance(surrogate.slope, float | int)
        and isinstance(neuron.threshold, float | int)
        and type(neuron).above is Neuron.above
        and voltage.device.type == "cpu"
        and voltage.dtype == torch.float32
        and not torch.compiler.is_compiling()
        and importlib.util.find_spec("numba") is not None
    )


def mean_primitive(neuron: Neuron, voltage: Tensor) -> Tensor:
    """Return the mean over time of f(U[t] - threshold), `[N, ...]`, for voltages `[T, N, ...]`."""
    laid = _as_it_lies(voltage)
    rows = laid.flatten(1)
    out = rows.new_zeros(rows.shape[1])
    given = rows, out, *_constants(neuron)
    share(_compiled_mean(), given, rows.shape[1], worth=_WORTH_A_THREAD // len(rows))
    mean = out.view(laid.shape[1:])
    return mean if laid.shape == voltage.shape else mean.movedim(-1, 1)


def filtered_derivative(
    neuron: Neuron, voltage: Tensor, share_of_mean: Tensor, response: Geometric
) -> Tensor:
    """Return the gradient of the currents `[T, N, ...]`.

    Args:
        neuron: the model.
        voltage: its recorded voltages, `[T, N, ...]`.
        share_of_mean: the gradient of f at every step, `[N, ...]`.
        response: how the membrane goes on from a current.
    """
    laid = _as_it_lies(voltage)
    rows = laid.flatten(1)
    out = torch.empty_like(rows)
    last = laid.shape != voltage.shape
    each = share_of_mean.movedim(1, -1) if last else share_of_mean
    arrays = rows, each.flatten().contiguous(), out
    given = *arrays, *_constants(neuron), response.first, response.ratio
    share(_compiled_derivative(), given, rows.shape[1], worth=_WORTH_A_THREAD // len(rows))
    grad = out.view(laid.shape)
    return grad.movedim(-1, 2) if last else grad


def _as_it_lies(voltage: Tensor) -> Tensor:
    """Return voltages `[T, N, ...]` in rows that lie in a line; maps `[T, N, H, W, C]` may do."""
    if voltage.dim() == 5 and not voltage.is_contiguous():
        laid = voltage.movedim(2, -1)
        if laid.is_contiguous():
            return laid
    return voltage.contiguous()


def _constants(neuron: Neuron) -> tuple[float, float, float]:
    surrogate = neuron.surrogate
    assert isinstance(surrogate, FastSigmoid)
    return float(neuron.threshold), float(neuron.unit), float(surrogate.slope)


def _mean(
    voltage: Any, out: Any, threshold: float, unit: float, slope: float, start: int, stop: int
) -> None:
    steps = voltage.shape[0]
    one, half = np.float32(1.0), np.float32(0.5)
    for first in range(start, stop, _CHUNK):
        last = min(first + _CHUNK, stop)
        total = out[first:last]
        for t in range(steps):
            u = voltage[t, first:last]
            for n in range(last - first):
                x = min(max(slope * ((u[n] - threshold) / unit), -_LIMIT), _LIMIT)
                total[n] += half + half * (x / (one + abs(x)))
        for n in range(last - first):
            total[n] /= np.float32(steps)


def _derivative(
    voltage: Any, share: Any, out: Any, threshold: float, unit: float, slope: float,
    gain: float, ratio: float, start: int, stop: int,
) -> None:  # fmt: skip
    steps = voltage.shape[0]
    one, half = np.float32(1.0), np.float32(0.5)
    later = np.empty(_CHUNK, np.float32)
    for first in range(start, stop, _CHUNK):
        last = min(first + _CHUNK, stop)
        later[:] = 0
        of = share[first:last]
        for t in range(steps - 1, -1, -1):
            u, grad = voltage[t, first:last], out[t, first:last]
            for n in range(last - first):
                x = min(max(slope * ((u[n] - threshold) / unit), -_LIMIT), _LIMIT)
                below = one + abs(x)
                later[n] = half * slope / (below * below) * of[n] + ratio * later[n]
                grad[n] = gain * later[n]


@functools.cache
def _compiled_mean() -> Compiled:
    from numba import types

    from sigprop_snn.neurons.kernels.compiling import compiled

    real = types.float32
    plane, line = types.Array(real, 2, "C"), types.Array(real, 1, "C")
    return compiled(_mean, plane, line, real, real, real)


@functools.cache
def _compiled_derivative() -> Compiled:
    from numba import types

    from sigprop_snn.neurons.kernels.compiling import compiled

    real = types.float32
    plane, line = types.Array(real, 2, "C"), types.Array(real, 1, "C")
    return compiled(_derivative, plane, line, plane, real, real, real, real, real)
