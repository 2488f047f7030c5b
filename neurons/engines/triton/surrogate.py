"""The surrogate rule's two passes over the voltages, each in one Triton kernel.

The mean over time of the fast sigmoid, and the gradient of the currents given that of the mean:
the derivative at every step, filtered back in time, with the resets held constant.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from sigprop_snn.neurons.base import Neuron
from sigprop_snn.neurons.engines.order import Order
from sigprop_snn.neurons.filters import Geometric
from sigprop_snn.surrogates import FastSigmoid

_BLOCK = 1024  # neurons of one program


def surrogate_mean(neuron: Neuron, voltage: Tensor) -> Tensor:
    """Do what `FusedEngine.fast_sigmoid_mean` does."""
    order = Order.of(voltage)
    turned = order.apply(voltage.detach())
    mean = order.empty(voltage.shape[1:], torch.float32, voltage.device)
    size, steps = mean.numel(), len(voltage)
    _mean[(triton.cdiv(size, _BLOCK),)](
        turned, order.apply(mean), steps, size, turned.stride(0), *_constants(neuron), 1.0 / steps,
        BLOCK=_BLOCK,
    )  # fmt: skip
    return mean


def surrogate_gradient(
    neuron: Neuron,
    voltage: Tensor,
    grad_mean: Tensor,
    response: Geometric,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Do what `FusedEngine.fast_sigmoid_gradient` does; the result is float32 unless told."""
    order = Order.of(voltage)
    turned = order.apply(voltage.detach())
    grad = order.empty(voltage.shape, dtype or torch.float32, voltage.device)
    size, steps = grad[0].numel(), len(voltage)
    _gradient[(triton.cdiv(size, _BLOCK),)](
        turned, order.apply(grad_mean.detach().float()), order.apply(grad),
        steps, size, turned.stride(0), *_constants(neuron),
        response.first / (steps * float(neuron.unit)), response.ratio, BLOCK=_BLOCK,
    )  # fmt: skip
    return grad


def _constants(neuron: Neuron) -> tuple[float, float]:
    """Return the threshold, and the slope by voltage."""
    assert isinstance(neuron.surrogate, FastSigmoid)
    return float(neuron.threshold), float(neuron.surrogate.slope) / float(neuron.unit)


@triton.jit  # type: ignore[untyped-decorator]
def _mean(voltages, mean, steps, size, stride, threshold, slope, per_step, BLOCK: tl.constexpr):
    """Average the fast sigmoid of one block of neurons."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = place < size
    total = tl.zeros([BLOCK], tl.float32)
    for t in range(steps):
        voltage = tl.load(voltages + tl.cast(t, tl.int64) * stride + place, mask=mask, other=0.0)
        x = slope * (voltage - threshold)
        total += 0.5 + 0.5 * (x / (1.0 + tl.abs(x)))
    tl.store(mean + place, total * per_step, mask=mask)


@triton.jit  # type: ignore[untyped-decorator]
def _gradient(
    voltages, grad_mean, grad, steps, size, stride, threshold, slope, factor, ratio,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Filter the derivative of one block of neurons back in time."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = place < size
    each = factor * tl.load(grad_mean + place, mask=mask, other=0.0)
    later = tl.zeros([BLOCK], tl.float32)
    for back in range(steps):
        at = tl.cast(steps - 1 - back, tl.int64) * stride + place
        x = slope * (tl.load(voltages + at, mask=mask, other=0.0) - threshold)
        below = 1.0 + tl.abs(x)
        later = ratio * later + each * (0.5 * slope / (below * below))
        tl.store(grad + at, later.to(grad.dtype.element_ty), mask=mask)
