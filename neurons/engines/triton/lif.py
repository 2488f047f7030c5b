"""LIF over all time steps in one Triton kernel.

State and sum are float32 for every dtype of current. Multiplications and additions are not fused,
as in the reference engine, so the spikes are the same.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from sigprop_snn.neurons.base import State
from sigprop_snn.neurons.engines.engine import Scale
from sigprop_snn.neurons.engines.reference import entering
from sigprop_snn.neurons.lif import LIF

_BLOCK = 1024


class LifRun(NamedTuple):
    """What the kernel did for B rows and the C contexts behind them.

    Attributes:
        spike: `[T, B + C, ...]`, in the dtype of the current.
        voltage: the voltage before the reset, `[T, B + C, ...]`, if it was recorded.
        voltage_sum: the same, summed over the steps, `[B + C, ...]`.
        last_voltage: the voltage after the last reset, `[B + C, ...]`.
    """

    spike: Tensor
    voltage: Tensor | None
    voltage_sum: Tensor
    last_voltage: Tensor


def run_lif(
    neuron: LIF,
    current: Tensor,
    state: State | None,
    *,
    contexts: Tensor | None,
    scale: Scale | None,
    record_voltage: bool,
) -> LifRun:
    """Run LIF through a current `[T, B, ...]`; one program of the kernel runs 1024 neurons."""
    if state is None:
        state = neuron.initial_state(entering(current[0], contexts, scale))
    start = state.voltage.detach().contiguous()
    shape = (current.shape[0], *start.shape)
    spike = current.new_empty(shape)
    voltage = start.new_empty(shape) if record_voltage else None
    total, last = torch.zeros_like(start), start.clone()
    first = 0
    for rows, scaled in ((current, scale), (_constant(contexts, current), None)):
        if rows is None:
            continue
        distinct = rows.detach()[:1] if rows.stride(0) == 0 else rows.detach()
        flat = distinct.reshape(distinct.shape[0], -1).contiguous()
        size = flat.shape[1]
        _lif[(triton.cdiv(size, _BLOCK),)](
            flat,
            *_per_neuron(rows[0], scaled),
            spike,
            voltage if voltage is not None else last,
            last,
            total,
            current.shape[0],
            size,
            first,
            last.numel(),
            size if flat.shape[0] > 1 else 0,
            float(neuron.beta),
            float(neuron.current_gain),
            float(neuron.threshold),
            float(neuron.threshold) if neuron.reset_mode == "subtract" else 0.0,
            RESET_TO_ZERO=neuron.reset_mode == "zero",
            RECORD_VOLTAGE=voltage is not None,
            BLOCK=_BLOCK,
            enable_fp_fusion=False,
        )
        first += size
    return LifRun(spike, voltage, total, last)


def _constant(contexts: Tensor | None, current: Tensor) -> Tensor | None:
    """Return contexts `[C, ...]` as a current that is constant in time, `[T, C, ...]`."""
    if contexts is None:
        return None
    return contexts.to(current).expand(len(current), *contexts.shape)


def _per_neuron(step: Tensor, scale: Scale | None) -> tuple[Tensor, Tensor]:
    """Return gain and offset of every neuron of one step `[N, ...]`, flat, float32."""
    gain = step.new_ones((), dtype=torch.float32) if scale is None else scale.gain
    offset = None if scale is None else scale.offset
    if offset is None:
        offset = step.new_zeros((), dtype=torch.float32)
    return (
        gain.detach().float().expand(step.shape).reshape(-1).contiguous(),
        offset.detach().float().expand(step.shape).reshape(-1).contiguous(),
    )


@triton.jit  # type: ignore[untyped-decorator]
def _lif(
    current, gains, offsets, spikes, voltages, last, total,
    steps, size, first, step_stride, current_stride,
    beta, current_gain, threshold, reset_amount,
    RESET_TO_ZERO: tl.constexpr, RECORD_VOLTAGE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Run one block of the current's neurons; `first` is the place of their first in the output."""
    neuron = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = neuron < size
    place = neuron + first
    gain = tl.load(gains + neuron, mask=mask, other=0.0)
    offset = tl.load(offsets + neuron, mask=mask, other=0.0)
    v = tl.load(last + place, mask=mask, other=0.0)
    summed = tl.load(total + place, mask=mask, other=0.0)
    for t in range(steps):
        step = tl.cast(t, tl.int64)
        i = tl.load(current + step * current_stride + neuron, mask=mask, other=0.0).to(tl.float32)
        voltage = beta * v + current_gain * (gain * i + offset)
        spike = tl.where(voltage > threshold, 1.0, 0.0)
        summed += voltage
        v = voltage - (voltage if RESET_TO_ZERO else reset_amount) * spike
        tl.store(spikes + step * step_stride + place, spike.to(spikes.dtype.element_ty), mask=mask)
        if RECORD_VOLTAGE:
            tl.store(voltages + step * step_stride + place, voltage, mask=mask)
    tl.store(last + place, v, mask=mask)
    tl.store(total + place, summed, mask=mask)
