"""The state that a neuron carries from one time step to the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol

from torch import Tensor
from typing_extensions import NamedTuple, Self, TypeVar

from sigprop_snn.arguments import function as as_function
from sigprop_snn.errors import SigpropError

RECORDED_ELSEWHERE = {
    **dict.fromkeys(("spk", "spk_rec", "spikes", "s", "z", "output", "out"), "spike"),
    **dict.fromkeys(("mem", "mem_rec", "membrane", "membrane_potential"), "voltage"),
    **dict.fromkeys(("v", "u", "v_m", "vmem", "v_mem", "potential"), "voltage"),
    **dict.fromkeys(("h", "v_seq", "v_reset"), "reset_voltage"),
}
"""What other libraries call the activity that a run records."""


class NeuronState(Protocol):
    """A state: a NamedTuple of tensors, with the membrane voltage as `voltage`.

    A part around a neuron (`Refractory`, `Recurrent`) has the state of the inner neuron in a
    field `inner`.
    """

    @property
    def voltage(self) -> Tensor:
        """The membrane voltage after the reset, `[B, ...]`."""
        ...

    @property
    def _fields(self) -> tuple[str, ...]: ...

    def _asdict(self) -> dict[str, Any]: ...

    def _replace(self, *args: Any, **kwargs: Any) -> Self: ...


#: The state of a model. `Neuron` without brackets is a neuron with any state.
S = TypeVar("S", bound=NeuronState, default=Any)


class State(NamedTuple):
    """The state of a neuron that has a membrane and nothing else.

    Attributes:
        voltage: the membrane voltage after the reset, `[B, ...]`.
    """

    voltage: Tensor


class Step(NamedTuple, Generic[S]):
    """The result of one time step.

    Attributes:
        spike: 1 where the neuron fired, else 0, `[B, ...]`. A rate neuron returns its activity.
        voltage: the membrane voltage before the reset, which was compared with the threshold.
        state: the state after the reset, for the next step.
    """

    spike: Tensor
    voltage: Tensor
    state: S


def with_voltage(state: S, voltage: Tensor) -> S:
    """Return the state with another membrane voltage, set in the innermost state."""
    state_tensors(state)
    inner = getattr(state, "inner", None)
    if inner is None:
        return state._replace(voltage=voltage)
    return state._replace(inner=with_voltage(inner, voltage))


def map_state(function: Callable[[Tensor], Tensor], state: S) -> S:
    """Return the state with a function, such as `torch.detach`, applied to each of its tensors."""
    as_function("function", function, "a function of a tensor")
    state_tensors(state)
    changed = {
        name: function(part) if isinstance(part, Tensor) else map_state(function, part)
        for name, part in state._asdict().items()
    }
    return state._replace(**changed)


def state_tensors(state: NeuronState) -> dict[str, Tensor]:
    """Return each tensor of a state by its name, those of inner states first.

    Raises:
        SigpropError: if the state is no NamedTuple with a voltage, or a field is neither a tensor
            nor a state.
    """
    if not hasattr(state, "_asdict"):
        raise SigpropError(
            f"state is a {type(state).__name__}; expected a NamedTuple of tensors with `voltage`"
        )
    if not hasattr(state, "voltage"):
        fields = ", ".join(state._asdict())
        raise SigpropError(
            f"state {type(state).__name__} has {fields}; expected a NamedTuple with `voltage`"
        )
    named: dict[str, Tensor] = {}
    for name, part in state._asdict().items():
        if isinstance(part, Tensor):
            named[name] = part
        elif hasattr(part, "_asdict"):
            named |= state_tensors(part)
        else:
            raise SigpropError(
                f"{name} of {type(state).__name__} is {part!r}; expected a tensor or a state"
            )
    return named
