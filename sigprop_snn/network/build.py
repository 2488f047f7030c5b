"""Networks by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.network.block import Block
from sigprop_snn.network.loss import LocalLoss
from sigprop_snn.network.network import Network, Predict
from sigprop_snn.network.norm import RunningNorm, RunningScale
from sigprop_snn.network.readout import Readout
from sigprop_snn.network.rule import Rule
from sigprop_snn.network.signal import ProjectedContext
from sigprop_snn.neurons import LIF, Neuron


def mlp(
    shape: tuple[int, ...],
    classes: int,
    *,
    hidden: Sequence[int] = (800, 800),
    neuron: Callable[[], Neuron] = LIF,
    gain: float = 2.0,
    rule: Rule | None = None,
    loss: LocalLoss | None = None,
    predict: Predict | None = None,
) -> Network:
    """Return a fully connected network.

    Args:
        shape: shape of one step of one sample; it is flattened.
        classes: C.
        hidden: neurons of each block.
        neuron: makes the neuron of each block.
        gain: root mean square of the current at the start, in units of voltage.
        rule: the learning rule; the voltage rule if not given.
        loss: the local loss; the dot-product loss if not given.
        predict: "readout" or "context".
    """
    blocks = []
    features = math.prod(shape)
    for index, size in enumerate(hidden):
        linear = nn.Linear(features, size)
        synapse = nn.Sequential(nn.Flatten(), linear) if index == 0 else linear
        blocks.append(Block(synapse, neuron(), norm=RunningScale(size, gain)))
        features = size
    return _with_signal_and_readout(shape, classes, blocks, gain, rule, loss, predict)


def conv(
    shape: tuple[int, ...],
    classes: int,
    *,
    channels: Sequence[int] = (32, 64, 128),
    kernel: int = 3,
    neuron: Callable[[], Neuron] = LIF,
    gain: float = 1.0,
    rule: Rule | None = None,
    loss: LocalLoss | None = None,
    predict: Predict | None = None,
) -> Network:
    """Return a convolutional network; spikes are averaged 2x2 behind every block that can be.

    Args:
        shape: `(C, H, W)` of one step of one sample.
        classes: C.
        channels: feature maps of each block.
        kernel: side of the kernels, odd.
        neuron: makes the neuron of each block.
        gain: standard deviation of the current at the start, in units of voltage.
        rule: the learning rule; the voltage rule if not given.
        loss: the local loss; the dot-product loss if not given.
        predict: "readout" or "context".

    Raises:
        SigpropError: if the shape is not a picture's.
    """
    if len(shape) != 3:
        raise SigpropError(f"conv got samples of shape {list(shape)}; expected (C, H, W)")
    blocks = []
    features, height, width = shape
    for size in channels:
        synapse = nn.Conv2d(features, size, kernel, padding=kernel // 2)
        pool = nn.AvgPool2d(2) if min(height, width) >= 8 else None
        blocks.append(Block(synapse, neuron(), norm=RunningNorm(size, gain), pool=pool))
        features = size
        height, width = (height // 2, width // 2) if pool is not None else (height, width)
    return _with_signal_and_readout(shape, classes, blocks, gain, rule, loss, predict)


def _with_signal_and_readout(
    shape: tuple[int, ...],
    classes: int,
    blocks: Sequence[Block],
    gain: float,
    rule: Rule | None,
    loss: LocalLoss | None,
    predict: Predict | None,
) -> Network:
    """Fit the signal to the first block's current and the readout to the last block's spikes."""
    with torch.no_grad():
        sizes = torch.zeros(1, *shape)
        for index, block in enumerate(blocks):
            sizes = block.synapse(sizes)
            if index == 0:
                first = tuple(sizes.shape[1:])
            sizes = block.pool(sizes)
    return Network(
        ProjectedContext(classes, first, gain=gain),
        blocks,
        Readout(sizes.numel(), classes),
        rule=rule,
        loss=loss,
        predict=predict,
    )


NETWORKS: dict[str, Callable[..., Network]] = {
    "mlp": mlp,
    "conv": conv,
}
