"""Networks by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import nn

from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.network.block import Block
from sigprop_snn.network.layout import Layout
from sigprop_snn.network.loss import LocalLoss
from sigprop_snn.network.network import Network, Predict
from sigprop_snn.network.norm import LengthNorm, RunningNorm, RunningScale
from sigprop_snn.network.readout import Readout
from sigprop_snn.network.rule import Rule
from sigprop_snn.network.signal import Signal
from sigprop_snn.network.signals import projected_context
from sigprop_snn.network.synapse import EventLinear
from sigprop_snn.neurons import LIF, Neuron, make_neuron

Norm = Literal["scale", "length"]
NORMS: tuple[Norm, ...] = ("scale", "length")


def mlp(
    shape: tuple[int, ...],
    classes: int,
    *,
    hidden: Sequence[int] = (800, 800),
    neuron: Callable[..., Neuron] = LIF,
    gain: float = 2.0,
    norm: Norm = "scale",
    rule: Rule | Callable[[Layout], Rule] | None = None,
    loss: LocalLoss | None = None,
    signal: Callable[[Layout], Signal] | None = None,
    predict: Predict | None = None,
) -> Network:
    """Return a fully connected network.

    Args:
        shape: shape of one step of one sample; it is flattened.
        classes: C.
        hidden: neurons of each block.
        neuron: makes the neuron of each block; told its shape if it has to know it.
        gain: root mean square of the current at the start, in units of voltage.
        norm: "scale" divides each layer's current by its running root mean square; "length"
            divides each row of what comes into a layer by its own.
        rule: the learning rule, or what makes one that fits the network; the voltage rule if not
            given.
        loss: the local loss; the dot-product loss if not given.
        signal: what makes a learning signal that fits the network; a projected context if not
            given.
        predict: "readout", "context" or "vote".
    """
    if not hidden:
        raise SigpropError("mlp got no hidden sizes; expected at least one")
    if norm not in NORMS:
        raise UnknownNameError("norm", norm, NORMS)
    blocks = []
    features = math.prod(shape)
    for index, size in enumerate(hidden):
        linear = EventLinear(features, size)
        before: list[nn.Module] = [nn.Flatten()] if index == 0 else []
        scale = RunningScale(size, gain) if norm == "scale" else None
        if norm == "length":
            before.append(LengthNorm())
            with torch.no_grad():  # of rows that are all of one length the current's is known
                nn.init.normal_(linear.weight, std=gain / math.sqrt(features))
        synapse = nn.Sequential(*before, linear) if before else linear
        blocks.append(Block(synapse, make_neuron(neuron, (size,)), norm=scale))
        features = size
    layout = Layout.of(blocks, shape, classes, gain)
    return _assembled(layout, blocks, rule, loss, signal, predict)


def conv(
    shape: tuple[int, ...],
    classes: int,
    *,
    channels: Sequence[int] = (24, 48, 96),
    kernel: int = 5,
    neuron: Callable[..., Neuron] = LIF,
    gain: float = 1.0,
    shift: float = -0.5,
    rule: Rule | Callable[[Layout], Rule] | None = None,
    loss: LocalLoss | None = None,
    signal: Callable[[Layout], Signal] | None = None,
    predict: Predict | None = None,
) -> Network:
    """Return a convolutional network; spikes are pooled 2x2 behind every block that can be.

    Args:
        shape: `(C, H, W)` of one step of one sample.
        classes: C.
        channels: feature maps of each block.
        kernel: side of the kernels, odd.
        neuron: makes the neuron of each block; told its shape if it has to know it.
        gain: standard deviation of the current at the start, in units of voltage.
        shift: mean of the current at the start; below zero it keeps the maps sparse.
        rule: the learning rule, or what makes one that fits the network; the voltage rule if not
            given.
        loss: the local loss; the dot-product loss if not given.
        signal: what makes a learning signal that fits the network; a projected context if not
            given.
        predict: "readout", "context" or "vote".

    Raises:
        SigpropError: if the shape is not a picture's.
    """
    if len(shape) != 3:
        raise SigpropError(f"conv got samples of shape {list(shape)}; expected (C, H, W)")
    if not channels:
        raise SigpropError("conv got no channels; expected at least one")
    blocks = []
    features, height, width = shape
    for size in channels:
        synapse = nn.Conv2d(features, size, kernel, padding=kernel // 2)
        pool = nn.MaxPool2d(2) if min(height, width) >= 8 else None
        layer = make_neuron(neuron, (size, height, width))
        blocks.append(Block(synapse, layer, norm=RunningNorm(size, gain, shift), pool=pool))
        features = size
        height, width = (height // 2, width // 2) if pool is not None else (height, width)
    layout = Layout.of(blocks, shape, classes, gain)
    return _assembled(layout, blocks, rule, loss, signal, predict)


def _assembled(
    layout: Layout,
    blocks: Sequence[Block],
    rule: Rule | Callable[[Layout], Rule] | None,
    loss: LocalLoss | None,
    signal: Callable[[Layout], Signal] | None,
    predict: Predict | None,
) -> Network:
    """Fit the signal, the rule and the readout to the blocks."""
    return Network(
        projected_context(layout) if signal is None else signal(layout),
        blocks,
        Readout(math.prod(layout.outputs[-1]), layout.classes),
        rule=rule if rule is None or isinstance(rule, Rule) else rule(layout),
        loss=loss,
        predict=predict,
    )


NETWORKS: dict[str, Callable[..., Network]] = {
    "mlp": mlp,
    "conv": conv,
}
