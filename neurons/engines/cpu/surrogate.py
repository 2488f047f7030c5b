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
from sigprop_snn.neurons.engines.cpu.threads import Kernel, jitable, run_kernel
from sigprop_snn.neurons.engines.order import Order
from sigprop_snn.neurons.filters import Geometric
from sigprop_snn.surrogates import FastSigmoid

_MIN_VOLTAGES = 1 << 16  # of a chunk: a smaller one would not pay for another thread
_BLOCK = 1024  # neurons at a time: their sums stay in the first-level cache
_LIMIT = np.float32(torch.finfo(torch.float32).max / 8)  # the bound of slope * u in `surrogates`


def surrogate_mean(neuron: Neuron, voltage: Tensor) -> Tensor:
    """Do what `FusedEngine.fast_sigmoid_mean` does; the voltages are float32."""
    order = Order.of(voltage)
    mean = order.empty(voltage.shape[1:], torch.float32, voltage.device)
    _run_over_neurons(_mean, neuron, order.apply(voltage), order.apply(mean).flatten())
    return mean


def surrogate_gradient(
    neuron: Neuron,
    voltage: Tensor,
    grad_mean: Tensor,
    response: Geometric,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Do what `FusedEngine.fast_sigmoid_gradient` does; the voltages and the result are float32."""
    order = Order.of(voltage)
    each = order.apply(grad_mean / (len(voltage) * neuron.unit)).flatten()
    grad = order.empty(voltage.shape, torch.float32, voltage.device)
    into = order.apply(grad).flatten(1)
    _run_over_neurons(_gradient, neuron, order.apply(voltage), each, into, *response)
    return grad


def _run_over_neurons(kernel: Kernel, neuron: Neuron, voltage: Tensor, *arguments: Any) -> None:
    surrogate = neuron.surrogate
    assert isinstance(surrogate, FastSigmoid)
    assert isinstance(surrogate.slope, float | int)
    slope = float(surrogate.slope)
    constants = float(neuron.threshold), slope, slope / float(neuron.unit)
    steps = voltage.flatten(1).contiguous()
    least = _MIN_VOLTAGES // len(steps)
    run_kernel(kernel, (steps, *constants, *arguments), steps.shape[1], min_chunk=least)


@jitable
def _scaled(voltage: Any, threshold: Any, steepness: Any) -> Any:
    """Return slope * u, kept finite, for u = (U - threshold) / unit; steepness is slope / unit."""
    return min(max(steepness * (voltage - threshold), -_LIMIT), _LIMIT)


@Kernel
def _mean(
    voltage: Any, threshold: Any, slope: Any, steepness: Any, mean: Any, start: int, stop: int
) -> None:
    """Fill neurons `start` to `stop` of `mean`."""
    steps = voltage.shape[0]
    one, half = np.float32(1.0), np.float32(0.5)
    for first in range(start, stop, _BLOCK):
        last = min(first + _BLOCK, stop)
        total = mean[first:last]
        total[:] = 0
        for t in range(steps):
            u = voltage[t, first:last]
            for n in range(last - first):
                x = _scaled(u[n], threshold, steepness)
                total[n] += half + half * (x / (one + abs(x)))
        for n in range(last - first):
            total[n] /= np.float32(steps)


@Kernel
def _gradient(
    voltage: Any, threshold: Any, slope: Any, steepness: Any, grad_step: Any, grad: Any,
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
                below = one + abs(_scaled(u[n], threshold, steepness))
                derivative = half * slope / (below * below)
                filtered[n] = derivative * of_step[n] + ratio * filtered[n]
                into[n] = response * filtered[n]
