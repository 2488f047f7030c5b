"""The leaky integrator: a membrane that never fires, for readouts."""

from __future__ import annotations

import torch
from torch import Tensor

from sigprop_snn.neurons.base import Neuron, State, share
from sigprop_snn.surrogates import Surrogate


class LeakyIntegrator(Neuron):
    """Leaky integrator for readouts: U[t] = beta U[t-1] + I[t], no spike and no reset.

    Args:
        beta: the share of the voltage that is left after one step, in [0, 1].
        surrogate: the smooth function a rule puts on the voltage; spikes there are none.

    Raises:
        SigpropError: if beta lies outside [0, 1].
    """

    linear = True

    def __init__(self, beta: float = 0.9, surrogate: Surrogate | None = None) -> None:
        super().__init__(reset="none", surrogate=surrogate)
        share(type(self).__name__, beta=beta)
        self.beta = beta

    def integrate(self, current: Tensor, state: State) -> State:
        """Let the voltage leak and add the current."""
        return State(self.beta * state.voltage + current)

    def fire(self, voltage: Tensor) -> Tensor:
        """Return zeros: a leaky integrator never fires."""
        return torch.zeros_like(voltage)

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return f"beta={self.beta}"
