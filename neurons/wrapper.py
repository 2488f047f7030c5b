"""What a part around a neuron is: it delegates all that it does not change."""

from __future__ import annotations

from torch import Tensor, nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.base import AnyState, Neuron


class Wrapper(Neuron):
    """A neuron made of another one; override only what the part changes.

    Args:
        neuron: the neuron it goes around.

    Raises:
        SigpropError: if that neuron has a step of its own, which this part would pass over, or
            resets by itself where this part changes the spikes.
    """

    #: Whether the part changes which spikes fall.
    changes_spikes: bool = False

    def __init__(self, neuron: Neuron) -> None:
        nn.Module.__init__(self)
        if type(neuron).step is not Neuron.step:
            inner = type(neuron).__name__
            raise SigpropError(
                f"{type(self).__name__} can't go around {inner}, which has a step of its own; "
                f"expected {inner} around {type(self).__name__}"
            )
        if self.changes_spikes and neuron.resets_itself:
            raise SigpropError(
                f"{type(self).__name__} changes the spikes of {type(neuron).__name__}, which "
                "resets by itself; expected a neuron of this package"
            )
        self.neuron = neuron
        self.surrogate = neuron.surrogate
        self.reset_by = neuron.reset_by
        self.linear = neuron.linear
        self.fixed_filter = neuron.fixed_filter
        self.resets_itself = neuron.resets_itself
        self.rest = neuron.rest
        self.unit = neuron.unit

    @property
    def threshold(self) -> float | Tensor:
        """The membrane voltage above which the neuron fires."""
        return self.neuron.threshold

    @property
    def recurrence(self) -> nn.Module | None:
        """The recurrent synapse of the neuron inside, or none."""
        return self.neuron.recurrence

    def initial_state(self, current: Tensor) -> AnyState:
        """Return the neuron's state at rest."""
        return self.neuron.initial_state(current)

    def integrate(self, current: Tensor, state: AnyState) -> AnyState:
        """Return the neuron's state after one step."""
        return self.neuron.integrate(current, state)

    def filter(self, current: Tensor, state: AnyState) -> AnyState:
        """Return what the current alone does to the neuron's state."""
        return self.neuron.filter(current, state)

    def fire(self, voltage: Tensor) -> Tensor:
        """Return the neuron's spikes."""
        return self.neuron.fire(voltage)

    def reset(self, state: AnyState, spike: Tensor) -> AnyState:
        """Return the neuron's state after its spikes."""
        return self.neuron.reset(state, spike)

    def extra_repr(self) -> str:
        """Return nothing: the neuron inside prints its settings."""
        return ""
