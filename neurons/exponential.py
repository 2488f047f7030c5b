"""The exponential integrate-and-fire neuron, alone and with adaptation (AdEx)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.base import Neuron, State, drop_to, positive
from sigprop_snn.surrogates import Surrogate


class EIF(Neuron):
    """Exponential integrate-and-fire: tau dU/dt = rest - U + D exp((U - rheobase) / D) + I.

    One Euler step per time step. `threshold` is the spike cutoff, where the voltage is set to
    `reset_voltage` (Fourcaud-Trocme et al. 2003). Voltages have no unit here, times any.

    Args:
        tau: membrane time constant.
        dt: length of one step, in the unit of `tau`.
        slope: D, the slope factor of the exponential, in units of voltage.
        rheobase: voltage around which the exponential takes over.
        rest: voltage at rest.
        threshold: spike cutoff.
        reset_voltage: voltage after a spike.
        surrogate: the smooth stand-in for the spike.

    Raises:
        SigpropError: if tau, dt or the slope is not positive, or the reset is not below the
            threshold.
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
        positive(tau=tau, dt=dt, slope=slope)
        _below("EIF", reset_voltage, threshold)
        self.tau = tau
        self.dt = dt
        self.slope = slope
        self.rheobase = rheobase
        self.rest = rest
        self.reset_voltage = reset_voltage

    def initial_state(self, current: Tensor) -> State:
        """Return the state at rest."""
        return State(torch.full_like(current, self.rest))

    def integrate(self, current: Tensor, state: State) -> State:
        """Take one Euler step."""
        voltage = state.voltage
        upstroke = self.slope * _growth(voltage, self._threshold, self.rheobase, self.slope)
        pull = self.rest - voltage + upstroke + current
        return State(voltage + (self.dt / self.tau) * pull)

    def reset(self, state: State, spike: Tensor) -> State:
        """Set the voltage of those that fired to the reset voltage."""
        return State(drop_to(state.voltage, spike, self.reset_voltage))

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return (
            f"tau={self.tau}, dt={self.dt}, slope={self.slope}, rheobase={self.rheobase}, "
            f"rest={self.rest}, threshold={self.threshold}, "
            f"reset_voltage={self.reset_voltage}, surrogate={self.surrogate}"
        )


class AdExState(NamedTuple):
    """What an AdEx neuron carries.

    Attributes:
        voltage: the membrane voltage after the reset, `[B, ...]`, in mV.
        adaptation: the adaptation current w, `[B, ...]`, in pA.
    """

    voltage: Tensor
    adaptation: Tensor


class AdEx(Neuron):
    """Adaptive exponential integrate-and-fire (AdEx, Brette and Gerstner 2005), in mV, ms and pA.

    C dV/dt = -g (V - rest) + g D exp((V - rheobase) / D) - w + I and
    tau_w dw/dt = a (V - rest) - w; at the spike cutoff V is set to `reset_voltage` and w grows by
    b. The values given are theirs, of a regular spiking cell.
    One Euler step per time step.

    Args:
        capacitance: C, in pF.
        leak: g, in nS.
        rest: the leak's reversal voltage, in mV.
        rheobase: their threshold V_T, in mV.
        slope: D, their slope factor, in mV.
        tau_w: time constant of the adaptation, in ms.
        a: adaptation below the threshold, in nS.
        b: adaptation by a spike, in pA.
        reset_voltage: voltage after a spike, in mV.
        threshold: spike cutoff, in mV; a few slope factors above `rheobase`.
        dt: length of one step, in ms.
        current_scale: pA for an input current of 1.
        surrogate: the smooth stand-in for the spike.

    Raises:
        SigpropError: if a quantity that must be positive is not, or the reset is not below the
            threshold.
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
        positive(
            capacitance=capacitance,
            leak=leak,
            slope=slope,
            tau_w=tau_w,
            dt=dt,
            current_scale=current_scale,
        )
        _below("AdEx", reset_voltage, threshold)
        _below("AdEx", rest, threshold, "rest")
        self.capacitance = capacitance
        self.leak = leak
        self.rest = rest
        self.rheobase = rheobase
        self.slope = slope
        self.tau_w = tau_w
        self.a = a
        self.b = b
        self.reset_voltage = reset_voltage
        self.dt = dt
        self.current_scale = current_scale
        self.unit = threshold - rest

    def initial_state(self, current: Tensor) -> AdExState:
        """Return the state at rest."""
        return AdExState(torch.full_like(current, self.rest), torch.zeros_like(current))

    def integrate(self, current: Tensor, state: AdExState) -> AdExState:
        """Take one Euler step of the voltage and of the adaptation."""
        voltage, adaptation = state
        growth = _growth(voltage, self._threshold, self.rheobase, self.slope)
        inward = self.leak * (self.rest - voltage + self.slope * growth)
        inward = inward - adaptation + self.current_scale * current
        drift = self.a * (voltage - self.rest) - adaptation
        return AdExState(
            voltage + (self.dt / self.capacitance) * inward,
            adaptation + (self.dt / self.tau_w) * drift,
        )

    def reset(self, state: AdExState, spike: Tensor) -> AdExState:
        """Set the voltage of those that fired to the reset voltage, and let them adapt."""
        voltage = drop_to(state.voltage, spike, self.reset_voltage)
        return AdExState(voltage, state.adaptation + self.b * spike)

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return (
            f"capacitance={self.capacitance}, leak={self.leak}, rest={self.rest}, "
            f"rheobase={self.rheobase}, slope={self.slope}, tau_w={self.tau_w}, a={self.a}, "
            f"b={self.b}, reset_voltage={self.reset_voltage}, threshold={self.threshold}, "
            f"dt={self.dt}, current_scale={self.current_scale}, surrogate={self.surrogate}"
        )


def _growth(voltage: Tensor, cutoff: float, rheobase: float, slope: float) -> Tensor:
    """Return exp((U - rheobase) / slope), held at the cutoff: escape noise may pass beyond it."""
    return torch.exp((voltage.clamp(max=cutoff) - rheobase) / slope)


def _below(model: str, value: float, threshold: float, name: str = "reset_voltage") -> None:
    if not value < threshold:
        raise SigpropError(
            f"{name} of {model} is {value}; expected a voltage below the threshold {threshold}"
        )
