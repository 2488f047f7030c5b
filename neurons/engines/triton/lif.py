"""LIF over all time steps in one Triton kernel.

State and sum are float32 for every dtype of current. Multiplications and additions are not fused,
as in the reference engine, so the spikes are the same. Rows keep the order of their memory:
feature maps may be channels-last, as the convolutions of a GPU prefer them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from sigprop_snn.neurons.base import State
from sigprop_snn.neurons.engines.engine import Scale
from sigprop_snn.neurons.engines.order import Order
from sigprop_snn.neurons.lif import LIF

_BLOCK = 1024  # neurons of one program


class LifRun(NamedTuple):
    """What the kernel did for B rows and the C contexts behind them.

    Attributes:
        spike: `[T, B + C, ...]`, in the dtype of the current.
        voltage: the voltage before the reset, `[T, B + C, ...]`, if it was recorded.
        mean_voltage: the same, averaged over the steps, `[B + C, ...]`.
        last_voltage: the voltage after the last reset, `[B + C, ...]`.
    """

    spike: Tensor
    voltage: Tensor | None
    mean_voltage: Tensor
    last_voltage: Tensor


def run_lif(
    neuron: LIF,
    current: Tensor,
    state: State | None,
    *,
    contexts: Tensor | None,
    scale: Scale | None,
    record_voltage: bool,
    overwrite: bool = False,
) -> LifRun:
    """Run LIF through a current `[T, B, ...]`; one program of the kernel runs 1024 neurons.

    Args:
        neuron: the model.
        current: of the rows.
        state: where the neurons start; at rest if none.
        contexts: the constant current of the contexts behind the rows, `[C, ...]`, or none.
        scale: what the current, but not that of the contexts, goes through first.
        record_voltage: whether to keep the voltage of every step.
        overwrite: whether the spikes may take the place of the current.
    """
    steps, rows, *shape = current.shape
    total = rows + (0 if contexts is None else len(contexts))
    order = Order.of(current)
    if overwrite and contexts is None and order.apply(current).is_contiguous():
        spike = order.apply(current).movedim(-1, -3) if order.channels_last else current
    else:
        spike = order.empty((steps, total, *shape), current.dtype, current.device)
    mean, last = (order.empty((total, *shape), torch.float32, current.device) for _ in range(2))
    voltage = (
        order.empty((steps, total, *shape), torch.float32, current.device)
        if record_voltage
        else None
    )
    start = None if state is None else order.apply(state.voltage.detach())
    parts = [(order.apply(current.detach()), scale)]
    if contexts is not None:
        parts.append((order.apply(contexts.detach().to(current.dtype))[None], None))
    first = 0
    for part, scaled in parts:
        size = part[0].numel()
        gain, offset, channels, inner = _scale(scaled, torch.Size(shape), order, current.device)
        _lif[(triton.cdiv(size, _BLOCK),)](
            part,
            gain,
            offset,
            order.apply(spike),
            order.apply(voltage) if voltage is not None else mean,
            start if start is not None else mean,
            order.apply(mean),
            order.apply(last),
            steps,
            size,
            first,
            last.numel(),
            0 if len(part) == 1 or part.stride(0) == 0 else part.stride(0),
            channels,
            inner,
            float(neuron.beta),
            float(neuron.current_gain),
            float(neuron.threshold),
            float(neuron.threshold) if neuron.reset_mode == "subtract" else 0.0,
            STARTS=start is not None,
            SCALES=scaled is not None,
            RESET_TO_ZERO=neuron.reset_mode == "zero",
            RECORD_VOLTAGE=voltage is not None,
            WIDE=size >= 1 << 31,
            BLOCK=_BLOCK,
            enable_fp_fusion=False,
        )
        first += size
    return LifRun(spike, voltage, mean, last)


def _scale(
    scale: Scale | None, shape: torch.Size, order: Order, device: torch.device
) -> tuple[Tensor, Tensor, int, int]:
    """Return gain and offset by channel, the number of channels, and the neurons between two.

    Neuron i of a row has channel (i // between) % channels.
    """
    if scale is None:
        unused = torch.empty(0, device=device)
        return unused, unused, 1, 1
    offset = scale.offset if scale.offset is not None else torch.zeros_like(scale.gain)
    both = [values.detach().float() for values in (scale.gain, offset)]
    if all(values.numel() == 1 for values in both):
        return both[0].reshape(1), both[1].reshape(1), 1, 1
    by_channel = (shape[0], *[1] * (len(shape) - 1))
    if all(values.shape == by_channel for values in both):
        between = 1 if order.channels_last else shape[1:].numel()
        return both[0].flatten(), both[1].flatten(), shape[0], between
    each = [order.apply(values.expand(1, *shape)).flatten() for values in both]
    return each[0], each[1], shape.numel(), 1


@triton.jit  # type: ignore[untyped-decorator]
def _lif(
    current, gains, offsets, spikes, voltages, start, mean, last,
    steps, size, first, step_stride, current_stride,
    channels: tl.constexpr, between: tl.constexpr,
    beta, current_gain, threshold, reset_amount,
    STARTS: tl.constexpr, SCALES: tl.constexpr, RESET_TO_ZERO: tl.constexpr,
    RECORD_VOLTAGE: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Run one block of the current's neurons; `first` is the place of their first in the output."""
    neuron = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = neuron < size
    place = neuron + first
    v = tl.zeros([BLOCK], tl.float32)
    summed = tl.zeros([BLOCK], tl.float32)
    gain = tl.full([BLOCK], 1.0, tl.float32)
    offset = tl.zeros([BLOCK], tl.float32)
    if STARTS:
        v = tl.load(start + place, mask=mask, other=0.0)
    if SCALES:
        index = neuron if WIDE else neuron.to(tl.int32)  # short numbers divide faster
        channel = (index // between) % channels
        gain = tl.load(gains + channel, mask=mask, other=0.0)
        offset = tl.load(offsets + channel, mask=mask, other=0.0)
    stride = tl.cast(current_stride, tl.int64)
    for begin in range(0, steps, 4):
        # Four loads before the first store: the compiler may not move a load before a store.
        source = current + tl.cast(begin, tl.int64) * stride + neuron
        i0 = tl.load(source, mask=mask, other=0.0)
        i1 = tl.load(source + stride, mask=mask & (begin + 1 < steps), other=0.0)
        i2 = tl.load(source + 2 * stride, mask=mask & (begin + 2 < steps), other=0.0)
        i3 = tl.load(source + 3 * stride, mask=mask & (begin + 3 < steps), other=0.0)
        for ahead in tl.static_range(4):
            if ahead == 0:
                i = i0
            elif ahead == 1:
                i = i1
            elif ahead == 2:
                i = i2
            else:
                i = i3
            step = tl.cast(begin + ahead, tl.int64)
            exists = step < steps
            i = i.to(tl.float32)
            if SCALES:
                i = gain * i + offset
            voltage = beta * v + current_gain * i
            spike = tl.where(voltage > threshold, 1.0, 0.0)
            after = voltage - (voltage if RESET_TO_ZERO else reset_amount) * spike
            v = tl.where(exists, after, v)
            summed += tl.where(exists, voltage, 0.0)
            at = step * step_stride + place
            tl.store(spikes + at, spike.to(spikes.dtype.element_ty), mask=mask & exists)
            if RECORD_VOLTAGE:
                tl.store(voltages + at, voltage, mask=mask & exists)
    tl.store(last + place, v, mask=mask)
    tl.store(mean + place, tl.div_rn(summed, tl.cast(steps, tl.float32)), mask=mask)
