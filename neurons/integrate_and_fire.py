"""The integrate-and-fire neuron without leak."""

from __future__ import annotations

from torch import Tensor

from sigprop_snn.neurons.base import Neuron, State


class IF(Neuron):
    """Integrate-and-fire without leak: U[t] = U[t-1] + I[t] (Lapicque 1907, no leak).

    With "subtract" it fires at the rate of its current over its threshold.

    Args:
        threshold: the membrane voltage above which the neuron fires.
        reset: "subtract", "zero" or "none".
        surrogate: the smooth stand-in for the spike.
    """

    linear = True

    def integrate(self, current: Tensor, state: State) -> State:
        """Add the current."""
        return State(state.voltage + current)
