"""Recurrence: the spikes of a layer add to its own current one step later."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sigprop_snn.arguments import axes
from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.adaptive import ALIF
from sigprop_snn.neurons.base import Neuron
from sigprop_snn.neurons.current_based import CurrentLIF
from sigprop_snn.neurons.lif import LIF
from sigprop_snn.neurons.module_kinds import WEIGHTED
from sigprop_snn.neurons.state import NeuronState
from sigprop_snn.neurons.wrapper import Wrapper
from sigprop_snn.surrogates import Surrogate

# A square weight of this side takes 1 GiB in float32.
_MAX_ALL_TO_ALL = 16_384


class RecurrentState(NamedTuple):
    """The state of a recurrent layer.

    Attributes:
        inner: the state of the inner neuron.
        last_spike: the layer's spikes of the last step, `[B, ...]`.
    """

    inner: NeuronState
    last_spike: Tensor

    @property
    def voltage(self) -> Tensor:
        """The membrane voltage after the reset, `[B, ...]`."""
        return self.inner.voltage


class AllToAll(nn.Linear):
    """A weight from each neuron of a layer to each neuron of the layer, without bias.

    Args:
        features: shape of the layer, without the batch.

    Raises:
        SigpropError: if the layer is too large for a square weight.
    """

    def __init__(self, features: tuple[int, ...]) -> None:
        features = axes("features of AllToAll", features)
        count = math.prod(features)
        if not 1 <= count <= _MAX_ALL_TO_ALL:
            raise SigpropError(
                f"all-to-all recurrence over a layer of shape {list(features)} has {count:,} "
                f"neurons; expected 1 to {_MAX_ALL_TO_ALL:,} (a convolution or OneToOne for more)"
            )
        super().__init__(count, count, bias=False)

    def forward(self, spike: Tensor) -> Tensor:
        """Return the current for the spikes `[B, ...]`, in their shape."""
        return F.linear(spike.flatten(1), self.weight.to(spike)).view_as(spike)


class OneToOne(nn.Module):
    """A weight from each neuron of a layer to itself.

    Args:
        features: shape of the layer, without the batch.
    """

    def __init__(self, features: tuple[int, ...]) -> None:
        super().__init__()
        features = axes("features of OneToOne", features)
        self.weight = nn.Parameter(torch.empty(features).uniform_(-0.5, 0.5))

    def forward(self, spike: Tensor) -> Tensor:
        """Return the current for the spikes `[B, ...]`."""
        return self.weight.to(spike) * spike


# The closed form passes a mean over time through the recurrence, so it must be affine.
_AFFINE = (*WEIGHTED, OneToOne)


class Recurrent(Wrapper[RecurrentState]):
    """Any neuron with recurrence: its current is I[t] + V S[t-1], where S are the layer's spikes.

    Given the spikes, the voltage is a linear filter of that current. The recurrent weights then
    have the closed form of the feed-forward weights, over the layer's spikes delayed by one step.
    This needs an affine recurrence; with any other module `linear` is False.

    Args:
        neuron: the neuron model.
        recurrence: the synapse from spikes `[B, ...]` to a current of the same shape: `AllToAll`,
            `OneToOne`, a convolution, or any module.

    Raises:
        SigpropError: if the neuron is recurrent already, or the recurrence is no module.
    """

    def __init__(self, neuron: Neuron, recurrence: nn.Module) -> None:
        super().__init__(neuron)
        if neuron.recurrence is not None:
            raise SigpropError(
                f"Recurrent got {type(neuron).__name__}, which is recurrent already; expected a "
                "neuron without recurrence"
            )
        if not isinstance(recurrence, nn.Module):
            raise SigpropError(
                f"recurrence of Recurrent is {recurrence!r}; expected a module such as AllToAll"
            )
        self.synapse = recurrence
        self.linear = neuron.linear and isinstance(recurrence, _AFFINE)

    @property
    def recurrence(self) -> nn.Module:
        """The synapse from the layer's last spikes into its current."""
        return self.synapse

    def initial_state(self, current: Tensor) -> RecurrentState:
        """Return the state at rest, without a last spike."""
        return RecurrentState(self.neuron.initial_state(current), torch.zeros_like(current))

    def integrate(self, current: Tensor, state: RecurrentState) -> RecurrentState:
        """Add the recurrent current, and integrate the inner neuron."""
        current = current + self.synapse(state.last_spike)
        return state._replace(inner=self.neuron._checked_integrate(current, state.inner))

    def filter(self, current: Tensor, state: RecurrentState) -> RecurrentState:
        """Return the effect of the current alone on the inner neuron."""
        return state._replace(inner=self.neuron.filter(current, state.inner))

    def reset(self, state: RecurrentState, spike: Tensor) -> RecurrentState:
        """Reset the inner neuron, and keep the spikes for the next step."""
        return RecurrentState(self.neuron.reset(state.inner, spike), spike)


def recurrent_lif(features: tuple[int, ...], *, surrogate: Surrogate | None = None) -> Recurrent:
    """LIF with all-to-all recurrence: each spike drives the whole layer one step later."""
    return Recurrent(LIF(surrogate=surrogate), AllToAll(features))


def recurrent_lif_one_to_one(
    features: tuple[int, ...], *, surrogate: Surrogate | None = None
) -> Recurrent:
    """LIF with one-to-one recurrence: each spike drives its own neuron one step later."""
    return Recurrent(LIF(surrogate=surrogate), OneToOne(features))


def recurrent_current_lif(
    features: tuple[int, ...], *, surrogate: Surrogate | None = None
) -> Recurrent:
    """Second-order current-based LIF (CuBa) with all-to-all recurrence."""
    return Recurrent(CurrentLIF(surrogate=surrogate), AllToAll(features))


def recurrent_current_lif_one_to_one(
    features: tuple[int, ...], *, surrogate: Surrogate | None = None
) -> Recurrent:
    """Second-order current-based LIF (CuBa) with one-to-one recurrence."""
    return Recurrent(CurrentLIF(surrogate=surrogate), OneToOne(features))


def recurrent_alif(features: tuple[int, ...], *, surrogate: Surrogate | None = None) -> Recurrent:
    """Adaptive-threshold LIF with all-to-all recurrence (LSNN, Bellec et al. 2018)."""
    return Recurrent(ALIF(surrogate=surrogate), AllToAll(features))
