"""snnTorch's neurons in a block, and our neurons in a snnTorch loop."""

from __future__ import annotations

import copy
import threading
from typing import Any, ClassVar, Generic, NamedTuple, cast

import snntorch
import torch
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.base import Neuron, Reset
from sigprop_snn.neurons.lif import LIF
from sigprop_snn.neurons.state import S, State
from sigprop_snn.surrogates import Surrogate

_ONE_THREAD = threading.RLock()  # snnTorch's modules keep their state from call to return


class SynapticState(NamedTuple):
    """The state of snnTorch's Synaptic: voltage and synaptic current, `[B, ...]`."""

    voltage: Tensor
    syn: Tensor


class AlphaState(NamedTuple):
    """The state of snnTorch's Alpha: voltage and two synaptic currents, `[B, ...]`."""

    voltage: Tensor
    syn_exc: Tensor
    syn_inh: Tensor


class RLeakyState(NamedTuple):
    """The state of snnTorch's RLeaky: voltage and last spikes, `[B, ...]`."""

    voltage: Tensor
    spk: Tensor


class RSynapticState(NamedTuple):
    """The state of snnTorch's RSynaptic: voltage, last spikes and synaptic current."""

    voltage: Tensor
    spk: Tensor
    syn: Tensor


SnnTorchState = State | SynapticState | AlphaState | RLeakyState | RSynapticState


class SnnTorch(Neuron[SnnTorchState]):
    """A snnTorch neuron in a block: Leaky, Synaptic, Alpha, Lapicque, RLeaky or RSynaptic.

    The state goes in and comes out as in any neuron here; the buffers of the module are emptied
    after each step. snnTorch resets one step after the spike, inside the module. So the state
    holds the voltage before the reset, `reset` does not change it, and the model is not declared
    linear. Spikes and their gradient are those of the module. snnTorch's surrogates have no
    primitive: `surrogate` is the one that a rule applies to the voltage.

    Args:
        module: the snnTorch neuron, with `init_hidden=False`.
        surrogate: the surrogate for rules; `FastSigmoid()` if not given.

    Raises:
        SigpropError: if the module is none of the six, hides its state, or resets without delay,
            which hides the voltage before the reset.
    """

    resets_itself = True

    #: The state of each module, and the order in which the module takes and returns its fields.
    _KINDS: ClassVar[dict[type[nn.Module], tuple[type[Any], tuple[str, ...]]]] = {
        snntorch.Leaky: (State, ("voltage",)),
        snntorch.Lapicque: (State, ("voltage",)),
        snntorch.Synaptic: (SynapticState, ("syn", "voltage")),
        snntorch.Alpha: (AlphaState, ("syn_exc", "syn_inh", "voltage")),
        snntorch.RLeaky: (RLeakyState, ("spk", "voltage")),
        snntorch.RSynaptic: (RSynapticState, ("spk", "syn", "voltage")),
    }

    def __init__(self, module: nn.Module, surrogate: Surrogate | None = None) -> None:
        nn.Module.__init__(self)
        kind = type(module)
        if kind not in self._KINDS:
            known = ", ".join(each.__name__ for each in self._KINDS)
            raise SigpropError(
                f"module is a {kind.__name__}; expected a snnTorch neuron of: {known}"
            )
        self.module: Any = module
        if self.module.init_hidden:
            raise SigpropError(
                f"{kind.__name__} has init_hidden=True; expected False: it must return its state"
            )
        if not getattr(module, "reset_delay", True):
            raise SigpropError(
                f"{kind.__name__} has reset_delay=False, which hides the voltage before the reset; "
                "expected True (LIF, CurrentLIF and Recurrent here reset without delay)"
            )
        self.reset_mode = cast(Reset, self.module.reset_mechanism)
        self._set_surrogate(surrogate)
        self._state, self._order = self._KINDS[kind]

    @property
    def threshold(self) -> Tensor:
        """The module's threshold."""
        threshold: Tensor = self.module.threshold
        return threshold

    def initial_state(self, current: Tensor) -> SnnTorchState:
        """Return the state at rest: zeros."""
        state: SnnTorchState = self._state(*(torch.zeros_like(current) for _ in self._order))
        return state

    def integrate(self, current: Tensor, state: SnnTorchState) -> SnnTorchState:
        """Return the module's state after one step, which begins with the reset of the last one."""
        given = [getattr(state, name) for name in self._order]
        with _ONE_THREAD:
            spike, *after = self.module(current, *given)
            for name in ("reset", *self._order):
                setattr(self.module, "mem" if name == "voltage" else name, current.new_zeros(0))
        if "spk" in self._order:
            after = [spike, *after]
        # snnTorch's spikes are float32 for any dtype of the current.
        named = dict(zip(self._order, (part.to(current.dtype) for part in after), strict=True))
        result: SnnTorchState = self._state(**named)
        return result

    def fire(self, voltage: Tensor) -> Tensor:
        """Return the module's spikes for a membrane voltage."""
        if self.module.inhibition:
            spike: Tensor = self.module.fire_inhibition(voltage.shape[0], voltage)
        else:
            spike = self.module.fire(voltage)
        return spike.to(voltage.dtype)

    def reset(self, state: SnnTorchState, spike: Tensor) -> SnnTorchState:
        """Return the state with these spikes: the module resets at its next step."""
        if isinstance(state, RLeakyState | RSynapticState):
            return state._replace(spk=spike)
        return state

    def extra_repr(self) -> str:
        """Return the surrogate; the module inside prints the rest."""
        return f"surrogate={self.surrogate}"


