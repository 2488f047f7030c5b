"""LIF on the CPU: one step, which all kernels share, and a run through given currents.

The step does the same float32 operations in the same order as the eager loop, and numba contracts
no multiplication and addition into one, so spikes and voltages equal the reference to the bit.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import types
from numba.extending import overload
from torch import Tensor

from sigprop_snn.neurons.engines.cpu.spikes import PackedSpikes
from sigprop_snn.neurons.engines.cpu.threads import Kernel, compile_kernel, jitable, run_kernel
from sigprop_snn.neurons.engines.engine import Scale
from sigprop_snn.neurons.lif import LIF
from sigprop_snn.neurons.state import State

_NEURONS = 1024  # their voltages and sums stay in the first-level cache
_MIN_CHUNK = 1 << 18  # neurons times steps


@jitable
def lif_step(
    voltage: Any,
    current: Any,
    beta: Any,
    gain: Any,
    threshold: Any,
    reset_amount: Any,
    reset_to_zero: Any,
) -> Any:
    """Return the voltage before the reset, whether the neuron fired, the voltage after the reset.

    All numbers are float32; for the last five see `Constants`.
    """
    before = beta * voltage + gain * current
    fired = before > threshold
    amount = before if reset_to_zero else reset_amount
    spike = np.float32(1.0) if fired else np.float32(0.0)
    return before, fired, before - amount * spike


class Constants(NamedTuple):
    """The numbers of a LIF model, in the order in which `lif_step` takes them.

    Attributes:
        beta: the factor of the voltage.
        gain: the factor of the current.
        threshold: the voltage above which a neuron fires.
        reset_amount: what a spike subtracts, unless it sets the voltage to zero.
        reset_to_zero: whether it does.
    """

    beta: np.float32
    gain: np.float32
    threshold: np.float32
    reset_amount: np.float32
    reset_to_zero: bool

    @classmethod
    def of(cls, neuron: LIF) -> Constants:
        """Return those of a model."""
        subtracts = neuron.reset_mode == "subtract"
        return cls(
            np.float32(neuron.beta),
            np.float32(neuron.current_gain),
            np.float32(neuron.threshold),
            np.float32(neuron.threshold if subtracts else 0.0),
            neuron.reset_mode == "zero",
        )


class LayerRun(NamedTuple):
    """What a layer of LIF neurons did over T steps: N rows and the C context rows behind them.

    Attributes:
        spikes: `[T, N + C, ...]`.
        voltage: the voltage before the reset, `[T, N + C, ...]`; without a step if not recorded.
        last_voltage: the voltage after the last reset, `[N + C, ...]`.
        voltage_sum: the voltage before the reset, summed over the steps, `[N + C, ...]`.
    """

    spikes: PackedSpikes
    voltage: Tensor
    last_voltage: Tensor
    voltage_sum: Tensor


class LifRun(NamedTuple):
    """What LIF neurons did over T steps: B rows and the C context rows behind them.

    Attributes:
        spike: `[T, B + C, ...]`, in the current's dtype.
        voltage: the voltage before the reset, `[T, B + C, ...]`, if it was recorded.
        last_voltage: the voltage after the last reset, `[B + C, ...]`.
        voltage_sum: the voltage before the reset, summed over the steps, `[B + C, ...]`.
    """

    spike: Tensor
    voltage: Tensor | None
    last_voltage: Tensor
    voltage_sum: Tensor


def run_lif(
    neuron: LIF,
    current: Tensor,
    state: State | None = None,
    *,
    contexts: Tensor | None = None,
    scale: Scale | None = None,
    record_voltage: bool = False,
) -> LifRun:
    """Run LIF through a current on the CPU, in one pass over time.

    Args:
        neuron: a model that `why_not_lif` does not refuse.
        current: float32 or bfloat16, `[T, B, ...]`. A time axis of stride 0 marks a current that
            is constant in time.
        state: where the neurons start, float32, `[B + C, ...]`; at rest if not given.
        contexts: the constant current of the context rows, `[C, ...]`. No scale applies to them.
        scale: what the current goes through on its way in.
        record_voltage: whether to keep the voltage of every step.
    """
    steps, rows = current.shape[:2]
    shape = (rows + (0 if contexts is None else len(contexts)), *current.shape[2:])
    if state is None:
        state = neuron.initial_state(current.new_empty(shape, dtype=torch.float32))
    run = LifRun(
        current.new_empty(steps, *shape),
        state.voltage.new_empty(steps, *shape) if record_voltage else None,
        state.voltage.detach().clone(memory_format=torch.contiguous_format),
        torch.zeros(shape),
    )
    given = current.detach()
    distinct = given[:1] if given.stride(0) == 0 else given
    _run_rows(neuron, distinct, scale, run, first=0)
    if contexts is not None:
        _run_rows(neuron, contexts.detach().to(current).unsqueeze(0), None, run, first=rows)
    return run


def _run_rows(neuron: LIF, current: Tensor, scale: Scale | None, run: LifRun, first: int) -> None:
    """Run the rows from `first` on; a current with one step is constant in time."""
    flat = current.reshape(len(current), -1).contiguous()
    gain, offset = scale_per_neuron(current[0], scale)
    count, steps = run.last_voltage.numel(), len(run.spike)
    voltage = torch.empty(0, count) if run.voltage is None else run.voltage.view(steps, count)
    bits, one = (torch.uint16, 0x3F80) if flat.dtype == torch.bfloat16 else (torch.float32, 1.0)
    arguments = (
        flat.view(bits),
        gain,
        offset,
        run.spike.view(bits).view(steps, count),
        one,
        voltage,
        run.last_voltage.view(-1),
        run.voltage_sum.view(-1),
        first * run.last_voltage[0].numel(),
        *Constants.of(neuron),
    )
    run_kernel(_lif_kernel(bits), arguments, flat.shape[1], min_chunk=_MIN_CHUNK // steps)


def scale_per_neuron(row: Tensor, scale: Scale | None) -> tuple[Tensor, Tensor]:
    """Return gain and offset of every number in a row or rows of current, flat, float32."""
    gain = torch.ones(()) if scale is None else scale.gain.detach()
    offset = None if scale is None else scale.offset
    offset = torch.zeros(()) if offset is None else offset.detach()
    return (
        gain.float().expand(row.shape).reshape(-1).contiguous(),
        offset.float().expand(row.shape).reshape(-1).contiguous(),
    )


def _lif(
    currents: Any, gains: Any, offsets: Any, spikes: Any, one: Any, voltages: Any,
    last_voltage: Any, voltage_sum: Any, place: int,
    beta: Any, gain: Any, threshold: Any, reset_amount: Any, reset_to_zero: bool,
    first: int, last: int,
) -> None:  # fmt: skip
    """Run the neurons `first` to `last` of `currents`; in all that is written, `place` is added."""
    record = voltages.shape[0] > 0
    zero = one - one
    kept = voltage_sum[:0]
    for start in range(first, last, _NEURONS):
        stop = min(start + _NEURONS, last)
        a, b = place + start, place + stop
        voltage, total = last_voltage[a:b], voltage_sum[a:b]
        factor, offset = gains[start:stop], offsets[start:stop]
        for step in range(spikes.shape[0]):
            current = currents[min(step, currents.shape[0] - 1), start:stop]
            spike = spikes[step, a:b]
            if record:
                kept = voltages[step, a:b]
            for n in range(stop - start):
                entering = factor[n] * _as_float32(current[n]) + offset[n]
                before, fired, voltage[n] = lif_step(
                    voltage[n], entering, beta, gain, threshold, reset_amount, reset_to_zero
                )
                spike[n] = one if fired else zero
                total[n] += before
                if record:
                    kept[n] = before


def _as_float32(number: Any) -> Any:
    """Return a float32, or the bits of a bfloat16, as float32: compiled code only."""
    raise NotImplementedError


@overload(_as_float32, strict=False)  # type: ignore[untyped-decorator]
def _compile_as_float32(number: Any) -> Callable[[Any], Any]:
    if isinstance(number, types.Float):
        return lambda number: number
    # The bits of a bfloat16 are the upper half of a float32's.
    return lambda number: np.uint32(np.uint32(number) << np.uint32(16)).view(np.float32)


@functools.cache
def _lif_kernel(bits: torch.dtype) -> Kernel:
    real = types.float32
    number = types.uint16 if bits == torch.uint16 else real
    return compile_kernel(
        _lif,
        number[:, ::1], real[::1], real[::1], number[:, ::1], number, real[:, ::1],
        real[::1], real[::1], types.int64, real, real, real, real, types.boolean,
    )  # fmt: skip
