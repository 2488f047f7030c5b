"""What learning in time keeps of the past of a layer: means and traces, which change in place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.linear_current import LinearCurrent
from sigprop_snn.neurons import Neuron
from sigprop_snn.neurons.engines.engine import InputTrace
from sigprop_snn.neurons.filters import filter_in_place, leak


class Trace:
    """A presynaptic trace and its mean over time; both change in place.

    Args:
        neuron: its filter makes the trace.
        row: one step of the input, `[N, ...]`.

    Attributes:
        mean: the weighted mean of the input so far, `[N, ...]`; the weights sum to 1. Times the
            gain it is the mean trace.
        gain: the mean voltage so far for a constant current of 1.
        newest: the trace and the voltage for a constant current of 1 at each of the newest steps,
            if they are kept.
    """

    def __init__(self, neuron: Neuron, row: Tensor) -> None:
        row = row.contiguous()  # an engine changes the trace in place, as flat rows
        self._neuron = neuron
        self._leak = leak(neuron)
        self._state = neuron.initial_state(row.to(torch.promote_types(row.dtype, torch.float32)))
        self._one = torch.ones(1, dtype=torch.float64)
        self._unit = neuron.initial_state(self._one)
        self._last_unit = 0.0
        self.mean = torch.zeros_like(self._state.voltage)
        self.gain = 0.0
        self.newest: list[tuple[Tensor, float]] = []

    @property
    def shape(self) -> torch.Size:
        """The shape of a row."""
        return self.mean.shape

    @torch.no_grad()
    def add(self, values: Tensor, weight: float, *, keep_steps: bool = False) -> None:
        """Add some steps.

        Args:
            values: the input, `[T, N, ...]`.
            weight: of these steps in the mean.
            keep_steps: whether to keep the trace of every step.
        """
        units = [self._next_unit() for _ in values]
        keep, share = self._next_factors(units, weight)
        self.mean.mul_(keep)
        self.newest = []
        for value, unit in zip(values, units, strict=True):
            self._state = filter_in_place(self._neuron, value, self._state)
            self.mean.add_(self._state.voltage, alpha=share)
            if keep_steps:
                self.newest.append((self._state.voltage.clone(), unit))

    def next_step(self, weight: float) -> InputTrace:
        """Begin the next step; the caller adds its input to the trace.

        Args:
            weight: of this step in the mean.
        """
        keep, share = self._next_factors([self._next_unit()], weight)
        return InputTrace(self._state.voltage.flatten(1), self.mean.flatten(1), keep, share)

    def _next_factors(self, units: list[float], weight: float) -> tuple[float, float]:
        """Update the gain; return the factors of the mean and of each step's trace in it."""
        before, share = (1.0 - weight) * self.gain, weight / len(units)
        self.gain = before + share * math.fsum(units)
        divisor = self.gain or 1.0  # 0 where no current has reached the membrane yet
        return before / divisor, share / divisor

    def _next_unit(self) -> float:
        """Return the voltage of the next step for a constant current of 1."""
        if self._leak is not None:
            self._last_unit = self._leak.beta * self._last_unit + self._leak.gain
            return self._last_unit
        self._unit = self._neuron.filter(self._one, self._unit)
        return float(self._unit.voltage)


@dataclass
class Past:
    """The past of one block.

    Attributes:
        closed: whether the closed form applies.
        steps: number of past steps.
        state: the neuron's state.
        mean: the mean so far of what the rule averages, `[N, ...]`: the membrane voltage, or the
            representation.
        input_trace: trace of the inputs, if the closed form applies.
        recurrent_trace: trace of the layer's previous spikes, if the layer is recurrent.
        spike: the last spikes, `[N, ...]`.
    """

    closed: bool
    steps: int = 0
    state: Any = None
    mean: Tensor | None = None
    input_trace: Trace | None = None
    recurrent_trace: Trace | None = None
    spike: Tensor | None = None

    def count(self, steps: int, window: int | None) -> float:
        """Count the newest steps and return their weight in the means."""
        self.steps += steps
        weight = steps / self.steps
        return weight if window is None else max(weight, min(1.0, steps / window))

    def average(self, newest: Tensor, weight: float) -> Tensor:
        """Take the newest steps into the mean, which changes in place, and return it."""
        with torch.no_grad():
            self.mean = newest.clone() if self.mean is None else self.mean.lerp_(newest, weight)
        return self.mean

    def takes(self, current: LinearCurrent) -> bool:
        """Return whether a current's closed form holds for the rows of the past."""
        return self.input_trace is not None and current.takes(self.input_trace.shape[1:])

    def check_rows(self, name: str, shape: torch.Size) -> None:
        """Check that the input of a step, `[N, ...]`, has the rows of the past.

        Raises:
            SigpropError: if it has others.
        """
        if self.input_trace is not None and shape != self.input_trace.shape:
            raise SigpropError(
                f"{name} got rows of shape {list(shape)} after "
                f"{list(self.input_trace.shape)}; expected the same rows as before, or a reset"
            )
