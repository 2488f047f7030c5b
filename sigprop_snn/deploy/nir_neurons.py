"""Neurons as nodes of NIR."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sigprop_snn.deploy.conventions import Array, Convention
from sigprop_snn.deploy.extras import nir_package
from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons import (
    ALIF,
    EIF,
    IF,
    LIF,
    QIF,
    AdEx,
    AllToAll,
    CurrentLIF,
    EscapeNoise,
    GaussianNoise,
    Izhikevich,
    LeakyIntegrator,
    Neuron,
    OneToOne,
    ParametricLIF,
    Rate,
    Recurrent,
    Refractory,
    SnnTorch,
    VoltageFloor,
)

#: The property of each model that NIR has no word for.
_NO_WORD: dict[type[Neuron], str] = {
    ALIF: "an adaptive threshold",
    AdEx: "an exponential upstroke and adaptation",
    EIF: "an exponential upstroke",
    QIF: "quadratic dynamics",
    Izhikevich: "quadratic dynamics and recovery",
    Rate: "graded activity in place of spikes",
    Refractory: "a refractory period",
    VoltageFloor: "a lowest voltage",
    GaussianNoise: "noise",
    EscapeNoise: "random spikes",
    SnnTorch: "snnTorch's reset one step after the spike",
}


@dataclass(frozen=True)
class NirNeuron:
    """A layer's neurons in NIR.

    Attributes:
        node: their node.
        factor: multiplies the weights of the layer, one number or one for each channel.
        recurrence: the node from their spikes to their current, or none.
        subtracts: whether their reset subtracts the threshold.
    """

    node: Any
    factor: Array
    recurrence: Any = None
    subtracts: bool = False


def nir_neuron(
    name: str, neuron: Neuron, shape: Sequence[int], convention: Convention
) -> NirNeuron:
    """Return the node of a layer's neurons.

    Args:
        name: the layer's name, for messages.
        neuron: the model.
        shape: the shape of the layer, without time and batch.
        convention: how the node will be read.

    Raises:
        SigpropError: if NIR has no word for the model.
    """
    shape = tuple(shape)
    if isinstance(neuron, Recurrent):
        return _recurrent(name, neuron, shape, convention)
    if type(neuron) is LeakyIntegrator:
        if name != "readout":
            raise _refused(name, neuron, "no spikes", "LIF() in a block")
        return _leaky(name, _array(neuron.beta), None, "none", shape, convention)
    if neuron.reset_mode == "none" and type(neuron) in (IF, LIF, ParametricLIF, CurrentLIF):
        raise _refused(name, neuron, "spikes without a reset", "reset='zero'")
    if type(neuron) is IF:
        return _leaky(name, np.ones(()), neuron.threshold, neuron.reset_mode, shape, convention)
    if type(neuron) is LIF:
        found = _leaky(
            name, _array(neuron.beta), neuron.threshold, neuron.reset_mode, shape, convention
        )
        return replace(found, factor=found.factor * neuron.current_gain)
    if type(neuron) is ParametricLIF and not neuron.scale_current:
        beta = _array(neuron.beta)
        return _leaky(name, beta, neuron.threshold, neuron.reset_mode, shape, convention)
    if type(neuron) is CurrentLIF:
        return _current_based(name, neuron, shape, convention)
    lacks = _NO_WORD.get(type(neuron), "its own dynamics")
    raise _refused(name, neuron, lacks, "LIF, IF or CurrentLIF, or recurrent ones of these")


def _refused(name: str, neuron: Neuron, lacks: str, instead: str) -> SigpropError:
    return SigpropError(
        f"{type(neuron).__name__} in {name} has {lacks}, which NIR has no word for; expected "
        f"{instead}"
    )


def _leaky(
    name: str,
    beta: Array,
    threshold: float | Tensor | None,
    reset: str,
    shape: tuple[int, ...],
    convention: Convention,
) -> NirNeuron:
    """Return U[t] = beta U[t-1] + I[t]: LIF; IF for beta 1; LI or I without a threshold."""
    nir = nir_package()
    full = _Shaper(name, shape, convention)
    parameters: dict[str, Array] = {}
    if threshold is not None:
        parameters["v_threshold"] = full(_array(threshold))
    if np.all(beta == 1.0):
        ignored = convention.resistance == "ignored"
        parameters["r"] = full(np.array(1.0 if ignored else 1.0 / convention.dt))
        kind = nir.I if threshold is None else nir.IF
        return NirNeuron(_node(kind, parameters, reset), np.ones(()), None, reset == "subtract")
    if np.any(beta == 0.0) and convention.decay == "exponential":
        raise SigpropError(
            f"{name} has beta 0, which no time constant gives with an exponential decay; expected "
            "a beta above 0, or a convention with decay='euler'"
        )
    tau = convention.time_constant(beta)
    gains = 1.0 - beta
    as_gain = convention.resistance == "gain"
    parameters["tau"] = full(tau)
    parameters["r"] = full(1.0 / gains if as_gain else np.ones(()))
    parameters["v_leak"] = full(np.zeros(()))
    kind = nir.LI if threshold is None else nir.LIF
    factor = (
        _per_channel(name, 1.0 / gains, shape) if convention.resistance == "one" else np.ones(())
    )
    return NirNeuron(_node(kind, parameters, reset), factor, None, reset == "subtract")


def _current_based(
    name: str, neuron: CurrentLIF, shape: tuple[int, ...], convention: Convention
) -> NirNeuron:
    nir = nir_package()
    for label, value in (("alpha", neuron.alpha), ("beta", neuron.beta)):
        if value == 1.0:
            raise SigpropError(
                f"CurrentLIF in {name} has {label} 1, an infinite time constant, which NIR has no "
                "word for; expected less than 1"
            )
    full = _Shaper(name, shape, convention)
    alpha, beta = _array(neuron.alpha), _array(neuron.beta)
    node = _node(
        nir.CubaLIF,
        {
            "tau_syn": full(convention.time_constant(alpha)),
            "tau_mem": full(convention.time_constant(beta)),
            "r": full(1.0 / (1.0 - beta)),
            "w_in": full(1.0 / (1.0 - alpha)),
            "v_leak": full(np.zeros(())),
            "v_threshold": full(_array(neuron.threshold)),
        },
        neuron.reset_mode,
    )
    return NirNeuron(node, np.ones(()), None, neuron.reset_mode == "subtract")


def _recurrent(
    name: str, neuron: Recurrent, shape: tuple[int, ...], convention: Convention
) -> NirNeuron:
    nir = nir_package()
    inner = nir_neuron(name, neuron.neuron, shape, convention)
    synapse, factor = neuron.synapse, inner.factor
    if isinstance(synapse, OneToOne):
        weight = _array(synapse.weight.expand(shape))
        scaled = weight * factor.reshape(-1, *[1] * (len(shape) - 1))
        scaled = scaled.astype(weight.dtype)
        node = nir.Linear(np.diag(scaled)) if len(shape) == 1 else nir.Scale(scaled)
    elif isinstance(synapse, nn.Linear) and len(shape) == 1:
        weight = _array(synapse.weight)
        scaled = (weight * factor.reshape(-1, 1)).astype(weight.dtype)
        if synapse.bias is None:
            node = nir.Linear(scaled)
        else:
            node = nir.Affine(scaled, (_array(synapse.bias) * factor).astype(weight.dtype))
    else:
        kind = "AllToAll over maps" if isinstance(synapse, AllToAll) else type(synapse).__name__
        raise SigpropError(
            f"the recurrence {kind} of {name} has no word in NIR; expected AllToAll over a row of "
            "neurons, or OneToOne"
        )
    return replace(inner, recurrence=node)


@dataclass(frozen=True)
class _Shaper:
    """Gives a parameter the shape of its layer, or of one number.

    Attributes:
        name: the layer's name.
        shape: the layer's shape.
        convention: whether the layer has one number.
    """

    name: str
    shape: tuple[int, ...]
    convention: Convention

    def __call__(self, values: Array) -> Array:
        """Return the values in that shape, float64."""
        wide = np.asarray(values, dtype=np.float64)
        if not self.convention.one_number or len(self.shape) == 1:
            return np.ascontiguousarray(np.broadcast_to(wide, self.shape))
        if wide.size > 1 and np.unique(wide).size > 1:
            raise SigpropError(
                f"the neurons of {self.name} differ, and the convention has one number for a "
                "layer; expected one decay and one threshold for all, such as LIF()"
            )
        first: Array = wide.reshape(-1)[:1].copy()
        return first


def _per_channel(name: str, values: Array, shape: tuple[int, ...]) -> Array:
    """Return one number, or one for each channel of a layer.

    Raises:
        SigpropError: if there is one for each position of maps.
    """
    of_channels = (shape[0], *[1] * (len(shape) - 1))
    if values.size > 1 and values.shape != of_channels:
        raise SigpropError(
            f"the neurons of {name} have a decay for each position of the maps, and the convention "
            "takes the resistance into the weights; expected one decay for each map"
        )
    return values.reshape(-1) if values.size > 1 else values.reshape(())


def _node(kind: Any, parameters: dict[str, Array], reset: str) -> Any:
    """Return a node; a reset to zero also as v_reset where the version of nir has it."""
    if "v_threshold" not in parameters:
        return kind(**parameters)
    if "v_reset" in {each.name for each in fields(kind)}:
        parameters = {**parameters, "v_reset": np.zeros_like(parameters["v_threshold"])}
    return kind(**parameters, metadata={"reset": reset})


def _array(values: float | Tensor) -> Array:
    if isinstance(values, Tensor):
        found: Array = values.detach().to("cpu", torch.float64).numpy()
        return found
    return np.array(float(values))
