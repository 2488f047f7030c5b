"""LIF on the CPU: one step, which all kernels share, and a run through given currents.

The step does the same float32 operations in the same order as the eager loop, and numba contracts
no multiplication and addition into one, so spikes and voltages equal the reference to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.neurons.engines.cpu.spikes import PackedSpikes
from sigprop_snn.neurons.engines.cpu.threads import CACHE_LINE, Kernel, jitable, run_kernel
from sigprop_snn.neurons.engines.dense import DenseSpikes
from sigprop_snn.neurons.engines.engine import Run, Scale
from sigprop_snn.neurons.engines.observed import WINDOW
from sigprop_snn.neurons.engines.plain import lif_run
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


# The voltage of a neuron that forgets at once and is never reset is its current.
CURRENTS = LIF(beta=0.0, reset="none")


class Constants(NamedTuple):
    """The numbers of a LIF model, in the order in which `lif_step` takes them.

    Attributes:
        beta: the factor of the voltage.
        gain: the factor of the current.
        threshold: the voltage above which a neuron fires.
        reset_amount: what a spike subtracts, unless it sets the voltage to zero.
        reset_to_zero: whether it does.
    """

    beta: float
    gain: float
    threshold: float
    reset_amount: float
    reset_to_zero: bool

    @classmethod
    def of(cls, neuron: LIF) -> Constants:
        """Return those of a model."""
        subtracts = neuron.reset_mode == "subtract"
        return cls(
            float(neuron.beta),
            float(neuron.current_gain),
            float(neuron.threshold),
            float(neuron.threshold if subtracts else 0.0),
            neuron.reset_mode == "zero",
        )


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
    if state is None:
        state = neuron.initial_state(current.new_empty(shape, dtype=torch.float32))
    spike = torch.empty(steps, *shape)
    voltage = torch.empty(steps if "voltage" in record else 0, *shape)
    last = state.voltage.detach().clone(memory_format=torch.contiguous_format)
    total = torch.zeros(shape)

    def run_rows(first: int, current: Tensor, scale: Scale | None) -> None:
        """Run the rows from `first` on; a current with one step is constant in time."""
        flat = current.float().reshape(len(current), -1).contiguous()
        arguments = (
            flat, *_scale_per_neuron(current[0], scale), spike.flatten(1),
            voltage.flatten(1), last.flatten(), total.flatten(), first * last[0].numel(),
            *Constants.of(neuron),
        )  # fmt: skip
        run_kernel(
            _lif_rows, arguments, flat.shape[1],
            min_chunk=_MIN_CHUNK // steps, chunk_multiple=CACHE_LINE,
        )  # fmt: skip

    run_rows(0, current[:1] if current.stride(0) == 0 else current, scale)
    if contexts is not None:
        run_rows(rows, contexts.detach().to(current).unsqueeze(0), None)
    spikes = DenseSpikes(spike.to(current.dtype))
    return lif_run(spikes, total / steps, last, voltage, record)


def _scale_per_neuron(row: Tensor, scale: Scale | None) -> tuple[Tensor, Tensor]:
    """Return gain and offset of every number in a row or rows of current, flat, float32."""
    gain = torch.ones(()) if scale is None else scale.gain.detach()
    offset = None if scale is None else scale.offset
    offset = torch.zeros(()) if offset is None else offset.detach()
    return (
        gain.float().expand(row.shape).reshape(-1).contiguous(),
        offset.float().expand(row.shape).reshape(-1).contiguous(),
    )


class LayerArrays(NamedTuple):
    """What a layer kernel writes for all rows, of samples and contexts.

    Attributes:
        steps: T.
        patterns: of the spikes, `[N, W, ...]`.
        voltage: before the reset, `[T, N, ...]`; without a step if not recorded.
        state: the voltage after the last reset, and the sum of the voltages before the resets,
            `[2, N, ...]`.
    """

    steps: int
    patterns: Tensor
    voltage: Tensor
    state: Tensor

    @classmethod
    def empty(
        cls, steps: int, rows: int, shape: Sequence[int], record: Sequence[str]
    ) -> LayerArrays:
        """Return room for all rows."""
        patterns = torch.empty(rows, -(-steps // WINDOW), *shape, dtype=torch.uint8)
        voltage = torch.empty(steps if "voltage" in record else 0, rows, *shape)
        return cls(steps, patterns, voltage, torch.empty(2, rows, *shape))

    def finish(self, record: Sequence[str], channel: int = -1) -> Run:
        """Return the run.

        Args:
            record: "spike", "voltage", both or none.
            channel: where the last axis of a row belongs, counted from the end.
        """
        last, mean = self.state[0], self.state[1].div_(self.steps)
        patterns, mean, last, voltage = (
            each.movedim(-1, channel) for each in (self.patterns, mean, last, self.voltage)
        )
        return lif_run(PackedSpikes(patterns, self.steps), mean, last, voltage, record)


@Kernel
def _lif_rows(
    currents: Any, gains: Any, offsets: Any, spikes: Any, voltages: Any,
    last_voltage: Any, voltage_sum: Any, place: int,
    beta: Any, gain: Any, threshold: Any, reset_amount: Any, reset_to_zero: bool,
    first: int, last: int,
) -> None:  # fmt: skip
    """Run the neurons `first` to `last` of `currents`; in all that is written, `place` is added."""
    record = voltages.shape[0] > 0
    zero, one = np.float32(0.0), np.float32(1.0)
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
                entering = factor[n] * current[n] + offset[n]
                before, fired, voltage[n] = lif_step(
                    voltage[n], entering, beta, gain, threshold, reset_amount, reset_to_zero
                )
                spike[n] = one if fired else zero
                total[n] += before
                if record:
                    kept[n] = before
