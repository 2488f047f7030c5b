"""snnTorch's neurons in a block, and ours in a snnTorch loop."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, cast

import snntorch
import torch
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.base import AnyState, Neuron, Reset, State
from sigprop_snn.surrogates import Surrogate


class SynapticState(NamedTuple):
    """What snnTorch's Synaptic carries: the voltage and the synaptic current, `[B, ...]`."""

    voltage: Tensor
    syn: Tensor


class AlphaState(NamedTuple):
    """What snnTorch's Alpha carries: the voltage and two synaptic currents, `[B, ...]`."""

    voltage: Tensor
    syn_exc: Tensor
    syn_inh: Tensor


class RLeakyState(NamedTuple):
    """What snnTorch's RLeaky carries: the voltage and the last spikes, `[B, ...]`."""

    voltage: Tensor
    spk: Tensor


class RSynapticState(NamedTuple):
    """What snnTorch's RSynaptic carries: voltage, last spikes, synaptic current, `[B, ...]`."""

    voltage: Tensor
    spk: Tensor
    syn: Tensor


class SnnTorch(Neuron):
    """A snnTorch neuron in a block: Leaky, Synaptic, Alpha, Lapicque, RLeaky or RSynaptic.

    State goes in and comes out as with any neuron here; the module's own buffers are emptied after
    every step. snnTorch resets at the step after the spike, so its state is the voltage that was
    compared with the threshold and `reset` leaves it alone. Spikes, and their gradient, are those
    of the module; `surrogate` is what a rule puts on the voltage, since snnTorch's surrogates have
    no primitive. It is not declared linear: the reset sits inside the module.

    Args:
        module: the snnTorch neuron, with `init_hidden=False`.
        surrogate: the smooth function of the surrogate rule.

    Raises:
        SigpropError: if the module is none of the six, hides its state, or resets without delay,
            which hides the voltage that was compared.
    """

    resets_itself = True

    #: For each module: its state, and the order in which the module takes and gives the fields.
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
            raise SigpropError(f"got {kind.__name__}; expected a snnTorch neuron of: {known}")
        self.module: Any = module
        if self.module.init_hidden:
            raise SigpropError(
                f"{kind.__name__} has init_hidden=True; expected False, so that its state is given"
            )
        if not getattr(module, "reset_delay", True):
            raise SigpropError(
                f"{kind.__name__} has reset_delay=False, which hides the voltage before the reset; "
                "expected True (LIF, CurrentLIF and Recurrent here reset without delay)"
            )
        self.reset_by = cast(Reset, self.module.reset_mechanism)
        self._take(surrogate)
        self._state, self._order = self._KINDS[kind]

    @property
    def threshold(self) -> Tensor:
        """The module's threshold."""
        threshold: Tensor = self.module.threshold
        return threshold

    def initial_state(self, current: Tensor) -> AnyState:
        """Return the state at rest: zeros."""
        return self._state(*(torch.zeros_like(current) for _ in self._order))

    def integrate(self, current: Tensor, state: AnyState) -> AnyState:
        """Return the module's state after one step; a reset left over from the last comes first."""
        given = [getattr(state, name) for name in self._order]
        spike, *after = self.module(current, *given)
        if "spk" in self._order:
            after = [spike, *after]
        for name in ("reset", *self._order):
            setattr(self.module, "mem" if name == "voltage" else name, current.new_zeros(0))
        # snnTorch's spikes are float32 whatever the current is.
        named = dict(zip(self._order, (part.to(current.dtype) for part in after), strict=True))
        return self._state(**named)

    def fire(self, voltage: Tensor) -> Tensor:
        """Return the module's spikes for a membrane voltage."""
        if self.module.inhibition:
            spike: Tensor = self.module.fire_inhibition(voltage.shape[0], voltage)
        else:
            spike = self.module.fire(voltage)
        return spike.to(voltage.dtype)

    def reset(self, state: AnyState, spike: Tensor) -> AnyState:
        """Return the state with these spikes: the module resets at its next step."""
        return state._replace(spk=spike) if "spk" in self._order else state

    def extra_repr(self) -> str:
        """Return the surrogate; the module inside prints the rest."""
        return f"surrogate={self.surrogate}"


class SnnTorchStyle(nn.Module):
    """A neuron in snnTorch's calling style: `spk, mem = neuron(cur, mem)`.

    `mem` is the neuron's whole state, to be handed back at the next step as it is; its membrane
    voltage, after the reset, is `mem.voltage`.

    Args:
        neuron: any neuron of this package.
    """

    def __init__(self, neuron: Neuron) -> None:
        super().__init__()
        self.neuron = neuron

    def forward(self, current: Tensor, mem: AnyState | None = None) -> tuple[Tensor, AnyState]:
        """Advance one step.

        Args:
            current: the input current of this step, `[B, ...]`.
            mem: the state that the step before returned; at rest if not given.
        """
        state = mem if mem is not None else self.neuron.initial_state(current)
        step = self.neuron.step(current, state)
        return step.spike, step.state