def is_snntorch(module: object) -> bool:
    """Return whether something is a module of snnTorch."""
    return isinstance(module, nn.Module) and type(module).__module__.startswith("snntorch.")


def copied(module: nn.Module) -> nn.Module:
    """Return a copy of a module, also of a snnTorch neuron in the middle of a run.

    Its hidden state may belong to a graph, which torch can't copy: the copy has the values alone.
    """
    state = {id(t): t.detach().clone() for t in module.buffers() if t.grad_fn is not None}
    return copy.deepcopy(module, state)


def as_neuron(module: nn.Module, surrogate: Surrogate | None = None) -> Neuron:
    """Return a neuron with the spikes of a snnTorch neuron, which stays as it is.

    A Leaky that resets to zero or never, or that has no leak, is the same neuron as `LIF`, which
    has fast kernels and the closed form. Any other becomes a `SnnTorch` around a copy with
    `init_hidden=False`. So the spikes are those of snnTorch at every step, its late reset included:
    it subtracts the threshold one step after the spike, when the voltage has leaked.

    Args:
        module: the snnTorch neuron; its hidden state does not matter.
        surrogate: the surrogate for rules; `FastSigmoid()` if not given.

    Raises:
        SigpropError: as `SnnTorch`, but not for `init_hidden=True`.
    """
    made = wrapped(copied(module), surrogate)
    if type(made.module) is not snntorch.Leaky or not _is_plain(made.module):
        return made
    beta = float(made.module.beta.clamp(0, 1))
    if made.reset_mode == "subtract" and beta != 1.0:
        return made
    return LIF(beta, float(made.module.threshold), made.reset_mode, surrogate)


def wrapped(module: nn.Module, surrogate: Surrogate | None = None) -> SnnTorch:
    """Return the adapter of a snnTorch neuron; of a copy where the neuron hides its state."""
    visible: Any = module
    if getattr(module, "init_hidden", False):
        visible = copied(module)
        visible.init_hidden = False
    return SnnTorch(visible, surrogate)


def _is_plain(module: Any) -> bool:
    """Return whether a Leaky has fixed numbers, one for the layer, and sends spikes of 0 and 1."""
    numbers = (module.beta, module.threshold)
    return (
        not any(each.requires_grad or each.dim() for each in numbers)
        and bool(module.threshold > 0)
        and bool((module.graded_spikes_factor == 1).all())
        and not (module.graded_spikes_factor.requires_grad or module.inhibition)
        and not module.state_quant
    )


class SnnTorchStyle(nn.Module, Generic[S]):
    """A neuron in snnTorch's calling style: `spk, mem = neuron(cur, mem)`.

    `mem` is the whole state of the neuron; give it to the next step unchanged. `mem.voltage` is
    the membrane voltage after the reset.

    Args:
        neuron: any neuron of this package.
    """

    def __init__(self, neuron: Neuron[S]) -> None:
        super().__init__()
        self.neuron = neuron

    def forward(self, current: Tensor, mem: S | None = None) -> tuple[Tensor, S]:
        """Advance one step.

        Args:
            current: the input current of this step, `[B, ...]`.
            mem: the state from the last step; at rest if not given.
        """
        step = self.neuron.forward(current, mem)
        return step.spike, step.state
