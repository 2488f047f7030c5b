"""Nodes of NIR as modules: layers with weights, pools, and neurons of this package."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from sigprop_snn.deploy.conventions import Array, Convention, near
from sigprop_snn.deploy.nir_graph import Node
from sigprop_snn.neurons import IF, LIF, CurrentLIF, Neuron, ParametricLIF
from sigprop_snn.neurons.base import RESETS, Reset

NEURON_KINDS = ("IF", "LIF", "CubaLIF")
READOUT_KINDS = ("LI", "I")
_INSTEAD = {
    "CubaLI": "LI, which has no synaptic current",
    "Delay": "no delay: the current of a step reaches the neuron in the same step",
    "Threshold": "LIF or IF, which have a threshold",
    "Scale": "the factor within the weights of Affine, Linear or Conv2d",
}


@dataclass(frozen=True)
class ImportedNeuron:
    """A layer's neurons, with a gain and an offset of their current.

    Attributes:
        neuron: the neurons.
        gain: the factor of the current, one number or one for each neuron.
        offset: is added to the current, one number or one for each neuron.
    """

    neuron: Neuron
    gain: Array
    offset: Array


def check_kind(node: Node) -> None:
    """Check that a node has a kind that some place takes.

    Raises:
        SigpropError: if it has not.
    """
    known = [*_MODULES, *NEURON_KINDS, *READOUT_KINDS]
    if node.kind not in (*known, "Input", "Output", "Scale"):
        raise node.refusal("can't be used", _INSTEAD.get(node.kind, f"one of {', '.join(known)}"))


def module_of(node: Node) -> nn.Module:
    """Return the module of a node without neurons.

    Raises:
        SigpropError: if it is none, or its values can't be used.
    """
    if node.kind in _MODULES:
        return _MODULES[node.kind](node)
    known = ", ".join(_MODULES)
    raise node.refusal("can't be used here", _INSTEAD.get(node.kind, f"one of {known}"))


def _linear(node: Node) -> nn.Module:
    weight = node.numbers("weight", axes=2)
    bias = node.numbers("bias") if node.kind == "Affine" else None
    if bias is not None and bias.shape != weight.shape[:1]:
        raise node.refusal(f"has a bias of shape {list(bias.shape)}", f"{list(weight.shape[:1])}")
    rows, columns = weight.shape
    made = nn.Linear(columns, rows, bias=bias is not None, device="meta")
    return _filled(made, weight, bias)


def _convolution(node: Node) -> nn.Module:
    axes = 2 if node.kind == "Conv2d" else 1
    weight = node.numbers("weight", axes=axes + 2)
    bias = node.numbers("bias")
    if bias.shape != weight.shape[:1]:
        raise node.refusal(f"has a bias of shape {list(bias.shape)}", f"{list(weight.shape[:1])}")
    groups = node.wholes("groups", 1, 1)[0]
    if weight.shape[0] % groups:
        raise node.refusal(f"has {groups} groups", f"a divisor of {weight.shape[0]}")
    padding = node.values.get("padding")
    word = padding if isinstance(padding, str) else None
    if word is not None and word not in ("same", "valid"):
        raise node.refusal(f"has padding {word!r}", "'same', 'valid' or whole numbers")
    stride = node.wholes("stride", axes, 1)
    if word == "same" and set(stride) != {1}:
        raise node.refusal(f"has padding 'same' and stride {stride}", "a stride of 1")
    kind = nn.Conv2d if axes == 2 else nn.Conv1d
    made = kind(
        weight.shape[1] * groups,
        weight.shape[0],
        tuple(weight.shape[2:]),  # type: ignore[arg-type]
        stride,  # type: ignore[arg-type]
        word or node.wholes("padding", axes),  # type: ignore[arg-type]
        node.wholes("dilation", axes, 1),  # type: ignore[arg-type]
        groups,
        device="meta",
    )
    return _filled(made, weight, bias)


def _filled(layer: nn.Module, weight: Array, bias: Array | None) -> nn.Module:
    """Give a layer its weights, float32 unless they are float64."""
    dtype = torch.float64 if weight.dtype == np.float64 else torch.float32
    layer.register_parameter("weight", nn.Parameter(torch.tensor(weight, dtype=dtype)))
    if bias is not None:
        layer.register_parameter("bias", nn.Parameter(torch.tensor(bias, dtype=dtype)))
    return layer


def _pool(node: Node) -> nn.Module:
    window, stride = _pair(node, "kernel_size", 1), _pair(node, "stride", 1)
    padding = _pair(node, "padding", 0)
    if any(2 * each > size for each, size in zip(padding, window, strict=True)):
        raise node.refusal(f"has padding {padding}", f"half of the window {window} at most")
    divisor = 1 if node.kind == "SumPool2d" else None
    return nn.AvgPool2d(window, stride, padding, divisor_override=divisor)


def _pair(node: Node, key: str, least: int) -> tuple[int, int]:
    first, second = node.wholes(key, 2, least)
    return first, second


def _flatten(node: Node) -> nn.Module:
    first = node.wholes("start_dim", 1)[0] if "start_dim" in node.values else 1
    last = node.wholes("end_dim", 1, -1)[0] if "end_dim" in node.values else -1
    # Some programs count the axis of the batch.
    if first not in (0, 1) or last not in (-1, 2, 3):
        raise node.refusal(f"flattens the axes {first} to {last}", "all axes of a sample, 0 to -1")
    return nn.Flatten()


_MODULES: dict[str, Callable[[Node], nn.Module]] = {
    "Affine": _linear,
    "Linear": _linear,
    "Conv1d": _convolution,
    "Conv2d": _convolution,
    "AvgPool2d": _pool,
    "SumPool2d": _pool,
    "Flatten": _flatten,
}
POOLS = ("AvgPool2d", "SumPool2d")
WEIGHTED = ("Affine", "Linear", "Conv1d", "Conv2d")


def neuron_of(node: Node, convention: Convention, reset: Reset | None) -> ImportedNeuron:
    """Return the neurons of a node.

    Args:
        node: IF, LIF or CubaLIF.
        convention: how its numbers are read.
        reset: the reset; if not given, that of the metadata, or else NIR's, to zero.

    Raises:
        SigpropError: if a value can't be used.
    """
    node.check_alike()
    threshold = node.numbers("v_threshold").astype(np.float64)
    if (threshold <= 0).any():
        raise node.refusal(f"has a v_threshold of {threshold.min()}", "numbers above 0")
    if "v_reset" in node.values and not near(node.numbers("v_reset"), 0.0):
        raise node.refusal("has a v_reset that is not 0", "0: neurons here reset to 0")
    found = reset or node.word("reset") or "zero"
    if found not in RESETS or found == "none":
        raise node.refusal(f"has the reset {found!r}", "'subtract' or 'zero'")
    by: Reset = "subtract" if found == "subtract" else "zero"
    if node.kind == "CubaLIF":
        return _current_based(node, convention, threshold, by)
    if node.kind == "IF":
        gain = convention.integrator_gain(node.numbers("r").astype(np.float64))
        return ImportedNeuron(_leaky(np.ones(()), threshold, by), _slim(gain), np.zeros(()))
    beta, gain, offset = leak_of(node, convention)
    return ImportedNeuron(_leaky(beta, threshold, by), gain, offset)


def leak_of(node: Node, convention: Convention) -> tuple[Array, Array, Array]:
    """Return beta of a node LIF, LI or I, and the gain and the offset of its current."""
    node.check_alike()
    r = node.numbers("r").astype(np.float64)
    if node.kind == "I":
        return np.ones(()), _slim(convention.integrator_gain(r)), np.zeros(())
    beta = _remaining(node, "tau", convention)
    gain = convention.gain(r, node.numbers("tau").astype(np.float64))
    offset = (1.0 - beta) * node.numbers("v_leak").astype(np.float64)
    return beta, _slim(gain), _slim(offset)


def _remaining(node: Node, key: str, convention: Convention) -> Array:
    """Return the decay of a time constant, checked to be within [0, 1]."""
    tau = node.numbers(key).astype(np.float64)
    if (tau <= 0).any():
        raise node.refusal(f"has a {key} of {tau.min()}", "numbers above 0")
    beta = convention.remaining(tau)
    beta = np.where((beta < 0) & (beta > -1e-6), 0.0, beta)  # tau = dt in float32
    if (beta < 0).any():
        raise node.refusal(
            f"has a {key} of {tau.min():g} below the time step {convention.dt:g}",
            "a longer one, or Convention(dt=...) with the step of the network",
        )
    # What a beta near 1 loses in a step tells it from others.
    return 1.0 - _slim(1.0 - beta)


def _leaky(beta: Array, threshold: Array, reset: Reset) -> Neuron:
    threshold = _slim(threshold)
    if beta.ndim == 0 and threshold.ndim == 0:
        if beta == 1.0:
            return IF(float(threshold), reset)
        return LIF(float(beta), float(threshold), reset)
    wide = torch.float64
    shape = beta.shape or threshold.shape
    neuron = ParametricLIF(0.5, 1.0, shape, learn_beta=False, learn_threshold=False, reset=reset)
    betas = torch.tensor(np.broadcast_to(beta, shape), dtype=wide).clamp(1e-12, 1 - 1e-12)
    thresholds = torch.tensor(np.broadcast_to(threshold, shape), dtype=wide)
    neuron.decay_logit.data = betas.logit().to(neuron.decay_logit.dtype)
    neuron.log_threshold.data = thresholds.log().to(neuron.log_threshold.dtype)
    return neuron


def _current_based(
    node: Node, convention: Convention, threshold: Array, reset: Reset
) -> ImportedNeuron:
    alpha, beta = (_remaining(node, key, convention) for key in ("tau_syn", "tau_mem"))
    threshold = _slim(threshold)
    if alpha.ndim or beta.ndim or threshold.ndim:
        raise node.refusal(
            "has neurons that differ", "one tau_syn, one tau_mem and one v_threshold for a layer"
        )
    if not near(node.numbers("v_leak"), 0.0):
        raise node.refusal("has a v_leak that is not 0", "0")
    r, w_in = (node.numbers(key).astype(np.float64) for key in ("r", "w_in"))
    gain = r * (1.0 - beta) * w_in * (1.0 - alpha)
    neuron = CurrentLIF(float(alpha), float(beta), float(threshold), reset)
    return ImportedNeuron(neuron, _slim(gain), np.zeros(()))


def _slim(values: Array) -> Array:
    """Return one number where all are equal, but for rounding; else one for each neuron."""
    wide = np.asarray(values, dtype=np.float64)
    first = wide.reshape(-1)[0]
    return np.array(first) if near(wide, float(first)) else wide
