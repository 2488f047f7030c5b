"""The quadratic integrate-and-fire neuron."""

from __future__ import annotations

import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.base import Neuron, State, drop_to, positive
from sigprop_snn.surrogates import Surrogate


class QIF(Neuron):
    """Quadratic integrate-and-fire: tau dU/dt = a (U - rest) (U - critical) + I, by Euler's step.

    Above `critical` the voltage runs away by itself; at `threshold`, the spike cutoff, it is set
    to `reset_voltage` (Latham et al. 2000; Gerstner et al. 2014, eq. 5.16). Voltages have no unit
    here, times any. Strong inhibition makes Euler's step overshoot: put `VoltageFloor` around it
    where the current may fall far below zero.

    Args:
        tau: time constant.
        dt: length of one step, in the unit of `tau`.
        gain: a, the strength of the square.
        rest: voltage at rest.
        critical: voltage from which it runs away.
        threshold: spike cutoff.
        reset_voltage: voltage after a spike.
        surrogate: the smooth stand-in for the spike.

    Raises:
        SigpropError: if tau, dt or the gain is not positive, or rest, critical and threshold do
            not rise in this order, or the reset is not below the threshold.
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
        positive(tau=tau, dt=dt, gain=gain)
        if not (rest <= critical < threshold and reset_voltage < threshold):
            raise SigpropError(
                f"QIF got rest {rest}, critical {critical}, threshold {threshold} and "
                f"reset_voltage {reset_voltage}; expected rest <= critical < threshold and the "
                "reset below the threshold"
            )
        self.tau = tau
        self.dt = dt
        self.gain = gain
        self.rest = rest
        self.critical = critical
        self.reset_voltage = reset_voltage

    def initial_state(self, current: Tensor) -> State:
        """Return the state at rest."""
        return State(torch.full_like(current, self.rest))

    def integrate(self, current: Tensor, state: State) -> State:
        """Take one Euler step."""
        voltage = state.voltage
        pull = self.gain * (voltage - self.rest) * (voltage - self.critical)
        return State(voltage + (self.dt / self.tau) * (pull + current))

    def reset(self, state: State, spike: Tensor) -> State:
        """Set the voltage of those that fired to the reset voltage."""
        return State(drop_to(state.voltage, spike, self.reset_voltage))

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return (
            f"tau={self.tau}, dt={self.dt}, gain={self.gain}, rest={self.rest}, "
            f"critical={self.critical}, threshold={self.threshold}, "
            f"reset_voltage={self.reset_voltage}, surrogate={self.surrogate}"
        )
