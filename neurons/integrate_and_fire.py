"""The integrate-and-fire neuron without leak."""

from __future__ import annotations

from torch import Tensor

from sigprop_snn.neurons.base import Neuron
from sigprop_snn.neurons.state import State


class IF(Neuron[State]):
    """Integrate-and-fire without leak: U[t] = U[t-1] + I[t] (Lapicque 1907, no leak).

    With the reset "subtract" its firing rate is the current divided by the threshold.

    Args:
        threshold: the neuron fires when its membrane voltage is above this value.
        reset: "subtract", "zero" or "none".
        surrogate: the surrogate of the spike; `FastSigmoid()` if not given.
    """

    linear = True

    def integrate(self, current: Tensor, state: State) -> State:
        """Add the current."""
        return State(state.voltage + current)
