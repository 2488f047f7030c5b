"""The base class of a part around a neuron: it delegates everything that it does not change."""

from __future__ import annotations

from torch import Tensor, nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.base import Neuron
from sigprop_snn.neurons.state import S


class Wrapper(Neuron[S]):
    """A neuron made from another one; a subclass overrides only what it changes.

    Args:
        neuron: the inner neuron.

    Attributes:
        neuron: the inner neuron.

    Raises:
        SigpropError: if the inner neuron overrides `step`, which this part would not call, or
            resets itself although this part changes the spikes.
    """

    #: Whether the part changes which spikes occur.
    changes_spikes: bool = False

    def __init__(self, neuron: Neuron) -> None:
        nn.Module.__init__(self)
        part, inner = type(self).__name__, type(neuron).__name__
        if not isinstance(neuron, Neuron):
            raise SigpropError(f"{part} got {neuron!r}; expected a neuron such as LIF()")
        if type(neuron).step is not Neuron.step:
            raise SigpropError(
                f"{part} can't go around {inner}, which overrides `step`; "
                f"expected {inner} around {part}"
            )
        if self.changes_spikes and neuron.resets_itself:
            raise SigpropError(
                f"{part} changes the spikes of {inner}, which resets itself; "
                "expected a neuron of this package"
            )
        self.neuron = neuron
        self.surrogate = neuron.surrogate
        self.reset_mode = neuron.reset_mode
        self.linear = neuron.linear
        self.graded = neuron.graded
        self.resets_itself = neuron.resets_itself
        self.rest = neuron.rest
        self.unit = neuron.unit

    @property
    def threshold(self) -> float | Tensor:
        """The threshold of the inner neuron."""
        return self.neuron.threshold

    @property
    def recurrence(self) -> nn.Module | None:
        """The recurrent synapse of the inner neuron, if it has one."""
        return self.neuron.recurrence

    @property
    def fixed_filter(self) -> bool:
        """Whether the filter of the inner neuron is constant."""
        return self.neuron.fixed_filter

    def initial_state(self, current: Tensor) -> S:
        """Return the inner neuron's state at rest."""
        state: S = self.neuron.initial_state(current)
        return state

    def integrate(self, current: Tensor, state: S) -> S:
        """Return the inner neuron's state after its sub-threshold dynamics."""
        after: S = self.neuron._checked_integrate(current, state)
        return after

    def filter(self, current: Tensor, state: S) -> S:
        """Return the effect of the current alone on the inner neuron."""
        after: S = self.neuron.filter(current, state)
        return after

    def fire(self, voltage: Tensor) -> Tensor:
        """Return the inner neuron's spikes."""
        return self.neuron.fire(voltage)

    def reset(self, state: S, spike: Tensor) -> S:
        """Return the inner neuron's state after its reset."""
        after: S = self.neuron.reset(state, spike)
        return after

    def extra_repr(self) -> str:
        """Return nothing: the inner neuron prints its settings."""
        return ""
