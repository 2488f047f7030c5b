"""What every neuron model is: state in, state out, in three small parts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.surrogates import FastSigmoid, Surrogate

Reset = Literal["subtract", "zero", "none"]
RESETS: tuple[Reset, ...] = ("subtract", "zero", "none")

# A state is a NamedTuple of tensors whose first field is `voltage`. Each model has its own. The
# state of a part around a neuron (refractory, recurrent) holds that neuron's state as `inner`.
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

    Attributes:
        surrogate: the smooth stand-in for the spike.
        rest: the voltage at rest, in the model's own unit.
        unit: how much of the model's own unit counts as a voltage of 1: a model in millivolts
            puts the way from rest to threshold here, so that surrogates and losses see it like
            any other.

    Raises:
        SigpropError: if the threshold is not finite, or not positive where the reset needs it to
            be, or the reset is unknown.
    """

    #: Whether `filter` is linear in (current, state), so that the voltage given the spikes is a
    #: linear filter of the current. A superposition test holds every model to its word.
    linear: bool = False

    #: Whether that filter is one constant for the whole layer: the same for every neuron, with
    #: nothing in it that learns. The closed form of the voltage rule needs `linear` and this.
    fixed_filter: bool = True

    #: Whether what it sends on is a graded activity rather than spikes of 0 and 1.
    graded: bool = False

    #: Whether `integrate` resets by itself, so that a part around it must not change the spikes.
    resets_itself: bool = False

    rest: float = 0.0
    unit: float = 1.0

    def __init__(
        self,
        threshold: float = 1.0,
        reset: Reset = "subtract",
        surrogate: Surrogate | None = None,
    ) -> None:
        super().__init__()
        if reset not in RESETS:
            raise UnknownNameError("reset", reset, RESETS)
        if not math.isfinite(threshold) or (reset != "none" and threshold <= 0):
            raise SigpropError(
                f"threshold of {type(self).__name__} is {threshold}; expected a positive number"
            )
        self._threshold = threshold
        self.reset_by = reset
        self._take(surrogate)

    def _take(self, surrogate: Surrogate | None) -> None:
        """Take the surrogate; it is no module, so its learnable shapes join the neuron's own."""
        self.surrogate = surrogate if surrogate is not None else FastSigmoid()
        for name, value in vars(self.surrogate).items():
            if isinstance(value, nn.Parameter):
                self.register_parameter(f"surrogate_{name}", value)

    @property
    def threshold(self) -> float | Tensor:
        """The membrane voltage above which the neuron fires."""
        return self._threshold

    @property
    def recurrence(self) -> nn.Module | None:
        """The synapse from the layer's own spikes of the step before into its current, or none."""
        return None

    @property
    def closed_form(self) -> bool:
        """Whether one static pass over the mean presynaptic trace has the exact gradient."""
        return self.linear and self.fixed_filter

    def initial_state(self, current: Tensor) -> AnyState:
        """Return the state at rest for one step's current `[B, ...]`, in its dtype and device."""
        return State(torch.zeros_like(current))

    def integrate(self, current: Tensor, state: AnyState) -> AnyState:
        """Return the state after the sub-threshold dynamics of one step, before any spike."""
        return state._replace(voltage=state.voltage + current)

    def filter(self, current: Tensor, state: AnyState) -> AnyState:
        """Return what `integrate` does with the current alone, without noise or recurrence."""
        return self.integrate(current, state)

    def above(self, voltage: Tensor) -> Tensor:
        """Return how far a voltage lies above the threshold, as every surrogate takes it."""
        above = voltage - as_like(self.threshold, voltage)
        return above if self.unit == 1.0 else above / self.unit

    def depolarisation(self, voltage: Tensor) -> Tensor:
        """Return how far a voltage lies above rest, in the same unit as `above`."""
        if self.rest == 0.0 and self.unit == 1.0:
            return voltage
        return (voltage - self.rest) / self.unit

    def fire(self, voltage: Tensor) -> Tensor:
        """Return the spikes for a membrane voltage: 1 above the threshold, else 0."""
        return self.surrogate.spike(self.above(voltage))

    def reset(self, state: AnyState, spike: Tensor) -> AnyState:
        """Return the state after the spikes took their toll on the voltage.

        The amount taken off is held constant in any gradient (detached reset), as all rules here
        and the baselines assume.
        """
        if self.reset_by == "none":
            return state
        subtract = self.reset_by == "subtract"
        height = as_like(self.threshold, state.voltage) if subtract else state.voltage
        return state._replace(voltage=state.voltage - (height * spike).detach())

    def step(self, current: Tensor, state: AnyState, *, detach_spikes: bool = False) -> Step:
        """Advance one time step.

        Args:
            current: the input current of this step, `[B, ...]`.
            state: the state that the step before returned, or `initial_state(current)`.
            detach_spikes: whether the spikes are constants in any gradient, as the rules here take
                them: no surrogate derivative then enters the voltages that follow.
        """
        state = self.integrate(current, state)
        spike = self.fire(state.voltage)
        spike = spike.detach() if detach_spikes else spike
        return Step(spike, state.voltage, self.reset(state, spike))

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return f"threshold={self.threshold}, reset={self.reset_by!r}, surrogate={self.surrogate}"


def as_like(value: float | Tensor, like: Tensor) -> float | Tensor:
    """Return a setting that may be a tensor in the dtype and on the device of `like`."""
    return value.to(like) if isinstance(value, Tensor) else value


def drop_to(voltage: Tensor, spike: Tensor, value: float) -> Tensor:
    """Return the voltage set to `value` where a spike fell: what came before leaves no gradient."""
    return torch.where(spike > 0, value, voltage)


def positive(**settings: float) -> None:
    """Check settings that must be positive numbers.

    Raises:
        SigpropError: naming the first that is not.
    """
    for name, value in settings.items():
        if not 0 < value < math.inf:
            raise SigpropError(f"{name} is {value}; expected a positive number")


def share(model: str, **settings: float) -> None:
    """Check settings that must lie in [0, 1]: what is left of a variable after one step.

    Raises:
        SigpropError: naming the first that does not.
    """
    for name, value in settings.items():
        if not 0 <= value <= 1:
            raise SigpropError(f"{name} of {model} is {value}; expected a number from 0 to 1")


def with_voltage(state: AnyState, voltage: Tensor) -> AnyState:
    """Return the state with another membrane voltage, through every part around the neuron."""
    if "inner" in state._fields:
        return state._replace(inner=with_voltage(state.inner, voltage))
    return state._replace(voltage=voltage)


def map_state(function: Callable[[Tensor], Tensor], state: AnyState) -> AnyState:
    """Return the state with a function applied to every tensor in it, such as `torch.detach`."""
    return type(state)(
        *(
            function(part) if isinstance(part, Tensor) else map_state(function, part)
            for part in state
        )
    )


def state_tensors(state: AnyState) -> dict[str, Tensor]:
    """Return every tensor of a state by its name, `voltage` first, inner states included."""
    named: dict[str, Tensor] = {}
    if "inner" in state._fields:
        named |= state_tensors(state.inner)
    return named | {
        name: part
        for name, part in zip(state._fields, state, strict=True)
        if isinstance(part, Tensor)
    }
