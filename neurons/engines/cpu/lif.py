"""LIF on the CPU: one step, which all kernels share, and a run through given currents.

The step does the same float32 operations in the same order as the eager loop, and numba contracts
no multiplication and addition into one, so spikes and voltages equal the reference to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.neurons.engines.cpu.threads import Kernel, jitable, run_kernel
from sigprop_snn.neurons.engines.dense import DenseSpikes
from sigprop_snn.neurons.engines.engine import Membrane, Run, Scale
from sigprop_snn.neurons.engines.order import Order
from sigprop_snn.neurons.engines.plain import lif_run
from sigprop_snn.neurons.lif import LIF
from sigprop_snn.neurons.state import State

_NEURONS = 1024  # their voltages and sums stay in the first-level cache
_MIN_CHUNK = 1 << 18  # neurons times steps


@jitable
def lif_step(
    voltage: Any, current: Any, beta: Any, gain: Any, threshold: Any, reset_amount: Any,
    reset_to_zero: Any,
) -> Any:  # fmt: skip
    """Return the voltage before the reset, whether the neuron fired, the voltage after the reset.

    All numbers are float32; for the last five see `constants_of`.
    """
    before = beta * voltage + gain * current
    fired = before > threshold
    amount = before if reset_to_zero else reset_amount
    spike = np.float32(1.0) if fired else np.float32(0.0)
    return before, fired, before - amount * spike


def constants_of(neuron: LIF) -> Tensor:
    """Return the numbers of a LIF model, in the order in which `lif_step` takes them.

    They are the factors of the voltage and of the current, the threshold, what a spike subtracts,
    and whether it sets the voltage to zero instead.
    """
    subtracted = neuron.threshold if neuron.reset_mode == "subtract" else 0.0
    factors = neuron.beta, neuron.current_gain
    numbers = [*factors, neuron.threshold, subtracted, neuron.reset_mode == "zero"]
    return torch.tensor(numbers, dtype=torch.float32)


def run_lif(
    neuron: LIF,
    current: Tensor,
    state: State | None = None,
    *,
    contexts: Tensor | None = None,
    scale: Scale | None = None,
    record: Sequence[str] = (),
) -> Run:
    """Run LIF through a current on the CPU, in one pass over time.

    Args:
        neuron: a model that `why_not_lif` does not refuse.
        current: float32 or bfloat16, `[T, B, ...]`. A time axis of stride 0 marks a current that
            is constant in time.
        state: float32.
        contexts: as in `Engine.neurons`.
        scale: as there.
        record: "spike", "voltage", both or none.
    """
    order, current = Order.of(current), current.detach()
    steps, rows = current.shape[:2]
    shape = (rows + (0 if contexts is None else len(contexts)), *current.shape[2:])
    spike, voltage, total, last = (
        order.empty(size, torch.float32, current.device)
        for size in ((steps, *shape), (steps if "voltage" in record else 0, *shape), shape, shape)
    )
    total.zero_()
    if state is None:
        last.zero_()
    else:
        last.copy_(state.voltage)
    distinct = current[:1] if current.stride(0) == 0 else current
    if order.channels_last and scale is not None:
        row = current.shape[2:]
        offset = None if scale.offset is None else scale.offset.expand(row).movedim(0, -1)
        scale = Scale(scale.gain.expand(row).movedim(0, -1), offset)
    contexts = None if contexts is None else order.apply(contexts)
    _run_rows(
        neuron, order.apply(distinct), contexts, scale, order.apply(spike), order.apply(voltage),
        order.apply(last), order.apply(total), 1.0, 1.0,
    )  # fmt: skip
    spikes = DenseSpikes(spike.to(current.dtype))
    return lif_run(spikes, total.div_(steps) if steps > 1 else total, last, voltage, record)


def advance_lif(
    neuron: LIF, current: Tensor, contexts: Tensor | None, scale: Scale | None, membrane: Membrane
) -> Tensor:  # fmt: skip
    """Run LIF for one step in place, and return the spikes; see `Engine.advance`.

    All tensors are float32 and contiguous. The current is that of the rows, `[rows, F]`, and the
    scale applies to it alone.
    """
    voltage, mean, weight = membrane
    spikes = torch.empty_like(voltage).unsqueeze(0)
    _run_rows(
        neuron, current.unsqueeze(0), contexts, scale, spikes, spikes[:0], voltage, mean,
        1.0 - weight, weight,
    )  # fmt: skip
    return spikes[0]


def _run_rows(
    neuron: LIF, current: Tensor, contexts: Tensor | None, scale: Scale | None, spikes: Tensor,
    voltages: Tensor, voltage: Tensor, mean: Tensor, keep: float, share: float,
) -> None:  # fmt: skip
    """Run LIF through a current `[T, B, ...]`; one with a single step is constant in time.

    Args:
        neuron: the model.
        current: of the rows.
        contexts: of the context rows behind them, `[C, ...]`, or none.
        scale: what the current of the rows goes through on its way in.
        spikes: `[T, B + C, ...]`, are written.
        voltages: before the resets, the same; without a step they are not written.
        voltage: after the last reset, `[B + C, ...]`; updated in place.
        mean: updated in place: at each step `keep` times itself, plus `share` times the voltage.
        keep: a factor.
        share: a factor.
    """
    contexts = current[0, :0] if contexts is None else contexts.detach().to(current)
    arguments = (
        current.float().reshape(len(current), -1).contiguous(), contexts.float().flatten(),
        *scale_of_row(current.shape[2:], scale), spikes.flatten(1), voltages.flatten(1),
        voltage.flatten(), mean.flatten(), keep, share, constants_of(neuron),
    )  # fmt: skip
    run_kernel(
        _lif_rows, arguments, voltage.numel(),
        min_chunk=_MIN_CHUNK // len(spikes),
    )  # fmt: skip


def scale_of_row(shape: torch.Size, scale: Scale | None) -> tuple[Tensor, Tensor]:
    """Return gain and offset of every number in a row of current, flat, float32."""
    gain = torch.ones(()) if scale is None else scale.gain.detach()
    offset = None if scale is None else scale.offset
    offset = torch.zeros(()) if offset is None else offset.detach()
    return (
        gain.float().expand(shape).reshape(-1).contiguous(),
        offset.float().expand(shape).reshape(-1).contiguous(),
    )


@Kernel
def _lif_rows(
    currents: Any, contexts: Any, gains: Any, offsets: Any, spikes: Any, voltages: Any,
    last_voltage: Any, mean: Any, keep: Any, share: Any, constants: Any, first: int, last: int,
) -> None:  # fmt: skip
    """Run the neurons `first` to `last` of all rows; gains and offsets are those of one row.

    The contexts, behind the other rows, are constant in time and not scaled.
    """
    beta, gain, threshold, reset_amount, reset_to_zero = constants
    zero, one = np.float32(0.0), np.float32(1.0)
    ones, zeros = np.ones(_NEURONS, np.float32), np.zeros(_NEURONS, np.float32)
    record, kept = voltages.shape[0] > 0, mean[:0]
    inside, width = currents.shape[1], gains.shape[0]
    start = first
    while start < last:
        column = start % width
        stop = min(start + min(_NEURONS, width - column), last)
        given, factor, offset = contexts[start - inside : stop - inside], ones, zeros
        if start < inside:
            factor, offset = gains[column:], offsets[column:]
        voltage, total = last_voltage[start:stop], mean[start:stop]
        for step in range(spikes.shape[0]):
            if start < inside:
                given = currents[min(step, currents.shape[0] - 1), start:stop]
            spike = spikes[step, start:stop]
            if record:
                kept = voltages[step, start:stop]
            for n in range(stop - start):
                entering = factor[n] * given[n] + offset[n]
                before, fired, voltage[n] = lif_step(
                    voltage[n], entering, beta, gain, threshold, reset_amount, reset_to_zero
                )
                spike[n] = one if fired else zero
                total[n] = keep * total[n] + share * before
                if record:
                    kept[n] = before
        start = stop
