"""What every neuron model is: state in, state out, in three small parts."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.surrogates import FastSigmoid, Surrogate

Reset = Literal["subtract", "zero", "none"]
RESETS: tuple[Reset, ...] = ("subtract", "zero", "none")

# A state is a NamedTuple of tensors whose first field is `voltage`. Each model has its own.
AnyState = Any


class State(NamedTuple):
    """What a neuron with nothing but a membrane carries from step to step.

    Attributes:
        voltage: the membrane voltage after the reset, `[B, ...]`.
    """

    voltage: Tensor


class Step(NamedTuple):
    """What one time step of a neuron gives.

    Attributes:
        spike: 1 where the neuron fired, else 0, `[B, ...]`.
        voltage: the membrane voltage that was compared with the threshold, before the reset.
        state: what is carried on to the next step.
    """

    spike: Tensor
    voltage: Tensor
    state: AnyState


class Neuron(nn.Module):
    """A neuron model. A new one overrides `integrate`, and where it differs `fire` or `reset`.

    Nothing hides on the module: the state goes in and comes out, so one object can serve many
    runs at once.

    Args:
        threshold: the membrane voltage above which the neuron fires.
        reset: what a spike does to the voltage: "subtract" takes the threshold off, "zero" sets
            it to zero, "none" leaves it.
        surrogate: the smooth stand-in for the spike.

    Raises:
        SigpropError: if the threshold is not a positive number, or the reset is unknown.
    """

    #: Whether `integrate` is linear in (current, state), so that the voltage given the spikes is
    #: a fixed linear filter of the current. The closed form of the voltage rule rests on it.
    linear: ClassVar[bool] = False

    def __init__(
        self,
        threshold: float = 1.0,
        reset: Reset = "subtract",
        surrogate: Surrogate | None = None,
    ) -> None:
        super().__init__()
        if reset not in RESETS:
            raise UnknownNameError("reset", reset, RESETS)
        if not 0 < threshold < float("inf"):
            raise SigpropError(
                f"threshold of {type(self).__name__} is {threshold}; expected a positive number"
            )
        self.threshold = threshold
        self.reset_by = reset
        self.surrogate = surrogate if surrogate is not None else FastSigmoid()

    def initial_state(self, current: Tensor) -> AnyState:
        """Return the state at rest for one step's current `[B, ...]`, in its dtype and device."""
        return State(torch.zeros_like(current))

    def integrate(self, current: Tensor, state: AnyState) -> AnyState:
        """Return the state after the sub-threshold dynamics of one step, before any spike."""
        return state._replace(voltage=state.voltage + current)

    def fire(self, voltage: Tensor) -> Tensor:
        """Return the spikes for a membrane voltage: 1 above the threshold, else 0."""
        return self.surrogate.spike(voltage - self.threshold)

    def reset(self, state: AnyState, spike: Tensor) -> AnyState:
        """Return the state after the spikes took their toll on the voltage.

        The amount taken off is held constant in any gradient (detached reset), as all rules here
        and the baselines assume.
        """
        if self.reset_by == "none":
            return state
        height = self.threshold if self.reset_by == "subtract" else state.voltage
        return state._replace(voltage=state.voltage - (height * spike).detach())

    def step(self, current: Tensor, state: AnyState) -> Step:
        """Advance one time step.

        Args:
            current: the input current of this step, `[B, ...]`.
            state: the state that the step before returned, or `initial_state(current)`.
        """
        state = self.integrate(current, state)
        spike = self.fire(state.voltage)
        return Step(spike, state.voltage, self.reset(state, spike))

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return f"threshold={self.threshold}, reset={self.reset_by!r}, surrogate={self.surrogate}"
