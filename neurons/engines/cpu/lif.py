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

from sigprop_snn.neurons.engines.cpu.threads import CACHE_LINE, Kernel, jitable, run_kernel
from sigprop_snn.neurons.engines.dense import DenseSpikes
from sigprop_snn.neurons.engines.engine import InputTrace, Run, Scale
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
    return torch.tensor([*factors, neuron.threshold, subtracted, neuron.reset_mode == "zero"])


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
        state: where the neurons start, float32, `[B + C, ...]`; at rest if not given.
        contexts: the constant current of the context rows, `[C, ...]`. No scale applies to them.
        scale: what the current goes through on its way in.
        record: "spike", "voltage", both or none.
    """
    current = current.detach()
    steps, rows = current.shape[:2]
    shape = (rows + (0 if contexts is None else len(contexts)), *current.shape[2:])
    start = torch.empty(0) if state is None else state.voltage.detach().contiguous().flatten()
    spike, total, last = torch.empty(steps, *shape), torch.empty(shape), torch.empty(shape)
    voltage = torch.empty(steps if "voltage" in record else 0, *shape)

    constants = constants_of(neuron)

    def run_rows(first: int, current: Tensor, scale: Scale | None) -> None:
        """Run the rows from `first` on; a current with one step is constant in time."""
        flat = current.float().reshape(len(current), -1).contiguous()
        arguments = (
            flat, *_scale_of_row(current.shape[2:], scale), start, spike.flatten(1),
            voltage.flatten(1), last.flatten(), total.flatten(), first * last[0].numel(),
            constants,
        )  # fmt: skip
        run_kernel(
            _lif_rows, arguments, flat.shape[1],
            min_chunk=_MIN_CHUNK // steps, chunk_multiple=CACHE_LINE,
        )  # fmt: skip

    run_rows(0, current[:1] if current.stride(0) == 0 else current, scale)
    if contexts is not None:
        run_rows(rows, contexts.detach().to(current).unsqueeze(0), None)
    spikes = DenseSpikes(spike.to(current.dtype))
    return lif_run(spikes, total.div_(steps) if steps > 1 else total, last, voltage, record)


def advance_lif(
    neuron: LIF, current: Tensor, contexts: Tensor, scale: Scale | None, voltage: Tensor,
    mean: Tensor, weight: float, inputs: Tensor, trace: InputTrace,
) -> Tensor:  # fmt: skip
    """Run LIF for one step in place, and return the spikes; see `Engine.advance`.

    Args:
        neuron: a model that `why_not_lif` does not refuse.
        current: of the rows, `[rows, F]`; float32 and contiguous, as are all others.
        contexts: of the contexts behind them, `[N - rows, F]`.
        scale: what the current of the rows goes through on its way in.
        voltage: as in `Engine.advance`.
        mean: as there.
        weight: as there.
        inputs: as there.
        trace: as there.
    """
    spikes = torch.empty_like(voltage)
    arguments = (
        current, contexts.detach().contiguous(), *_scale_of_row(current.shape[1:], scale),
        voltage, mean, spikes, weight, inputs, *trace, constants_of(neuron),
    )  # fmt: skip
    least = max(1, _MIN_CHUNK // current.shape[1])
    run_kernel(_advance, arguments, len(voltage), min_chunk=least)
    return spikes


def _scale_of_row(shape: torch.Size, scale: Scale | None) -> tuple[Tensor, Tensor]:
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
    currents: Any, gains: Any, offsets: Any, starts: Any, spikes: Any, voltages: Any,
    last_voltage: Any, voltage_sum: Any, place: int, constants: Any, first: int, last: int,
) -> None:  # fmt: skip
    """Run the neurons `first` to `last` of `currents`; in all other arrays, `place` is added.

    Gains and offsets are those of one row. Without `starts`, neurons start at rest.
    """
    beta, gain, threshold, reset_amount, reset_to_zero = constants
    record = voltages.shape[0] > 0
    zero, one = np.float32(0.0), np.float32(1.0)
    kept = voltage_sum[:0]
    width = gains.shape[0]
    start = first
    while start < last:
        column = start % width
        stop = min(start + min(_NEURONS, width - column), last)
        a, b = place + start, place + stop
        voltage, total = last_voltage[a:b], voltage_sum[a:b]
        factor, offset = gains[column:], offsets[column:]
        for n in range(stop - start):
            voltage[n] = starts[a + n] if starts.shape[0] else zero
            total[n] = zero
        for step in range(spikes.shape[0]):
            current = currents[min(step, currents.shape[0] - 1), start:stop]
            spike = spikes[step, a:b]
            if record:
                kept = voltages[step, a:b]
            for n in range(stop - start):
                entering = factor[n] * current[n] + offset[n]
                before, fired, voltage[n] = lif_step(
                    voltage[n], entering, beta, gain, threshold, reset_amount, reset_to_zero
                )
                spike[n] = one if fired else zero
                total[n] += before
                if record:
                    kept[n] = before
        start = stop


@Kernel
def _advance(
    currents: Any, contexts: Any, gains: Any, offsets: Any, voltages: Any, means: Any, spikes: Any,
    weight: Any, inputs: Any, traces: Any, mean_traces: Any, keep: Any, share: Any,
    constants: Any, first: int, last: int,
) -> None:  # fmt: skip
    """Run rows `first` to `last` for one step; the contexts, behind the others, are not scaled."""
    zero, one = np.float32(0.0), np.float32(1.0)
    beta, gain, threshold, reset_amount, reset_to_zero = constants
    rows, width = currents.shape
    ones, zeros = np.ones(width, np.float32), np.zeros(width, np.float32)
    for row in range(first, last):
        inside = row < rows
        current = currents[row] if inside else contexts[row - rows]
        factor, offset = (gains, offsets) if inside else (ones, zeros)
        voltage, mean, spike = voltages[row], means[row], spikes[row]
        for n in range(width):
            entering = factor[n] * current[n] + offset[n]
            before, fired, voltage[n] = lif_step(
                voltage[n], entering, beta, gain, threshold, reset_amount, reset_to_zero
            )
            spike[n] = one if fired else zero
            mean[n] += weight * (before - mean[n])
        if inside:
            given, trace, average = inputs[row], traces[row], mean_traces[row]
            for k in range(len(given)):
                trace[k] = beta * trace[k] + gain * given[k]
                average[k] = keep * average[k] + share * trace[k]
