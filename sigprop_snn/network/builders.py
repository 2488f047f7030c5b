"""Networks by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from sigprop_snn.arguments import number, one_of, positive, refused, whole
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.block import Block, Centring
from sigprop_snn.layers.layout import layout_of
from sigprop_snn.layers.norm import LengthNorm, RunningNorm, RunningScale
from sigprop_snn.layers.sources import INPUT, AnySources, Sources, joining
from sigprop_snn.network.network import Network
from sigprop_snn.network.parts import (
    AnyLoss,
    AnyNeuron,
    AnyRule,
    AnySignal,
    NetworkParts,
    picture_shape,
    sizes,
)
from sigprop_snn.neurons import IF, LIF, CurrentLIF, ParametricLIF
from sigprop_snn.neurons.joining import joined_shape
from sigprop_snn.neurons.pooling import HalvingPool
from sigprop_snn.predict import Predict

Norm = Literal["scale", "length"]
NORMS: tuple[Norm, ...] = ("scale", "length")
Pool = Literal["maximum", "average"]
POOLS: tuple[Pool, ...] = ("maximum", "average")
Layers = Sequence[int | Literal["pool"]]


def mlp(
    shape: Sequence[int] | int,
    classes: int,
    *,
    hidden: Sequence[int] | int = (800, 800),
    neuron: AnyNeuron = LIF,
    gain: float = 2.0,
    norm: Norm = "scale",
    rule: AnyRule | None = None,
    loss: AnyLoss | None = None,
    signal: AnySignal | None = None,
    predict: Predict | None = None,
    sources: AnySources = 1,
) -> Network:
    """Return a fully connected network.

    Args:
        shape: shape of one step of one sample; it is flattened.
        classes: C.
        hidden: neurons of each block; one number is one block.
        neuron: the neuron of each block; see `NetworkParts`.
        gain: root mean square of the current at the start, in units of voltage.
        norm: "scale" divides each layer's current by its running root mean square; "length"
            divides each row of a layer's input by the row's root mean square.
        rule: the learning rule; see `NetworkParts`.
        loss: the local loss; see `NetworkParts`.
        signal: the learning signal; see `NetworkParts`.
        predict: "readout", "context", "subset", "neutral", "both" or "vote"; see `Network`.
        sources: how many blocks below each block receives, or a `Sources` with such a number.

    Raises:
        SigpropError: if an argument can't be used; it names the argument and the value.
    """
    shape, hidden = sizes("shape", shape), sizes("hidden", hidden)
    one_of("norm", norm, NORMS)
    classes, gain = whole("classes", classes), positive("gain", gain)
    parts = NetworkParts(neuron, rule, loss, signal, predict)
    blocks: list[Block] = []
    below = _Below(shape, sources)
    for index, size in enumerate(hidden):
        features = math.prod(below.received())
        linear = nn.Linear(features, size)
        before: list[nn.Module] = [nn.Flatten()] if index == 0 else []
        scale = RunningScale(size, gain) if norm == "scale" else None
        if norm == "length":
            before.append(LengthNorm())
            with torch.no_grad():  # rows of one length give a current of known size
                nn.init.normal_(linear.weight, std=gain / math.sqrt(features))
        synapse = nn.Sequential(*before, linear) if before else linear
        blocks.append(
            Block(synapse, parts.layer_neuron((size,)), norm=scale, sources=below.sources)
        )
        below.sent((size,))
    layout = layout_of(blocks, shape, classes, gain)
    return parts.network(layout, blocks)


def conv(
    shape: tuple[int, ...],
    classes: int,
    *,
    channels: Sequence[int] | int = (24, 48, 96),
    kernel: int = 5,
    pool: Pool = "maximum",
    neuron: AnyNeuron = LIF,
    gain: float = 1.0,
    shift: float = -0.5,
    centred: bool | Centring = True,
    rule: AnyRule | None = None,
    loss: AnyLoss | None = None,
    signal: AnySignal | None = None,
    predict: Predict | None = None,
    sources: AnySources = 1,
) -> Network:
    """Return a convolutional network; maps of at least 8x8 are pooled 2x2 behind their block.

    Args:
        shape: `(C, H, W)` of one step of one sample.
        classes: C.
        channels: feature maps of each block; one number is one block.
        kernel: side of the kernels, odd.
        pool: "maximum" or "average"; see `vgg`.
        neuron: the neuron of each block; see `NetworkParts`.
        gain: standard deviation of the current at the start, in units of voltage.
        shift: mean of the current at the start; below zero it keeps the maps sparse.
        centred: whether and how the blocks above the first learn from centred traces; see `Block`.
        rule: the learning rule; see `NetworkParts`.
        loss: the local loss; see `NetworkParts`.
        signal: the learning signal; see `NetworkParts`.
        predict: "readout", "context", "subset", "neutral", "both" or "vote"; see `Network`.
        sources: how many blocks below each block receives, or a `Sources` with such a number.

    Raises:
        SigpropError: if an argument can't be used; it names the argument and the value.
    """
    channels = sizes("channels", channels)
    side = min(picture_shape(shape)[1:])
    layers: list[int | Literal["pool"]] = []
    for maps in channels:
        layers += [maps, "pool"] if side >= 8 else [maps]
        side = side // 2 if side >= 8 else side
    return vgg(
        shape, classes, layers=layers, kernel=kernel, pool=pool, neuron=neuron, gain=gain,
        shift=shift, centred=centred, rule=rule, loss=loss, signal=signal, predict=predict,
        sources=sources,
    )  # fmt: skip


def nir_conv(
    shape: tuple[int, ...],
    classes: int,
    *,
    channels: Sequence[int] | int = (24, 48, 96),
    kernel: int = 5,
    neuron: AnyNeuron = LIF,
    gain: float = 1.0,
    shift: float = -0.5,
    centred: bool | Centring = True,
    rule: AnyRule | None = None,
    loss: AnyLoss | None = None,
    signal: AnySignal | None = None,
    predict: Predict | None = None,
    sources: AnySources = 1,
) -> Network:
    """Return a `conv` that NIR has words for: average pools, and neurons that reset to zero.

    The readout reads the last block. `sigprop_snn.deploy.to_nir` exports the network as it is.

    Args:
        shape: `(C, H, W)` of one step of one sample.
        classes: C.
        channels: feature maps of each block; one number is one block.
        kernel: side of the kernels, odd.
        neuron: the neuron of each block: LIF, IF, ParametricLIF or CurrentLIF; its reset becomes
            "zero". See `NetworkParts`.
        gain: standard deviation of the current at the start, in units of voltage.
        shift: mean of the current at the start; below zero it keeps the maps sparse.
        centred: whether and how the blocks above the first learn from centred traces; see `Block`.
        rule: the learning rule; see `NetworkParts`.
        loss: the local loss; see `NetworkParts`.
        signal: the learning signal; see `NetworkParts`.
        predict: "readout", "context", "subset", "neutral", "both" or "vote"; see `Network`.
        sources: how many blocks below each block receives, or a `Sources` with such a number.

    Raises:
        SigpropError: if an argument can't be used; it names the argument and the value.
    """
    network = conv(
        shape, classes, channels=channels, kernel=kernel, pool="average", neuron=neuron, gain=gain,
        shift=shift, centred=centred, rule=rule, loss=loss, signal=signal, predict=predict,
        sources=sources,
    )  # fmt: skip
    for block in network.each_block():
        if type(block.neuron) not in (LIF, IF, ParametricLIF, CurrentLIF):
            raise SigpropError(
                f"neuron is {type(block.neuron).__name__}, which NIR has no word for; expected "
                "LIF, IF, ParametricLIF or CurrentLIF"
            )
        block.neuron.reset_mode = "zero"
    return network


_READ_SIDE = 8  # positions per side of the maps that the readout reads
_SIX: Layers = (32, "pool", 64, 64, "pool", 96, 96, 128)
_VGG8: Layers = (128, 256, "pool", 256, 512, "pool", 512, "pool", 512, "pool")
_VGG8_DENSE = 1024


def vgg(
    shape: tuple[int, ...],
    classes: int,
    *,
    layers: Layers = _SIX,
    kernel: int = 3,
    pool: Pool = "maximum",
    dense: int | None = None,
    dropout: float = 0.0,
    neuron: AnyNeuron = LIF,
    gain: float = 1.0,
    shift: float = -0.5,
    centred: bool | Centring = True,
    rule: AnyRule | None = None,
    loss: AnyLoss | None = None,
    signal: AnySignal | None = None,
    predict: Predict | None = None,
    sources: AnySources = 1,
) -> Network:
    """Return a network of convolutions, given layer by layer.

    The normalisers use running statistics instead of each picture's, so that the current stays
    affine in the input and the closed form exact.

    Args:
        shape: `(C, H, W)` of one step of one sample.
        classes: C.
        layers: the feature maps of each block. "pool" behind a block pools its spikes 2x2; maps
            smaller than 4x4 are not pooled.
        kernel: side of the kernels, odd.
        pool: "maximum", with a readout of all blocks where the rule allows it; or "average", with a
            readout of the last block, for devices and formats without maximum pools.
        dense: neurons of a fully connected block above the convolutions, or none.
        dropout: fraction of a block's output maps that are set to zero, drawn for every row and
            step while training.
        neuron: the neuron of each block; see `NetworkParts`.
        gain: standard deviation of the current at the start, in units of voltage.
        shift: mean of the current at the start; below zero it keeps the maps sparse.
        centred: whether and how the blocks above the first learn from centred traces; see `Block`.
        rule: the learning rule; see `NetworkParts`.
        loss: the local loss; see `NetworkParts`.
        signal: the learning signal; see `NetworkParts`.
        predict: "readout", "context", "subset", "neutral", "both" or "vote"; see `Network`.
        sources: how many blocks below each block receives, or a `Sources` with such a number.

    Raises:
        SigpropError: if an argument can't be used; it names the argument and the value.
    """
    shape = picture_shape(shape)
    classes, kernel = whole("classes", classes), whole("kernel", kernel)
    if kernel % 2 == 0:
        raise SigpropError(f"kernel is {kernel}; expected an odd number, so that maps keep size")
    gain, shift = positive("gain", gain), number("shift", shift)
    one_of("pool", pool, POOLS)
    dropout = number("dropout", dropout, "a number >= 0 and < 1", lambda x: 0 <= x < 1)
    parts = NetworkParts(neuron, rule, loss, signal, predict)
    blocks: list[Block] = []
    below = _Below(shape, sources)
    for maps, pooled in _with_pools(layers):
        features, height, width = below.received()
        pooled = pooled and min(height, width) >= 4
        block = Block(
            nn.Conv2d(features, maps, kernel, padding=kernel // 2),
            parts.layer_neuron((maps, height, width)),
            norm=RunningNorm(maps, gain, shift),
            pool=_output_path(pool if pooled else None, dropout),
            centred=centred if blocks else False,
            sources=below.sources,
        )
        blocks.append(block)
        below.sent((maps, height, width), pooled=pooled)
    if dense is not None:
        neurons = whole("dense", dense)
        block = Block(
            nn.Sequential(nn.Flatten(), nn.Linear(math.prod(below.received()), neurons)),
            parts.layer_neuron((neurons,)),
            norm=RunningNorm(neurons, gain, shift),
            centred=centred,
            sources=below.sources,
        )
        blocks.append(block)
    layout = layout_of(blocks, shape, classes, gain)
    return parts.network(layout, blocks, read_side=_READ_SIDE if pool == "maximum" else None)


def _with_pools(layers: Layers) -> list[tuple[int, bool]]:
    """Return the maps of every block, and whether a pool follows.

    Raises:
        SigpropError: if an entry is neither a positive whole number nor "pool" behind one.
    """
    entries: Any = layers
    if isinstance(layers, str) or (hasattr(layers, "__index__") and not hasattr(layers, "__len__")):
        entries = [layers]
    if not isinstance(entries, Iterable) or isinstance(entries, Mapping):
        raise refused("layers", layers, 'numbers of maps and "pool", such as (32, "pool", 64)')
    found: list[tuple[int, bool]] = []
    for entry in entries:
        if isinstance(entry, str) and entry == "pool" and found and not found[-1][1]:
            found[-1] = found[-1][0], True
        elif isinstance(entry, str):
            raise SigpropError(
                f'layers has {entry!r}; expected positive numbers of maps, and "pool" only behind '
                "one of them"
            )
        else:
            found.append((whole("layers", entry), False))
    if not found:
        raise SigpropError(f"layers is {layers!r}; expected at least one block")
    return found


def vgg8(
    shape: tuple[int, ...],
    classes: int,
    *,
    width: float = 1.0,
    dropout: float = 0.0,
    neuron: AnyNeuron = LIF,
    gain: float = 1.0,
    shift: float = -0.5,
    centred: bool | Centring = True,
    rule: AnyRule | None = None,
    loss: AnyLoss | None = None,
    signal: AnySignal | None = None,
    predict: Predict | None = None,
    sources: AnySources = 1,
) -> Network:
    """Return the eight layers of arXiv 2204.01723: six convolutions, a dense layer, the readout.

    128, 256, pool, 256, 512, pool, 512, pool, 512, pool, 1024 dense; kernels of 3x3, pools of 2x2
    by the maximum; see `vgg`.

    Args:
        shape: `(C, H, W)` of one step of one sample.
        classes: C.
        width: factor of the numbers of maps and of dense neurons.
        dropout: fraction of a block's output maps that are set to zero, drawn for every row and
            step while training (the paper's is 0.2).
        neuron: the neuron of each block; see `NetworkParts`.
        gain: standard deviation of the current at the start, in units of voltage.
        shift: mean of the current at the start; below zero it keeps the maps sparse.
        centred: whether and how the blocks above the first learn from centred traces; see `Block`.
        rule: the learning rule; see `NetworkParts`.
        loss: the local loss; see `NetworkParts`.
        signal: the learning signal; see `NetworkParts`.
        predict: "readout", "context", "subset", "neutral", "both" or "vote"; see `Network`.
        sources: how many blocks below each block receives, or a `Sources` with such a number.

    Raises:
        SigpropError: if an argument can't be used; it names the argument and the value.
    """
    width = positive("width", width)

    def scaled(size: int) -> int:
        return max(1, round(width * size))

    layers: Layers = [size if size == "pool" else scaled(size) for size in _VGG8]
    return vgg(
        shape, classes, layers=layers, dense=scaled(_VGG8_DENSE), dropout=dropout, neuron=neuron,
        gain=gain, shift=shift, centred=centred, rule=rule, loss=loss, signal=signal,
        predict=predict, sources=sources,
    )  # fmt: skip


class _Below:
    """The shapes of what a builder's blocks send, from which the next block's input follows.

    Args:
        shape: shape of a sample.
        sources: what every block receives.

    Raises:
        SigpropError: if the sources are names, which differ from block to block.
    """

    def __init__(self, shape: tuple[int, ...], sources: AnySources) -> None:
        self.sources = Sources.of(sources)
        if not isinstance(self.sources.blocks, int):
            raise SigpropError(
                f"sources are {self.sources.blocks!r} for every block; expected a number of blocks "
                "below each"
            )
        self._shapes = {INPUT: shape}

    def received(self) -> tuple[int, ...]:
        """Return the shape of the next block's input."""
        name = f"block{len(self._shapes)}"
        names = self.sources.received(name, list(self._shapes)[1:])
        with joining(name):
            return joined_shape([self._shapes[source] for source in names], self.sources.join)

    def sent(self, shape: tuple[int, ...], *, pooled: bool = False) -> None:
        """Add a block whose neurons have this shape; a 2x2 pool halves its maps."""
        if pooled:
            shape = (shape[0], *(size // 2 for size in shape[1:]))
        self._shapes[f"block{len(self._shapes)}"] = shape


def _output_path(pool: Pool | None, dropout: float) -> nn.Module | None:
    """Return the module behind a block's neurons: pool, dropout, both, or none."""
    parts: list[nn.Module] = []
    if pool is not None:
        parts.append(HalvingPool() if pool == "maximum" else nn.AvgPool2d(2))
    if dropout:
        parts.append(nn.Dropout2d(dropout))
    return nn.Sequential(*parts) if len(parts) > 1 else parts[0] if parts else None


NETWORKS: dict[str, Callable[..., Network]] = {
    "mlp": mlp,
    "conv": conv,
    "nir-conv": nir_conv,
    "vgg": vgg,
    "vgg8": vgg8,
}
