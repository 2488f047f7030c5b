"""The current-based neuron: a synaptic current drives the membrane."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sigprop_snn.neurons.base import Neuron, Reset
from sigprop_snn.neurons.checks import check_fraction
from sigprop_snn.surrogates import Surrogate


class CurrentState(NamedTuple):
    """The state of a current-based neuron.

    Attributes:
        voltage: the membrane voltage after the reset, `[B, ...]`.
        synaptic: the synaptic current, `[B, ...]`.
    """

    voltage: Tensor
    synaptic: Tensor


class CurrentLIF(Neuron[CurrentState]):
    """Second-order current-based LIF (CuBa, Synaptic): a synaptic current drives the membrane.

    J[t] = alpha J[t-1] + I[t], U[t] = beta U[t-1] + J[t] (Neftci, Mostafa and Zenke 2019). A spike
    resets the voltage, not the synaptic current. The current reaches the membrane in its own step,
    as in snnTorch's Synaptic.

    Args:
        alpha: the fraction of the synaptic current that remains after one step, in [0, 1].
        beta: the fraction of the voltage that remains after one step, in [0, 1].
        threshold: the neuron fires when its membrane voltage is above this value.
        reset: "subtract", "zero" or "none".
        surrogate: the surrogate of the spike; `FastSigmoid()` if not given.

    Raises:
        SigpropError: if alpha or beta is not in [0, 1].
    """

    linear = True

    def __init__(
        self,
        alpha: float = 0.8,
        beta: float = 0.9,
        threshold: float = 1.0,
        reset: Reset = "subtract",
        surrogate: Surrogate | None = None,
    ) -> None:
        super().__init__(threshold, reset, surrogate)
        self.alpha = check_fraction(self, "alpha", alpha)
        self.beta = check_fraction(self, "beta", beta)

    def initial_state(self, current: Tensor) -> CurrentState:
        """Return the state at rest."""
        return CurrentState(torch.zeros_like(current), torch.zeros_like(current))

    def integrate(self, current: Tensor, state: CurrentState) -> CurrentState:
        """Let both leak; add the current to the synaptic one, and that to the voltage."""
        synaptic = self.alpha * state.synaptic + current
        return CurrentState(self.beta * state.voltage + synaptic, synaptic)

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return f"alpha={self.alpha}, beta={self.beta}, {super().extra_repr()}"
