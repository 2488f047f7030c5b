"""Networks made of layers that exist already: those of another library, or of a file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.block import Block
from sigprop_snn.layers.layout import layout_of
from sigprop_snn.layers.readout import Readout
from sigprop_snn.layers.sources import AnySources
from sigprop_snn.network.network import Network
from sigprop_snn.network.parts import NetworkParts
from sigprop_snn.neurons import Neuron
from sigprop_snn.shapes import Layout


@dataclass
class Part:
    """The modules of one block.

    Attributes:
        synapse: those that make its current, in order.
        neuron: its neuron.
        behind: those that its spikes pass on their way out.
        sources: the blocks that it receives.
    """

    synapse: list[nn.Module]
    neuron: Neuron
    behind: list[nn.Module] = field(default_factory=list)
    sources: AnySources = 1


def network_from_parts(
    parts: list[Part],
    readout: Readout | None,
    shape: tuple[int, ...],
    gain: float,
    choices: NetworkParts,
) -> Network:
    """Return the network of some blocks, on the device and in the dtype of their weights.

    Args:
        parts: the modules of the blocks, in order.
        readout: the readout; without one, the scores are the mean spikes of the last block.
        shape: shape of one step of one sample.
        gain: root mean square of the contexts' current, in units of voltage.
        choices: rule, loss, signal and prediction.

    Raises:
        SigpropError: if samples of this shape do not fit.
    """
    blocks = [_block(part) for part in parts]
    with _evaluating(blocks):
        layout = _layout(blocks, shape, gain)
    if readout is None:
        readout = _rates(math.prod(layout.outputs[-1]))
    layout = Layout(
        readout.synapse.out_features, layout.inputs, layout.currents, layout.outputs, gain,
        layout.weights,
    )  # fmt: skip
    network = choices.network(layout, blocks, readout=readout)
    weight = next(blocks[0].synapse.parameters())
    return network.to(weight.device, weight.dtype)


def readout_of(linear: nn.Linear, beta: float, sources: AnySources = 1) -> Readout:
    """Return the readout with the weights of a linear layer.

    Args:
        linear: the layer.
        beta: decay of the integrators per step.
        sources: the blocks that it reads; see `Readout`.
    """
    readout = Readout(linear.in_features, linear.out_features, beta, sources=sources)
    bias = linear.bias
    readout.synapse.weight = nn.Parameter(linear.weight.detach().clone())
    readout.synapse.bias = nn.Parameter(
        torch.zeros_like(linear.weight[:, 0]) if bias is None else bias.detach().clone()
    )
    for own, given in zip(readout.synapse.parameters(), linear.parameters(), strict=False):
        own.requires_grad_(given.requires_grad)
    return readout


def _rates(classes: int) -> Readout:
    """Return the readout of as many neurons that scores their mean spikes."""
    readout = Readout(classes, classes, beta=0.0)
    with torch.no_grad():
        nn.init.eye_(readout.synapse.weight)
        nn.init.zeros_(readout.synapse.bias)
    return readout


def _block(part: Part) -> Block:
    pool = _joined(part.behind) if part.behind else None
    return Block(_joined(part.synapse), part.neuron, pool=pool, sources=part.sources)


def _joined(modules: list[nn.Module]) -> nn.Module:
    return modules[0] if len(modules) == 1 else nn.Sequential(*modules)


def _layout(blocks: list[Block], shape: tuple[int, ...], gain: float) -> Layout:
    """Return the layout of the blocks, the number of classes left open.

    Raises:
        SigpropError: if samples of this shape do not fit.
    """
    try:
        return layout_of(blocks, shape, 1, gain)
    except SigpropError as error:
        raise SigpropError(
            f"samples of shape {list(shape)} do not fit the model: {error}; expected the shape of "
            "one step of one sample"
        ) from error


@contextmanager
def _evaluating(blocks: list[Block]) -> Iterator[None]:
    """Set blocks to evaluation, so that no normaliser observes."""
    for block in blocks:
        block.eval()
    yield
    for block in blocks:
        block.train()
