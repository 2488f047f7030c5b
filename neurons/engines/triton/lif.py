"""LIF over all time steps in one Triton kernel.

State and sum are float32 for every dtype of current. Multiplications and additions are not fused,
as in the reference engine, so the spikes are the same. Rows keep the order of their memory:
feature maps may be channels-last, as the convolutions of a GPU prefer them. The kernel writes
spikes as bits, eight steps in a byte.
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
from sigprop_snn.neurons.engines.triton.spikes import BitSpikes, bytes_of
from sigprop_snn.neurons.lif import LIF

_BLOCK = 1024  # neurons of one program


class LifRun(NamedTuple):
    """What the kernel did, or is to do, for the B rows and the C contexts behind them.

    Attributes:
        spikes: `[T, B + C, ...]`.
        voltage: the voltage before the reset, `[T, B + C, ...]`, if it is recorded.
        mean_voltage: the same, averaged over the steps, `[B + C, ...]`.
        last_voltage: the voltage after the last reset, `[B + C, ...]`, if it is kept.
    """

    spikes: BitSpikes
    voltage: Tensor | None
    mean_voltage: Tensor
    last_voltage: Tensor | None

    @classmethod
    def empty(
        cls,
        shape: torch.Size | tuple[int, ...],
        like: Tensor,
        order: Order,
        *,
        records_voltage: bool,
        keeps_state: bool,
    ) -> LifRun:
        """Return a run of which nothing is filled.

        Args:
            shape: `[T, B + C, ...]`.
            like: has the dtype of the spikes, and the device.
            order: of the rows in memory.
            records_voltage: whether the voltage of every step is to be kept.
            keeps_state: whether the last voltage is to be kept.
        """
        steps, *rows = shape
        bits = order.empty((bytes_of(steps), *rows), torch.uint8, like.device)
        mean = order.empty(rows, torch.float32, like.device)
        last = order.empty(rows, torch.float32, like.device) if keeps_state else None
        voltage = order.empty(shape, torch.float32, like.device) if records_voltage else None
        return cls(BitSpikes(bits, steps, like.dtype), voltage, mean, last)


def run_lif(
    neuron: LIF,
    current: Tensor,
    state: State | None,
    *,
    contexts: Tensor | None,
    scale: Scale | None,
    record_voltage: bool,
    keeps_state: bool = True,
) -> LifRun:
    """Run LIF through a current `[T, B, ...]`; one program of the kernel runs 1024 neurons.

    Args:
        neuron: the model.
        current: of the rows.
        state: where the neurons start; at rest if none.
        contexts: the constant current of the contexts behind the rows, `[C, ...]`, or none.
        scale: what the current, but not that of the contexts, goes through first.
        record_voltage: whether to keep the voltage of every step.
        keeps_state: whether to keep the voltage after the last step.
    """
    steps, rows, *shape = current.shape
    total = rows + (0 if contexts is None else len(contexts))
    order = Order.of(current)
    ran = LifRun.empty(
        (steps, total, *shape), current, order,
        records_voltage=record_voltage, keeps_state=keeps_state,
    )  # fmt: skip
    fill_rows(neuron, current, ran, 0, order, state=state, scale=scale)
    if contexts is not None:
        constant = contexts.detach().to(current.dtype)[None]
        fill_rows(neuron, constant, ran, rows, order, state=state)
    return ran


def fill_rows(
    neuron: LIF,
    current: Tensor,
    into: LifRun,
    first: int,
    order: Order,
    *,
    state: State | None = None,
    scale: Scale | None = None,
) -> None:
    """Run LIF for some rows of a run, and fill them in.

    Args:
        neuron: the model.
        current: of these rows, `[T, n, ...]`; a single step, or a repeated one, is constant.
        into: the whole run.
        first: the place of the first of these rows in it.
        order: of the rows in memory.
        state: where all neurons of the run start; at rest if none.
        scale: what the current goes through first.
    """
    part = order.apply(current.detach())
    shape = torch.Size(current.shape[2:])
    size = part[0].numel()
    mean = order.apply(into.mean_voltage)
    start = None if state is None else order.apply(state.voltage.detach())
    last, voltage = (
        None if kept is None else order.apply(kept) for kept in (into.last_voltage, into.voltage)
    )
    gain, offset, channels, inner = _scale(scale, shape, order, current.device)
    _lif[(triton.cdiv(size, _BLOCK),)](
        part,
        gain,
        offset,
        order.apply(into.spikes.bits),
        voltage if voltage is not None else mean,
        start if start is not None else mean,
        mean,
        last if last is not None else mean,
        into.spikes.shape[0],
        size,
        first * shape.numel(),
        mean.numel(),
        0 if len(part) == 1 or part.stride(0) == 0 else part.stride(0),
        channels,
        inner,
        float(neuron.beta),
        float(neuron.current_gain),
        float(neuron.threshold),
        float(neuron.threshold) if neuron.reset_mode == "subtract" else 0.0,
        STARTS=start is not None,
        SCALES=scale is not None,
        RESET_TO_ZERO=neuron.reset_mode == "zero",
        RECORD_VOLTAGE=voltage is not None,
        KEEP_LAST=last is not None,
        WIDE=size >= 1 << 31,
        BLOCK=_BLOCK,
        enable_fp_fusion=False,
    )


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
    current, gains, offsets, bits, voltages, start, mean, last,
    steps, size, first, step_stride, current_stride,
    channels: tl.constexpr, between: tl.constexpr,
    beta, current_gain, threshold, reset_amount,
    STARTS: tl.constexpr, SCALES: tl.constexpr, RESET_TO_ZERO: tl.constexpr,
    RECORD_VOLTAGE: tl.constexpr, KEEP_LAST: tl.constexpr,
    WIDE: tl.constexpr, BLOCK: tl.constexpr,
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
    byte = tl.zeros([BLOCK], tl.int32)
    for begin in range(0, steps, 4):
        byte = tl.where(begin % 8 == 0, 0, byte)
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
            fires = (voltage > threshold) & exists
            byte = byte | (fires.to(tl.int32) << ((begin + ahead) % 8))
            if RECORD_VOLTAGE:
                tl.store(voltages + step * step_stride + place, voltage, mask=mask & exists)
        # The second half of a byte is stored over its first half.
        at = tl.cast(begin // 8, tl.int64) * step_stride + place
        tl.store(bits + at, byte.to(tl.uint8), mask=mask)
    if KEEP_LAST:
        tl.store(last + place, v, mask=mask)
    tl.store(mean + place, tl.div_rn(summed, tl.cast(steps, tl.float32)), mask=mask)
