"""The leaky integrate-and-fire neuron with an adaptive threshold."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.base import Neuron, Reset, share
from sigprop_snn.surrogates import Surrogate


class AdaptiveState(NamedTuple):
    """What an adaptive neuron carries.

    Attributes:
        voltage: the membrane voltage less the adaptation, after the reset, `[B, ...]`.
        adaptation: how far the threshold stands raised, `[B, ...]`.
    """

    voltage: Tensor
    adaptation: Tensor


class ALIF(Neuron):
    """LIF with adaptive threshold: every spike raises it, and it decays (Bellec et al. 2018).

    U[t] = beta U[t-1] + I[t], a spike where U[t] > threshold + a[t], a[t+1] = rho a[t] + jump S[t].
    The voltage shown to rules and plots is U - a, compared with the constant threshold: the same
    spikes, and nothing else has to know. A reset takes the constant threshold off U, as in
    Bellec et al. 2020.

    Args:
        beta: the share of the voltage that is left after one step, in [0, 1].
        rho: the share of the adaptation that is left after one step, in [0, 1].
        jump: how far a spike raises the threshold, in units of voltage.
        threshold: the threshold without adaptation.
        reset: "subtract", "zero" or "none", of U.
        surrogate: the smooth stand-in for the spike.

    Raises:
        SigpropError: if beta or rho lies outside [0, 1], or the jump is not finite.
    """

    linear = True

    def __init__(
        self,
        beta: float = 0.9,
        rho: float = 0.97,
        jump: float = 0.2,
        threshold: float = 1.0,
        reset: Reset = "subtract",
        surrogate: Surrogate | None = None,
    ) -> None:
        super().__init__(threshold, reset, surrogate)
        share(type(self).__name__, beta=beta, rho=rho)
        if not math.isfinite(jump):
            raise SigpropError(f"jump of ALIF is {jump}; expected a finite number")
        self.beta = beta
        self.rho = rho
        self.jump = jump

    def initial_state(self, current: Tensor) -> AdaptiveState:
        """Return the state at rest."""
        return AdaptiveState(torch.zeros_like(current), torch.zeros_like(current))

    def integrate(self, current: Tensor, state: AdaptiveState) -> AdaptiveState:
        """Let the membrane leak and add the current; the adaptation stands still in between."""
        membrane = self.beta * (state.voltage + state.adaptation) + current
        return AdaptiveState(membrane - state.adaptation, state.adaptation)

    def reset(self, state: AdaptiveState, spike: Tensor) -> AdaptiveState:
        """Reset the membrane, and set the adaptation that the next step meets."""
        membrane = state._replace(voltage=state.voltage + state.adaptation)
        membrane = super().reset(membrane, spike).voltage
        adaptation = self.rho * state.adaptation + self.jump * spike
        return AdaptiveState(membrane - adaptation, adaptation)

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return f"beta={self.beta}, rho={self.rho}, jump={self.jump}, {super().extra_repr()}"
