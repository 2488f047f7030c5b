"""The base class of all neuron models: one time step in three parts, integrate, fire and reset."""

from __future__ import annotations

from typing import Any, Generic, Literal, cast

import torch
from torch import Tensor, nn

from sigprop_snn.arguments import one_of
from sigprop_snn.errors import SigpropError, shown
from sigprop_snn.neurons.checks import check_number, check_positive
from sigprop_snn.neurons.state import (
    NeuronState,
    S,
    State,
    Step,
    map_state,
    state_tensors,
    with_voltage,
)
from sigprop_snn.surrogates import FastSigmoid, Surrogate
from sigprop_snn.surrogates.base import as_like

__all__ = [
    "RESETS",
    "Neuron",
    "NeuronState",
    "Reset",
    "S",
    "State",
    "Step",
    "check_neuron",
    "map_state",
    "reset_to",
    "state_tensors",
    "with_voltage",
]

Reset = Literal["subtract", "zero", "none"]
RESETS: tuple[Reset, ...] = ("subtract", "zero", "none")


class Neuron(nn.Module, Generic[S]):
    """A neuron model. A new model overrides `integrate`, and `fire` or `reset` if they differ.

    The module keeps no state: `step` takes the state and returns the next one, so one object
    serves many runs. `neuron(current)` is one time step; `run(neuron, current)` goes through time.

    `Neuron[MyState]` is a model whose state is the NamedTuple `MyState`; it overrides
    `initial_state` too. Without brackets the state is `State`, the voltage alone.

    Args:
        threshold: the neuron fires when its membrane voltage is above this value.
        reset: the effect of a spike on the voltage: "subtract" subtracts the threshold, "zero"
            sets the voltage to zero, "none" leaves it.
        surrogate: the surrogate of the spike; `FastSigmoid()` if not given.

    Attributes:
        reset_mode: the argument `reset`.
        surrogate: the surrogate of the spike.

    Raises:
        SigpropError: if the threshold is not finite, or not positive although the neuron resets,
            or the reset is unknown, or the surrogate is no `Surrogate`.
    """

    # The properties of a model that rules, losses and parts need. A model sets them if they differ.

    #: Whether `filter` is linear in (current, state). Given the spikes, the voltage is then a
    #: linear filter of the current. Rules ask for it through `closed_form`.
    linear: bool = False

    #: Whether `fire` returns a graded activity (a rate neuron) and not spikes of 0 and 1.
    graded: bool = False

    #: Whether `integrate` contains the reset, as in snnTorch's neurons. A part around the neuron
    #: can then not change which spikes occur.
    resets_itself: bool = False

    #: The voltage at rest, in the unit of the model.
    rest: float = 0.0

    #: The size of one unit of voltage for surrogates and losses. A model in millivolts sets it to
    #: the distance from rest to threshold.
    unit: float = 1.0

    def __init__(
        self,
        threshold: float = 1.0,
        reset: Reset = "subtract",
        surrogate: Surrogate | None = None,
    ) -> None:
        super().__init__()
        one_of("reset", reset, RESETS)
        if reset == "none":
            self._threshold = check_number(self, "threshold", threshold)
        else:
            self._threshold = check_positive(self, "threshold", threshold)
        self.reset_mode: Reset = reset
        self._set_surrogate(surrogate)

    def _set_surrogate(self, surrogate: Surrogate | None) -> None:
        """Keep the surrogate. It is no module, so its learnable shapes are registered here."""
        if surrogate is not None and not isinstance(surrogate, Surrogate):
            raise SigpropError(
                f"surrogate of {type(self).__name__} is {surrogate!r}; expected a Surrogate such "
                "as FastSigmoid()"
            )
        self.surrogate = surrogate if surrogate is not None else FastSigmoid()
        for name, value in vars(self.surrogate).items():
            if isinstance(value, nn.Parameter):
                self.register_parameter(f"surrogate_{name}", value)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        # `load_state_dict(assign=True)` puts other parameters in the place of the surrogate's.
        for name, value in vars(self.surrogate).items():
            if isinstance(value, nn.Parameter):
                object.__setattr__(self.surrogate, name, self._parameters[f"surrogate_{name}"])

    @property
    def threshold(self) -> float | Tensor:
        """The neuron fires when its membrane voltage is above this value."""
        return self._threshold

    @property
    def recurrence(self) -> nn.Module | None:
        """The synapse from the layer's own last spikes into its current, if it has one."""
        return None

    @property
    def fixed_filter(self) -> bool:
        """Whether `filter` is constant: the same for the whole layer, and nothing in it learns.

        False if a parameter of the model learns, except those of its surrogate. Override it in a
        model that learns something else only, or has different filters in one layer.
        """
        if not self._parameters and not self._modules:  # the usual model, asked in every batch
            return True
        return not any(
            parameter.requires_grad and not name.startswith("surrogate_")
            for name, parameter in self.named_parameters()
        )

    @property
    def closed_form(self) -> bool:
        """Whether one product with the mean presynaptic trace has the exact gradient of a layer."""
        return self.linear and self.fixed_filter

    def initial_state(self, current: Tensor) -> S:
        """Return the state at rest, in the shape, dtype and device of one current `[B, ...]`."""
        return cast(S, State(torch.zeros_like(current)))  # a model with another state overrides

    def integrate(self, current: Tensor, state: S) -> S:
        """Return the state after the sub-threshold dynamics of one step, before any spike."""
        return state._replace(voltage=state.voltage + current)

    def filter(self, current: Tensor, state: S) -> S:
        """Return the effect of the current alone in `integrate`, without noise or recurrence."""
        return self.integrate(current, state)

    def above(self, voltage: Tensor) -> Tensor:
        """Return the voltage minus the threshold, in units of `unit`: the input of a surrogate."""
        above = voltage - as_like(self.threshold, voltage)
        return above if self.unit == 1.0 else above / self.unit

    def depolarisation(self, voltage: Tensor) -> Tensor:
        """Return the voltage minus the voltage at rest, in units of `unit`."""
        if self.rest == 0.0 and self.unit == 1.0:
            return voltage
        return (voltage - self.rest) / self.unit

    def fire(self, voltage: Tensor) -> Tensor:
        """Return the spikes for a membrane voltage: 1 above the threshold, else 0."""
        return self.surrogate.spike(self.above(voltage))

    def reset(self, state: S, spike: Tensor) -> S:
        """Return the state after the reset.

        The reset is detached: its amount is a constant in any gradient.
        """
        if self.reset_mode == "none":
            return state
        subtract = self.reset_mode == "subtract"
        amount = as_like(self.threshold, state.voltage) if subtract else state.voltage
        return state._replace(voltage=state.voltage - (amount * spike).detach())

    def step(self, current: Tensor, state: S, *, detach_spikes: bool = False) -> Step[S]:
        """Advance one time step.

        Args:
            current: the input current of this step, `[B, ...]`.
            state: the state from the last step, or `initial_state(current)`.
            detach_spikes: whether the spikes are constants in any gradient, as local rules need
                it; later voltages then contain no surrogate derivative.

        Raises:
            SigpropError: if `integrate` or `reset` returns no state of the current's shape, or
                `fire` no tensor of it.
        """
        state = self._checked_integrate(current, state)
        spike = self.fire(state.voltage)
        if not isinstance(spike, Tensor) or spike.shape != current.shape:
            raise self._returned("fire", spike, "a tensor with the shape of the voltage", current)
        spike = spike.detach() if detach_spikes else spike
        return Step(spike, state.voltage, self._checked("reset", self.reset(state, spike), current))

    def _checked_integrate(self, current: Tensor, state: S) -> S:
        """Call `integrate` and check its result, which a new model may get wrong."""
        return self._checked("integrate", self.integrate(current, state), current)

    def _checked(self, method: str, after: S, current: Tensor) -> S:
        """Return a state after a check that it has a voltage of the current's shape."""
        voltage = getattr(after, "voltage", None)
        if isinstance(voltage, Tensor) and voltage.shape == current.shape:
            return after
        expected = "a NamedTuple whose `voltage` has the shape of the current"
        raise self._returned(method, after, expected, current)

    def _returned(self, method: str, found: object, expected: str, current: Tensor) -> SigpropError:
        voltage = getattr(found, "voltage", None)
        shape = f" of shape {list(found.shape)}" if isinstance(found, Tensor) else ""
        if isinstance(voltage, Tensor):
            shape = f" with a voltage of shape {list(voltage.shape)}"
        return SigpropError(
            f"{method} of {type(self).__name__} returned a {type(found).__name__}{shape}; "
            f"expected {expected}, {list(current.shape)}"
        )

    def forward(self, current: Tensor, state: S | None = None) -> Step[S]:
        """Advance one time step. `run(neuron, current)` goes through `[T, B, ...]`.

        In a loop: `spike, voltage, state = neuron(current, state)`. `SnnTorchStyle` gives the
        two values of snnTorch.

        Args:
            current: the input current of this step, `[B, ...]`.
            state: the state from the last step; at rest if not given.

        Raises:
            SigpropError: if the current is no tensor, or the state is not one of this model's.
        """
        model = type(self).__name__
        if not isinstance(current, Tensor):
            raise SigpropError(
                f"current of {model} is a {type(current).__name__}; expected a tensor [B, ...]"
            )
        if state is None:
            return self.step(current, self.initial_state(current))
        if not hasattr(state, "_fields"):
            raise SigpropError(
                f"state of {model} is a {type(state).__name__}; expected the state that the last "
                f"step returned: spike, voltage, state = neuron(current, state)"
            )
        return self.step(current, state)

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return f"threshold={self.threshold}, reset={self.reset_mode!r}, surrogate={self.surrogate}"


def check_neuron(neuron: object) -> None:
    """Check that something is a neuron model, with what the constructor of `Neuron` makes.

    Raises:
        SigpropError: if it is none, or its `__init__` does not call `super().__init__()`.
    """
    if not isinstance(neuron, Neuron):
        raise SigpropError(f"neuron is {shown(neuron)}; expected a neuron model such as LIF()")
    if not hasattr(neuron, "surrogate"):
        raise SigpropError(
            f"neuron {type(neuron).__name__} has no surrogate; expected super().__init__() in its "
            "__init__"
        )
    if type(neuron).forward is not Neuron.forward:
        raise SigpropError(
            f"{type(neuron).__name__} has a forward of its own, which no engine calls; expected "
            "integrate, fire or reset in its place"
        )


def reset_to(voltage: Tensor, spike: Tensor, value: float) -> Tensor:
    """Return the voltage, set to `value` where the neuron fired; no gradient passes there."""
    return torch.where(spike > 0, value, voltage)
