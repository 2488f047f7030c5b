"""Which parts of a layer are plain enough for kernels and for the closed form."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn

from sigprop_snn.neurons.base import Neuron, State
from sigprop_snn.neurons.engines.engine import Normaliser, Run, Spikes, is_normaliser
from sigprop_snn.neurons.lif import LIF
from sigprop_snn.neurons.module_kinds import WEIGHTED, Weighted
from sigprop_snn.surrogates import FastSigmoid, Surrogate

_METHODS = frozenset(name for name in dir(LIF) if callable(getattr(LIF, name)))


class PlainSynapse(NamedTuple):
    """A synapse of one layer of weights.

    Attributes:
        layer: the layer.
        flattens: whether the input is flattened first.
    """

    layer: Weighted
    flattens: bool


def plain_synapse(synapse: nn.Module) -> PlainSynapse | None:
    """Return the parts of a linear layer or convolution, alone or behind `nn.Flatten()`.

    Returns:
        The parts; none for any other module, and for one that hooks or parametrizations change.
    """
    flattens = False
    if type(synapse) is nn.Sequential and len(synapse) == 2 and not altered(synapse):
        before, synapse = synapse
        if not (type(before) is nn.Flatten and (before.start_dim, before.end_dim) == (1, -1)):
            return None
        flattens = True
    if type(synapse) not in WEIGHTED or altered(synapse):
        return None
    assert isinstance(synapse, WEIGHTED)
    if not isinstance(synapse, nn.Linear) and (
        synapse.padding_mode != "zeros" or isinstance(synapse.padding, str)
    ):
        return None
    return PlainSynapse(synapse, flattens)


def why_not_lif(neuron: Neuron) -> str | None:
    """Return why a kernel of LIF does not run a neuron model, or none."""
    # A subclass may override any part of the step, so only the model itself will do.
    if type(neuron) is not LIF:
        return f"the neuron is {type(neuron).__name__}; it knows LIF"
    own = _METHODS.intersection(vars(neuron))
    if own:
        return f"the neuron has its own {', '.join(sorted(own))}"
    if not all(isinstance(x, float | int) for x in (neuron.beta, neuron.threshold)):
        return "beta or threshold is not a plain number"
    if type(neuron.surrogate).spike is not Surrogate.spike:
        return f"{type(neuron.surrogate).__name__} makes its own spikes"
    return None


def why_not_surrogate(neuron: Neuron, voltage: Tensor, device: str) -> str | None:
    """Return why kernels of the fast sigmoid do not take a neuron and its voltages, or none.

    Args:
        neuron: the model.
        voltage: its voltages, `[T, N, ...]`.
        device: the type of the kernels' device.
    """
    surrogate = neuron.surrogate
    if type(surrogate) is not FastSigmoid:
        return f"the surrogate is {type(surrogate).__name__}; the kernel takes FastSigmoid"
    if not isinstance(surrogate.slope, float | int):
        return "the surrogate's slope is not a plain number"
    if not isinstance(neuron.threshold, float | int):
        return "the threshold is not a plain number"
    if type(neuron).above is not Neuron.above:
        return f"{type(neuron).__name__} has its own `above`"
    if voltage.dtype != torch.float32 or voltage.device.type != device or not voltage.numel():
        return f"the voltages are {voltage.dtype} {list(voltage.shape)} on {voltage.device}"
    if torch.compiler.is_compiling():
        return "torch.compile traces eager operations"
    return None


def is_plain_normaliser(module: nn.Module) -> TypeGuard[Normaliser]:
    """Return whether a module scales a current as its `scale` says.

    A hook may change what its `forward` returns, and so may a subclass without a `scale` of its
    own.
    """
    return not altered(module) and is_normaliser(module) and _forward_scales(type(module))


@functools.cache
def _forward_scales(kind: Any) -> bool:
    """Return whether no class below the one that defines `scale` defines `forward`."""
    first = next(base for base in kind.__mro__ if {"scale", "forward"} & vars(base).keys())
    return "scale" in vars(first)


def altered(module: nn.Module) -> bool:
    """Return whether something else than its class and its weights shapes a module's output."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or "forward" in vars(module)
        or hasattr(module, "parametrizations")
    )


def why_not_neurons(
    neuron: Neuron,
    current: Tensor,
    state: Any,
    contexts: Tensor | None,
    record: Sequence[str],
    *,
    dtypes: Sequence[torch.dtype],
    device: str,
) -> str | None:
    """Return why a kernel of LIF does not run neurons through this current, or none.

    Args:
        neuron: the model.
        current: `[T, N, ...]`.
        state: where the neurons start, or none.
        contexts: the constant current of context rows, `[C, ...]`, or none.
        record: names of what to keep of every step.
        dtypes: those of currents that the kernel takes.
        device: the type of the kernel's device.
    """
    reason = why_not_lif(neuron)
    if reason is not None:
        return reason
    voltage = None if state is None else state.voltage
    tensors = [t for t in (current, contexts, voltage) if t is not None]
    rows = current.shape[1] + (0 if contexts is None else contexts.shape[0])
    if torch.compiler.is_compiling():
        return "torch.compile traces the reference engine"
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        return "a gradient is asked for"
    if current.dtype not in dtypes:
        return f"the current is {current.dtype}"
    if any(t.device.type != device for t in tensors):
        return f"the current is on {current.device}"
    if current[0].numel() == 0:
        return "the current is empty"
    if voltage is not None and (
        type(state) is not State
        or voltage.dtype != torch.float32
        or voltage.shape != (rows, *current.shape[2:])
    ):
        return f"the state is {type(state).__name__} of shape {list(voltage.shape)}"
    beyond = [name for name in record if name not in ("spike", "voltage")]
    return f"it does not record {', '.join(beyond)}" if beyond else None


def lif_run(
    spikes: Spikes,
    mean_voltage: Tensor,
    last_voltage: Tensor | None,
    voltage: Tensor | None,
    record: Sequence[str],
) -> Run:
    """Return what a kernel of LIF did.

    Args:
        spikes: `[T, N, ...]`.
        mean_voltage: the voltage before the reset, averaged over the steps, `[N, ...]`.
        last_voltage: the voltage after the last reset, `[N, ...]`, if it is kept.
        voltage: the voltage before the reset, `[T, N, ...]`, if it is to be kept.
        record: "spike", "voltage", both or none.
    """
    kept = {name: spikes.dense() if name == "spike" else voltage for name in record}
    recorded = {name: found for name, found in kept.items() if found is not None}
    state = None if last_voltage is None else State(last_voltage)
    return Run(spikes, mean_voltage, state, recorded)
