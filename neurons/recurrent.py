"""Recurrence: a layer whose own spikes of the step before join its current."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.adaptive import ALIF
from sigprop_snn.neurons.base import AnyState, Neuron
from sigprop_snn.neurons.current_based import CurrentLIF
from sigprop_snn.neurons.lif import LIF
from sigprop_snn.neurons.wrapper import Wrapper
from sigprop_snn.surrogates import Surrogate

# A square weight of this side takes 1 GiB in float32.
_MOST_ALL_TO_ALL = 16_384


class RecurrentState(NamedTuple):
    """What a recurrent layer carries.

    Attributes:
        inner: the neuron's own state.
        last_spike: the layer's spikes of the step before, `[B, ...]`.
    """

    inner: AnyState
    last_spike: Tensor

    @property
    def voltage(self) -> Tensor:
        """The membrane voltage after the reset, `[B, ...]`."""
        voltage: Tensor = self.inner.voltage
        return voltage


class AllToAll(nn.Linear):
    """A weight from every neuron of a layer to every other and itself, without bias.

    Args:
        features: shape of the layer, without the batch.

    Raises:
        SigpropError: if the layer is too large for a square weight.
    """

    def __init__(self, features: tuple[int, ...]) -> None:
        count = math.prod(features)
        if not 1 <= count <= _MOST_ALL_TO_ALL:
            raise SigpropError(
                f"all-to-all recurrence over a layer of shape {list(features)} has {count:,} "
                f"neurons; expected 1 to {_MOST_ALL_TO_ALL:,} (a convolution or OneToOne for more)"
            )
        super().__init__(count, count, bias=False)

    def forward(self, spike: Tensor) -> Tensor:
        """Return the current for the spikes `[B, ...]`, in their shape."""
        return F.linear(spike.flatten(1), self.weight.to(spike)).view_as(spike)


class OneToOne(nn.Module):
    """A weight from every neuron of a layer to itself.

    Args:
        features: shape of the layer, without the batch.
    """

    def __init__(self, features: tuple[int, ...]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(features).uniform_(-0.5, 0.5))

    def forward(self, spike: Tensor) -> Tensor:
        """Return the current for the spikes `[B, ...]`."""
        return self.weight.to(spike) * spike


# What the closed form may pass a mean over time through.
_AFFINE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, OneToOne)


class Recurrent(Wrapper):
    """Any neuron with recurrence: I[t] + V S[t-1] drives it, S being the layer's own spikes.

    Given the spikes the voltage stays a linear filter of that sum, so the recurrent weights have
    the closed form of the feed-forward ones, over the layer's own spikes delayed by one step. A
    recurrence that is no affine module takes it from both: `linear` is then false.

    Args:
        neuron: the neuron model.
        recurrence: the synapse from spikes `[B, ...]` to a current of the same shape: `AllToAll`,
            `OneToOne`, a convolution, or any module.

    Raises:
        SigpropError: if the neuron is recurrent already.
    """

    def __init__(self, neuron: Neuron, recurrence: nn.Module) -> None:
        super().__init__(neuron)
        if neuron.recurrence is not None:
            raise SigpropError(
                f"Recurrent got {type(neuron).__name__}, which is recurrent already; expected a "
                "neuron without recurrence"
            )
        self.synapse = recurrence
        self.linear = neuron.linear and isinstance(recurrence, _AFFINE)

    @property
    def recurrence(self) -> nn.Module:
        """The synapse from the layer's own spikes of the step before into its current."""
        return self.synapse

    def initial_state(self, current: Tensor) -> RecurrentState:
        """Return the state at rest, with no spike behind it."""
        return RecurrentState(self.neuron.initial_state(current), torch.zeros_like(current))

    def integrate(self, current: Tensor, state: RecurrentState) -> RecurrentState:
        """Add what the last spikes bring to the current, and let the neuron integrate it."""
        current = self._joined(current, state)
        return state._replace(inner=self.neuron.integrate(current, state.inner))

    def filter(self, current: Tensor, state: RecurrentState) -> RecurrentState:
        """Return what the current alone does to the neuron's state."""
        return state._replace(inner=self.neuron.filter(current, state.inner))

    def reset(self, state: RecurrentState, spike: Tensor) -> RecurrentState:
        """Return the neuron's state after its spikes, and the spikes."""
        return RecurrentState(self.neuron.reset(state.inner, spike), spike)

    def _joined(self, current: Tensor, state: RecurrentState) -> Tensor:
        joined: Tensor = current + self.synapse(state.last_spike)
        return joined


def recurrent_lif(features: tuple[int, ...], *, surrogate: Surrogate | None = None) -> Recurrent:
    """LIF with all-to-all recurrence: every spike of the layer drives the layer a step later."""
    return Recurrent(LIF(surrogate=surrogate), AllToAll(features))


def recurrent_lif_one_to_one(
    features: tuple[int, ...], *, surrogate: Surrogate | None = None
) -> Recurrent:
    """LIF with one-to-one recurrence: every neuron drives itself a step after its spike."""
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
