"""The surrogate rule's two passes over the voltages, each in one kernel.

The mean over time of the fast sigmoid, and the gradient of the currents given that of the mean:
the derivative at every step, filtered back in time, with the resets held constant.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.neurons.base import Neuron
from sigprop_snn.neurons.engines.cpu.threads import (
    CACHE_LINE,
    Array,
    Kernel,
    jitable,
    kernel,
    run_kernel,
)
from sigprop_snn.neurons.engines.plain import why_not_fast_sigmoid
from sigprop_snn.surrogates import FastSigmoid

_MIN_VOLTAGES = 1 << 16  # of a chunk: a smaller one would not pay for another thread
_BLOCK = 1024  # neurons at a time: their sums stay in the first-level cache
_LIMIT = np.float32(torch.finfo(torch.float32).max / 8)  # the bound of slope * u in `surrogates`
_LINE, _PLANE = Array(torch.float32, 1), Array(torch.float32, 2)


def why_not_surrogate(neuron: Neuron, voltage: Tensor) -> str | None:
    """Return why no kernel here takes a neuron's surrogate and its voltages, or none."""
    reason = why_not_fast_sigmoid(neuron)
    if reason is None and (voltage.dtype != torch.float32 or voltage.device.type != "cpu"):
        reason = f"the voltages are {voltage.dtype} on {voltage.device}"
    if reason is None and torch.compiler.is_compiling():
        reason = "torch.compile traces eager operations"
    return reason


def surrogate_mean(neuron: Neuron, voltage: Tensor) -> Tensor:
    """Return the mean over time of f((U[t] - threshold) / unit), `[N, ...]`.

    Args:
        neuron: its surrogate is the fast sigmoid f.
        voltage: U, `[T, N, ...]`.
    """
    stored, channel = _in_memory_order(voltage)
    mean = torch.zeros(stored.shape[1:])
    _run_over_neurons(_mean, stored, mean.flatten(), *_surrogate_constants(neuron))
    return mean.movedim(-1, channel)


def surrogate_current_gradient(
    neuron: Neuron, voltage: Tensor, grad_mean: Tensor, first: float, ratio: float
) -> Tensor:
    """Return the gradient of the currents `[T, N, ...]`, with the resets held constant.

    Args:
        neuron: as in `surrogate_mean`.
        voltage: its voltages, `[T, N, ...]`.
        grad_mean: the gradient of the result of `surrogate_mean`, `[N, ...]`.
        first: the membrane's response to a unit current in the step of that current.
        ratio: the part of the response that is left after each further step.
    """
    stored, channel = _in_memory_order(voltage)
    grad_step = (grad_mean / (len(voltage) * neuron.unit)).movedim(channel, -1)
    grad = torch.empty_like(stored)
    constants = (*_surrogate_constants(neuron), first, ratio)
    _run_over_neurons(
        _gradient, stored, grad_step.flatten().contiguous(), grad.flatten(1), *constants
    )
    return grad.movedim(-1, channel)


def _run_over_neurons(kernel: Kernel, voltage: Tensor, *arguments: Any) -> None:
    steps = voltage.flatten(1)
    run_kernel(
        kernel, (steps, *arguments), steps.shape[1],
        min_chunk=_MIN_VOLTAGES // len(steps), chunk_multiple=CACHE_LINE,
    )  # fmt: skip


def _in_memory_order(voltage: Tensor) -> tuple[Tensor, int]:
    """Return voltages as contiguous memory, and where their last axis belongs.

    Feature maps that are stored with their channels last become `[T, N, H, W, C]`.
    """
    if voltage.dim() == 5 and not voltage.is_contiguous():
        channels_last = voltage.movedim(2, -1)
        if channels_last.is_contiguous():
            return channels_last, -3
    return voltage.contiguous(), -1


def _surrogate_constants(neuron: Neuron) -> tuple[float, float, float]:
    surrogate = neuron.surrogate
    assert isinstance(surrogate, FastSigmoid)
    assert isinstance(surrogate.slope, float | int)
    return float(neuron.threshold), float(neuron.unit), float(surrogate.slope)


@jitable
def _scaled(voltage: Any, threshold: Any, unit: Any, slope: Any) -> Any:
    """Return slope * u, kept finite, for u = (U - threshold) / unit."""
    return min(max(slope * ((voltage - threshold) / unit), -_LIMIT), _LIMIT)


@kernel(_PLANE, _LINE, float, float, float)
def _mean(
    voltage: Any, mean: Any, threshold: Any, unit: Any, slope: Any, start: int, stop: int
) -> None:
    """Fill neurons `start` to `stop` of `mean`, which starts at zero."""
    steps = voltage.shape[0]
    one, half = np.float32(1.0), np.float32(0.5)
    for first in range(start, stop, _BLOCK):
        last = min(first + _BLOCK, stop)
        total = mean[first:last]
        for t in range(steps):
            u = voltage[t, first:last]
            for n in range(last - first):
                x = _scaled(u[n], threshold, unit, slope)
                total[n] += half + half * (x / (one + abs(x)))
        for n in range(last - first):
            total[n] /= np.float32(steps)


@kernel(_PLANE, _LINE, _PLANE, float, float, float, float, float)
def _gradient(
    voltage: Any, grad_step: Any, grad: Any, threshold: Any, unit: Any, slope: Any,
    response: Any, ratio: Any, start: int, stop: int,
) -> None:  # fmt: skip
    """Fill neurons `start` to `stop` of `grad`: filter the derivative back through time."""
    one, half = np.float32(1.0), np.float32(0.5)
    filtered = np.empty(_BLOCK, np.float32)
    for first in range(start, stop, _BLOCK):
        last = min(first + _BLOCK, stop)
        filtered[:] = 0
        of_step = grad_step[first:last]
        for t in range(voltage.shape[0] - 1, -1, -1):
            u, into = voltage[t, first:last], grad[t, first:last]
            for n in range(last - first):
                below = one + abs(_scaled(u[n], threshold, unit, slope))
                derivative = half * slope / (below * below)
                filtered[n] = derivative * of_step[n] + ratio * filtered[n]
                into[n] = response * filtered[n]
