"""The exponential integrate-and-fire neuron, without and with adaptation (AdEx)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sigprop_snn.neurons.base import Neuron, reset_to
from sigprop_snn.neurons.checks import check_below, check_number, check_positive
from sigprop_snn.neurons.state import State
from sigprop_snn.surrogates import Surrogate


class EIF(Neuron[State]):
    """Exponential integrate-and-fire: tau dU/dt = rest - U + D exp((U - rheobase) / D) + I.

    One Euler step per time step. Above `threshold`, the spike cutoff, the voltage is set to
    `reset_voltage` (Fourcaud-Trocme et al. 2003). Voltages have no unit.

    Args:
        tau: membrane time constant.
        dt: length of one step, in the unit of `tau`.
        slope: D, the slope factor of the exponential, in units of voltage.
        rheobase: voltage above which the exponential dominates.
        rest: voltage at rest.
        threshold: spike cutoff.
        reset_voltage: voltage after a spike.
        surrogate: the surrogate of the spike; `FastSigmoid()` if not given.

    Raises:
        SigpropError: if tau, dt or the slope is not positive, or the reset voltage is not below
            the threshold.
    """

    def __init__(
        self,
        tau: float = 2.0,
        dt: float = 1.0,
        slope: float = 0.15,
        rheobase: float = 0.6,
        rest: float = 0.0,
        threshold: float = 1.0,
        reset_voltage: float = 0.0,
        surrogate: Surrogate | None = None,
    ) -> None:
        super().__init__(threshold, "none", surrogate)
        self.tau = check_positive(self, "tau", tau)
        self.dt = check_positive(self, "dt", dt)
        self.slope = check_positive(self, "slope", slope)
        self.rheobase = check_number(self, "rheobase", rheobase)
        self.rest = check_number(self, "rest", rest)
        self.reset_voltage = check_below(self, "reset_voltage", reset_voltage, self._threshold)

    def initial_state(self, current: Tensor) -> State:
        """Return the state at rest."""
        return State(torch.full_like(current, self.rest))

    def integrate(self, current: Tensor, state: State) -> State:
        """Take one Euler step."""
        voltage = state.voltage
        growth = self.slope * _exponential(voltage, self._threshold, self.rheobase, self.slope)
        drift = self.rest - voltage + growth + current
        return State(voltage + (self.dt / self.tau) * drift)

    def reset(self, state: State, spike: Tensor) -> State:
        """Set the voltage to the reset voltage where the neuron fired."""
        return State(reset_to(state.voltage, spike, self.reset_voltage))

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return (
            f"tau={self.tau}, dt={self.dt}, slope={self.slope}, rheobase={self.rheobase}, "
            f"rest={self.rest}, threshold={self.threshold}, "
            f"reset_voltage={self.reset_voltage}, surrogate={self.surrogate}"
        )


class AdExState(NamedTuple):
    """The state of an AdEx neuron.

    Attributes:
        voltage: the membrane voltage after the reset, `[B, ...]`, in mV.
        adaptation: the adaptation current w, `[B, ...]`, in pA.
    """

    voltage: Tensor
    adaptation: Tensor


class AdEx(Neuron[AdExState]):
    """Adaptive exponential integrate-and-fire (AdEx, Brette and Gerstner 2005), in mV, ms and pA.

    C dV/dt = -g (V - rest) + g D exp((V - rheobase) / D) - w + I and
    tau_w dw/dt = a (V - rest) - w. At the spike cutoff V is set to `reset_voltage` and w grows by
    b. The defaults are the paper's, of a regular spiking cell. One Euler step per time step.

    Args:
        capacitance: C, in pF.
        leak: g, in nS.
        rest: the leak's reversal voltage, in mV.
        rheobase: the paper's threshold V_T, in mV.
        slope: D, the paper's slope factor, in mV.
        tau_w: time constant of the adaptation, in ms.
        a: adaptation below the threshold, in nS.
        b: adaptation by a spike, in pA.
        reset_voltage: voltage after a spike, in mV.
        threshold: spike cutoff, in mV; a few slope factors above `rheobase`.
        dt: length of one step, in ms.
        current_scale: pA for an input current of 1.
        surrogate: the surrogate of the spike; `FastSigmoid()` if not given.

    Raises:
        SigpropError: if a quantity that must be positive is not, or rest or the reset voltage is
            not below the threshold.
    """

    def __init__(
        self,
        capacitance: float = 281.0,
        leak: float = 30.0,
        rest: float = -70.6,
        rheobase: float = -50.4,
        slope: float = 2.0,
        tau_w: float = 144.0,
        a: float = 4.0,
        b: float = 80.5,
        reset_voltage: float = -70.6,
        threshold: float = -40.4,
        dt: float = 0.1,
        current_scale: float = 1.0,
        surrogate: Surrogate | None = None,
    ) -> None:
        super().__init__(threshold, "none", surrogate)
        self.capacitance = check_positive(self, "capacitance", capacitance)
        self.leak = check_positive(self, "leak", leak)
        self.rest = check_below(self, "rest", rest, self._threshold)
        self.rheobase = check_number(self, "rheobase", rheobase)
        self.slope = check_positive(self, "slope", slope)
        self.tau_w = check_positive(self, "tau_w", tau_w)
        self.a = check_number(self, "a", a)
        self.b = check_number(self, "b", b)
        self.reset_voltage = check_below(self, "reset_voltage", reset_voltage, self._threshold)
        self.dt = check_positive(self, "dt", dt)
        self.current_scale = check_positive(self, "current_scale", current_scale)
        self.unit = self._threshold - self.rest

    def initial_state(self, current: Tensor) -> AdExState:
        """Return the state at rest."""
        return AdExState(torch.full_like(current, self.rest), torch.zeros_like(current))

    def integrate(self, current: Tensor, state: AdExState) -> AdExState:
        """Take one Euler step of the voltage and of the adaptation."""
        voltage, adaptation = state
        growth = _exponential(voltage, self._threshold, self.rheobase, self.slope)
        inward = self.leak * (self.rest - voltage + self.slope * growth)
        inward = inward - adaptation + self.current_scale * current
        drift = self.a * (voltage - self.rest) - adaptation
        return AdExState(
            voltage + (self.dt / self.capacitance) * inward,
            adaptation + (self.dt / self.tau_w) * drift,
        )

    def reset(self, state: AdExState, spike: Tensor) -> AdExState:
        """Set the voltage to the reset voltage and add b to w where the neuron fired."""
        voltage = reset_to(state.voltage, spike, self.reset_voltage)
        return AdExState(voltage, state.adaptation + self.b * spike)

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return (
            f"capacitance={self.capacitance}, leak={self.leak}, rest={self.rest}, "
            f"rheobase={self.rheobase}, slope={self.slope}, tau_w={self.tau_w}, a={self.a}, "
            f"b={self.b}, reset_voltage={self.reset_voltage}, threshold={self.threshold}, "
            f"dt={self.dt}, current_scale={self.current_scale}, surrogate={self.surrogate}"
        )


def _exponential(voltage: Tensor, cutoff: float, rheobase: float, slope: float) -> Tensor:
    """Return exp((U - rheobase) / slope), with U at most the cutoff.

    With escape noise the voltage can pass the cutoff without a spike, and the exponential would
    overflow.
    """
    return torch.exp((voltage.clamp(max=cutoff) - rheobase) / slope)
