"""The leaky integrator: a membrane that never fires, for readouts."""

from __future__ import annotations

import torch
from torch import Tensor

from sigprop_snn.neurons.base import Neuron
from sigprop_snn.neurons.checks import check_fraction
from sigprop_snn.neurons.state import State
from sigprop_snn.surrogates import Surrogate


class LeakyIntegrator(Neuron[State]):
    """Leaky integrator for readouts: U[t] = beta U[t-1] + I[t], no spike and no reset.

    Args:
        beta: the fraction of the voltage that remains after one step, in [0, 1].
        surrogate: the smooth function that a rule applies to the voltage.

    Raises:
        SigpropError: if beta is not in [0, 1].
    """

    linear = True

    def __init__(self, beta: float = 0.9, surrogate: Surrogate | None = None) -> None:
        super().__init__(reset="none", surrogate=surrogate)
        self.beta = check_fraction(self, "beta", beta)

    def integrate(self, current: Tensor, state: State) -> State:
        """Let the voltage leak and add the current."""
        return State(self.beta * state.voltage + current)

    def fire(self, voltage: Tensor) -> Tensor:
        """Return zeros: a leaky integrator never fires."""
        return torch.zeros_like(voltage)

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return f"beta={self.beta}"
