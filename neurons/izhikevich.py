"""Izhikevich's simple model of spiking neurons."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sigprop_snn.neurons.base import Neuron, reset_to
from sigprop_snn.neurons.checks import check_below, check_number, check_positive
from sigprop_snn.surrogates import Surrogate


class IzhikevichState(NamedTuple):
    """The state of an Izhikevich neuron.

    Attributes:
        voltage: the membrane voltage v after the reset, `[B, ...]`, in mV.
        recovery: the recovery variable u, `[B, ...]`.
    """

    voltage: Tensor
    recovery: Tensor


class Izhikevich(Neuron[IzhikevichState]):
    """Izhikevich's simple model (2003): one square and one recovery variable, in mV and ms.

    dv/dt = 0.04 v^2 + 5 v + 140 - u + I, du/dt = a (b v - u); above 30 mV v is set to c and u
    grows by d (eqs. 1 to 3). One Euler step per time step. The defaults are a regular spiking
    cell; (c, d) = (-55, 4) is intrinsically bursting, (-50, 2) chattering, and (a, d) = (0.1, 2)
    fast spiking.

    Args:
        a: rate of recovery of u, in 1/ms.
        b: sensitivity of u to v.
        c: voltage after a spike, in mV.
        d: increase of u by a spike.
        threshold: spike cutoff, in mV.
        dt: length of one step, in ms.
        rest: initial voltage, in mV.
        current_scale: the model's I for an input current of 1.
        surrogate: the surrogate of the spike; `FastSigmoid()` if not given.

    Raises:
        SigpropError: if dt or the current's scale is not positive, or c or rest is not below the
            threshold, or a number is not finite.
    """

    def __init__(
        self,
        a: float = 0.02,
        b: float = 0.2,
        c: float = -65.0,
        d: float = 8.0,
        threshold: float = 30.0,
        dt: float = 0.5,
        rest: float = -65.0,
        current_scale: float = 1.0,
        surrogate: Surrogate | None = None,
    ) -> None:
        super().__init__(threshold, "none", surrogate)
        self.a = check_number(self, "a", a)
        self.b = check_number(self, "b", b)
        self.c = check_below(self, "c", c, self._threshold)
        self.d = check_number(self, "d", d)
        self.dt = check_positive(self, "dt", dt)
        self.rest = check_below(self, "rest", rest, self._threshold)
        self.current_scale = check_positive(self, "current_scale", current_scale)
        self.unit = self._threshold - self.rest

    def initial_state(self, current: Tensor) -> IzhikevichState:
        """Return the published initial state: v at rest, u = b v."""
        rest = torch.full_like(current, self.rest)
        return IzhikevichState(rest, self.b * rest)

    def integrate(self, current: Tensor, state: IzhikevichState) -> IzhikevichState:
        """Take one Euler step of v and of u."""
        v, u = state
        rise = (0.04 * v + 5.0) * v + 140.0 - u + self.current_scale * current
        return IzhikevichState(v + self.dt * rise, u + (self.dt * self.a) * (self.b * v - u))

    def reset(self, state: IzhikevichState, spike: Tensor) -> IzhikevichState:
        """Set v to c and add d to u where the neuron fired."""
        return IzhikevichState(
            reset_to(state.voltage, spike, self.c), state.recovery + self.d * spike
        )

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return (
            f"a={self.a}, b={self.b}, c={self.c}, d={self.d}, threshold={self.threshold}, "
            f"dt={self.dt}, rest={self.rest}, current_scale={self.current_scale}, "
            f"surrogate={self.surrogate}"
        )
