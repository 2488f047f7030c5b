"""The leaky integrate-and-fire neuron with an adaptive threshold."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sigprop_snn.neurons.base import Neuron, Reset
from sigprop_snn.neurons.checks import check_fraction, check_number
from sigprop_snn.surrogates import Surrogate


class AdaptiveState(NamedTuple):
    """The state of an adaptive neuron.

    Attributes:
        voltage: the membrane voltage minus the adaptation, after the reset, `[B, ...]`.
        adaptation: the increase of the threshold, `[B, ...]`.
    """

    voltage: Tensor
    adaptation: Tensor


class ALIF(Neuron[AdaptiveState]):
    """LIF with adaptive threshold: each spike raises it, then it decays (Bellec et al. 2018).

    U[t] = beta U[t-1] + I[t], a spike where U[t] > threshold + a[t], a[t+1] = rho a[t] + jump S[t].
    The state holds U - a as its voltage. It is compared with the constant threshold, which gives
    the same spikes, so rules and plots need not know the adaptation. A reset subtracts the
    constant threshold from U, as in Bellec et al. 2020.

    Args:
        beta: the fraction of the voltage that remains after one step, in [0, 1].
        rho: the fraction of the adaptation that remains after one step, in [0, 1].
        jump: the increase of the threshold by one spike, in units of voltage.
        threshold: the threshold without adaptation.
        reset: "subtract", "zero" or "none", of U.
        surrogate: the surrogate of the spike; `FastSigmoid()` if not given.

    Raises:
        SigpropError: if beta or rho is not in [0, 1], or the jump is not finite.
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
        self.beta = check_fraction(self, "beta", beta)
        self.rho = check_fraction(self, "rho", rho)
        self.jump = check_number(self, "jump", jump)

    def initial_state(self, current: Tensor) -> AdaptiveState:
        """Return the state at rest."""
        return AdaptiveState(torch.zeros_like(current), torch.zeros_like(current))

    def integrate(self, current: Tensor, state: AdaptiveState) -> AdaptiveState:
        """Let the membrane leak and add the current; `reset` updates the adaptation."""
        membrane = self.beta * (state.voltage + state.adaptation) + current
        return AdaptiveState(membrane - state.adaptation, state.adaptation)

    def reset(self, state: AdaptiveState, spike: Tensor) -> AdaptiveState:
        """Reset the membrane, and compute the adaptation of the next step."""
        membrane = state._replace(voltage=state.voltage + state.adaptation)
        membrane_voltage = super().reset(membrane, spike).voltage
        adaptation = self.rho * state.adaptation + self.jump * spike
        return AdaptiveState(membrane_voltage - adaptation, adaptation)

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return f"beta={self.beta}, rho={self.rho}, jump={self.jump}, {super().extra_repr()}"
