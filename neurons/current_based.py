"""The current-based neuron: a synaptic current before the membrane."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sigprop_snn.neurons.base import Neuron, Reset, share
from sigprop_snn.surrogates import Surrogate


class CurrentState(NamedTuple):
    """What a current-based neuron carries.

    Attributes:
        voltage: the membrane voltage after the reset, `[B, ...]`.
        synaptic: the synaptic current, `[B, ...]`.
    """

    voltage: Tensor
    synaptic: Tensor


class CurrentLIF(Neuron):
    """Second-order current-based LIF (CuBa, Synaptic): a synaptic current drives the membrane.

    J[t] = alpha J[t-1] + I[t], U[t] = beta U[t-1] + J[t]; a spike resets the voltage and leaves
    the synaptic current (Neftci, Mostafa and Zenke 2019). The current acts in the
    step in which it comes, as in snnTorch's Synaptic.

    Args:
        alpha: the share of the synaptic current that is left after one step, in [0, 1].
        beta: the share of the voltage that is left after one step, in [0, 1].
        threshold: the membrane voltage above which the neuron fires.
        reset: "subtract", "zero" or "none".
        surrogate: the smooth stand-in for the spike.

    Raises:
        SigpropError: if alpha or beta lies outside [0, 1].
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
        share(type(self).__name__, alpha=alpha, beta=beta)
        self.alpha = alpha
        self.beta = beta

    def initial_state(self, current: Tensor) -> CurrentState:
        """Return the state at rest."""
        return CurrentState(torch.zeros_like(current), torch.zeros_like(current))

    def integrate(self, current: Tensor, state: CurrentState) -> CurrentState:
        """Let both leak; the current drives the synapse and the synapse the membrane."""
        synaptic = self.alpha * state.synaptic + current
        return CurrentState(self.beta * state.voltage + synaptic, synaptic)

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return f"alpha={self.alpha}, beta={self.beta}, {super().extra_repr()}"
