"""Networks by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

import torch
from torch import nn

from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.layers.block import Block, LayerRule
from sigprop_snn.layers.norm import LengthNorm, RunningNorm, RunningScale
from sigprop_snn.layers.readout import Readout
from sigprop_snn.layers.rule import Predict, Rule
from sigprop_snn.losses.base import LocalLoss
from sigprop_snn.network.network import Network
from sigprop_snn.neurons import LIF, Neuron, make_neuron
from sigprop_snn.neurons.pooling import HalvingPool
from sigprop_snn.shapes import Layout
from sigprop_snn.signals.base import Signal
from sigprop_snn.signals.catalogue import projected_context

RuleOrMaker: TypeAlias = Rule | LayerRule | Callable[[Layout], Rule | LayerRule]

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
    rule: RuleOrMaker | None = None,
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
        linear = nn.Linear(features, size)
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
    rule: RuleOrMaker | None = None,
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
        pool = HalvingPool() if min(height, width) >= 8 else None
        layer = make_neuron(neuron, (size, height, width))
        norm = RunningNorm(size, gain, shift)
        blocks.append(Block(synapse, layer, norm=norm, pool=pool, centred=bool(blocks)))
        features = size
        height, width = (height // 2, width // 2) if pool is not None else (height, width)
    layout = Layout.of(blocks, shape, classes, gain)
    return _assembled(layout, blocks, rule, loss, signal, predict)


_VGG8: tuple[int | None, ...] = (128, 256, None, 256, 512, None, 512, None, 512, None)
_VGG8_DENSE = 1024


def vgg8(
    shape: tuple[int, ...],
    classes: int,
    *,
    width: float = 1.0,
    dropout: float = 0.0,
    neuron: Callable[..., Neuron] = LIF,
    gain: float = 1.0,
    shift: float = -0.5,
    rule: RuleOrMaker | None = None,
    loss: LocalLoss | None = None,
    signal: Callable[[Layout], Signal] | None = None,
    predict: Predict | None = None,
) -> Network:
    """Return the eight layers of arXiv 2204.01723: six convolutions, a dense layer, the readout.

    128, 256, pool, 256, 512, pool, 512, pool, 512, pool, 1024 dense; kernels of 3x3, pools of 2x2
    by the maximum. A pool drops out where the picture has become smaller than 4x4. The normaliser
    is by running figures instead of each picture's own, so that the current stays affine in the
    input and the closed form exact.

    Args:
        shape: `(C, H, W)` of one step of one sample.
        classes: C.
        width: what the numbers of maps, and of dense neurons, are multiplied by.
        dropout: share of the maps that a block sends nothing of, drawn anew for every row and
            step while training (the paper's is 0.2).
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
        SigpropError: if the shape is not a picture's, or a number is out of its range.
    """
    if len(shape) != 3:
        raise SigpropError(f"vgg8 got samples of shape {list(shape)}; expected (C, H, W)")
    if not 0 < width < float("inf") or not 0 <= dropout < 1:
        raise SigpropError(
            f"vgg8 got width {width} and dropout {dropout}; expected width > 0 and 0 <= dropout < 1"
        )
    blocks = []
    features, height, side = shape
    for place, size in enumerate(_VGG8):
        if size is None:
            continue
        maps = max(1, round(width * size))
        synapse = nn.Conv2d(features, maps, 3, padding=1)
        pooled = _VGG8[place + 1] is None and min(height, side) >= 4
        layer = make_neuron(neuron, (maps, height, side))
        norm = RunningNorm(maps, gain, shift)
        blocks.append(Block(synapse, layer, norm=norm, pool=_passage(pooled, dropout), centred=bool(blocks)))
        features = maps
        height, side = (height // 2, side // 2) if pooled else (height, side)
    dense = max(1, round(width * _VGG8_DENSE))
    blocks.append(
        Block(
            nn.Sequential(nn.Flatten(), nn.Linear(features * height * side, dense)),
            make_neuron(neuron, (dense,)),
            norm=RunningNorm(dense, gain, shift),
            centred=True,
        )
    )
    layout = Layout.of(blocks, shape, classes, gain)
    return _assembled(layout, blocks, rule, loss, signal, predict)


def _passage(pooled: bool, dropout: float) -> nn.Module | None:
    """Return what a block's maps pass through on their way out."""
    parts: list[nn.Module] = [HalvingPool()] if pooled else []
    if dropout:
        parts.append(nn.Dropout2d(dropout))
    return nn.Sequential(*parts) if len(parts) > 1 else parts[0] if parts else None


def _assembled(
    layout: Layout,
    blocks: Sequence[Block],
    rule: RuleOrMaker | None,
    loss: LocalLoss | None,
    signal: Callable[[Layout], Signal] | None,
    predict: Predict | None,
) -> Network:
    """Fit the signal, the rule and the readout to the blocks."""
    front = projected_context(layout) if signal is None else signal(layout)
    return Network(
        front,
        blocks,
        Readout(math.prod(layout.outputs[-1]), layout.classes, answers=front.answers),
        rule=rule(layout) if callable(rule) and not isinstance(rule, Rule) else rule,
        loss=loss,
        predict=predict,
    )


NETWORKS: dict[str, Callable[..., Network]] = {
    "mlp": mlp,
    "conv": conv,
    "vgg8": vgg8,
}
