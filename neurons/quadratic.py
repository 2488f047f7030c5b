"""The quadratic integrate-and-fire neuron."""

from __future__ import annotations

import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.base import Neuron, reset_to
from sigprop_snn.neurons.checks import check_below, check_number, check_positive
from sigprop_snn.neurons.state import State
from sigprop_snn.surrogates import Surrogate


class QIF(Neuron[State]):
    """Quadratic integrate-and-fire: tau dU/dt = a (U - rest) (U - critical) + I, by Euler's step.

    Above `critical` the voltage rises without input; above `threshold`, the spike cutoff, it is
    set to `reset_voltage` (Latham et al. 2000; Gerstner et al. 2014, eq. 5.16). Voltages have no
    unit. Strong inhibition makes Euler's step overshoot: use `VoltageFloor(QIF())` if the current
    can be far below zero.

    Args:
        tau: time constant.
        dt: length of one step, in the unit of `tau`.
        gain: a, the factor of the square.
        rest: voltage at rest.
        critical: voltage above which it rises without input.
        threshold: spike cutoff.
        reset_voltage: voltage after a spike.
        surrogate: the surrogate of the spike; `FastSigmoid()` if not given.

    Raises:
        SigpropError: if tau, dt or the gain is not positive, or not rest <= critical < threshold,
            or the reset voltage is not below the threshold.
    """

    def __init__(
        self,
        tau: float = 2.0,
        dt: float = 1.0,
        gain: float = 1.0,
        rest: float = 0.0,
        critical: float = 0.5,
        threshold: float = 1.0,
        reset_voltage: float = 0.0,
        surrogate: Surrogate | None = None,
    ) -> None:
        super().__init__(threshold, "none", surrogate)
        self.tau = check_positive(self, "tau", tau)
        self.dt = check_positive(self, "dt", dt)
        self.gain = check_positive(self, "gain", gain)
        self.rest = check_number(self, "rest", rest)
        self.critical = check_below(self, "critical", critical, self._threshold)
        self.reset_voltage = check_below(self, "reset_voltage", reset_voltage, self._threshold)
        if self.rest > self.critical:
            raise SigpropError(
                f"rest of QIF is {self.rest}; expected at most critical, {self.critical}"
            )

    def initial_state(self, current: Tensor) -> State:
        """Return the state at rest."""
        return State(torch.full_like(current, self.rest))

    def integrate(self, current: Tensor, state: State) -> State:
        """Take one Euler step."""
        voltage = state.voltage
        drift = self.gain * (voltage - self.rest) * (voltage - self.critical)
        return State(voltage + (self.dt / self.tau) * (drift + current))

    def reset(self, state: State, spike: Tensor) -> State:
        """Set the voltage to the reset voltage where the neuron fired."""
        return State(reset_to(state.voltage, spike, self.reset_voltage))

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return (
            f"tau={self.tau}, dt={self.dt}, gain={self.gain}, rest={self.rest}, "
            f"critical={self.critical}, threshold={self.threshold}, "
            f"reset_voltage={self.reset_voltage}, surrogate={self.surrogate}"
        )
