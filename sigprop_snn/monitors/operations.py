"""The spikes and operations of every layer, for each sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sigprop_snn.arguments import instance
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.layer_pass import plain_pass
from sigprop_snn.layers.readout import READOUT, Readout
from sigprop_snn.layers.sources import Kept, sources_by_name
from sigprop_snn.monitors.wiring import (
    normaliser_macs,
    parts_of,
    passed,
    split_at_weights,
    wiring,
)
from sigprop_snn.network import Block, Network
from sigprop_snn.network.mode import evaluation_mode
from sigprop_snn.neurons.joining import Join, joined, joined_shape
from sigprop_snn.neurons.stepwise import is_constant


@dataclass(frozen=True)
class Operations:
    """The operations of one layer for each sample of a batch, over all steps.

    Attributes:
        neurons: number of neurons.
        spikes: number of spikes, float64 `[B]`; 0 for the readout's integrators and for neurons
            with a graded activity.
        additions: synaptic operations: a weight added because a spike arrived, float64 `[B]`.
        macs: multiply-accumulates for graded input, float64 `[B]`.
        updates: steps of the membranes, for each sample.
        connections: multiply-accumulates of one pass of graded values through the same weights.
    """

    neurons: int
    spikes: Tensor
    additions: Tensor
    macs: Tensor
    updates: int
    connections: int


@torch.no_grad()
def count_operations(network: Network, inputs: Tensor) -> dict[str, Operations]:
    """Return the operations of every layer for the inputs `[T, B, ...]`, by the layer's name.

    The counts are those of an event-driven machine, for inference without contexts:

    * A spike costs one addition for each weight that it meets: its fan-out, which is smaller at
      borders and with a stride. Recurrent weights count too. Through an average pool a spike
      reaches every window that contains it; the division is part of the weights that follow. After
      a max pool the spikes that pass it count.
    * Input of whole numbers is events, each a spike. Other input is graded: every weight takes a
      multiply-accumulate for every value, once per sample if the input is constant in time (direct
      current), otherwise at every step. The same holds for weights that follow other weights in one
      synapse, and for weights that follow neurons with a graded activity.
    * Where a block receives several blocks, each spike is counted at the weights that it meets, and
      events beside graded values stay events. A sum of spikes is as many events. A max pool to one
      size lets the spikes that pass it count; behind an average pool it makes graded values.
    * Normalisers with running statistics, and batch normalisation, are part of the weights and cost
      nothing. Layer, group and instance normalisation take two multiply-accumulates per value.
    * Every neuron takes one update per step, which includes the bias.

    The training mode of the network is restored afterwards.

    Raises:
        SigpropError: if the operations of a synapse can't be counted, or the input does not fit.
    """
    instance("network", network, Network, "a Network")
    network.check_inputs(inputs)
    with evaluation_mode(network):
        counted: dict[str, Operations] = {}
        samples = inputs = network.entering(inputs)
        inputs = network.signal.plain(samples)
        constant = len(inputs) > 1 and is_constant(inputs)
        arriving = _Arriving(inputs, nn.Identity(), constant=constant)
        kept = Kept.at_start(sources_by_name(network.named_blocks()), arriving)
        sent: dict[str, _Arriving] = {}
        for layer in plain_pass(network.named_blocks(), network.signal, samples):
            block, spike = layer.block, layer.run.spike
            arriving = _joined(kept.take(layer.name), block.sources.join)
            counted[layer.name] = _count_block(layer.name, block, arriving, spike)
            arriving = _Arriving(spike, block.pool, graded=block.neuron.graded)
            kept.put(layer.name, arriving)
            sent[layer.name] = arriving
        if network.readout is not None:
            names = network.readout.names(network.named_blocks())
            counted["readout"] = _count_readout(network.readout, [sent[name] for name in names])
    return counted


def _count_readout(readout: Readout, sent: Sequence[_Arriving]) -> Operations:
    """Return the operations of a readout, whose synapse has a part for every source."""
    classes = readout.synapse.out_features
    met = []
    for each in sent:
        values = _through(parts_of(each.pool), each.values[:1, :1])
        pools = readout.pools(tuple(values.shape[2:]))
        features = _through(pools, values).numel()
        weights = nn.Linear(features, classes, device="meta")  # only its shape counts
        met.append(_met(READOUT, each, parts_of(each.pool, *pools, nn.Flatten(), weights)))
    steps, rows = sent[0].values.shape[:2]
    return Operations(
        classes,
        torch.zeros(rows, dtype=torch.float64),
        torch.stack([each.additions for each in met]).sum(0),
        torch.stack([each.macs for each in met]).sum(0),
        classes * steps,
        sum(each.connections for each in met),
    )


class _Arriving(NamedTuple):
    """The input of a layer.

    Attributes:
        values: `[T, B, ...]`.
        pool: the pool that they pass first.
        graded: whether the values are graded; for joined input, which of them are, `[...]`.
        constant: whether they are constant in time.
    """

    values: Tensor
    pool: nn.Module
    graded: bool | Tensor = False
    constant: bool = False


class _Met(NamedTuple):
    """The operations at the weights of a synapse, `[B]`, and the number of steps with input."""

    additions: Tensor
    macs: Tensor
    connections: int
    times: int


def _joined(parts: list[_Arriving], join: Join) -> _Arriving:
    """Return the input of a layer of the parts that it receives, behind their pools."""
    if len(parts) == 1:
        return parts[0]
    sent = [_through(parts_of(part.pool), part.values) for part in parts]
    size = joined_shape([tuple(values.shape[2:]) for values in sent], join)[1:]
    graded = []
    for index, part in enumerate(parts):
        if tuple(sent[index].shape[3:]) == size or not size:
            # No max pool follows: through an average pool, a spike reaches every window.
            nonlinear, linear = split_at_weights(parts_of(part.pool))
            sent[index] = _through(
                [partial(passed, each) for each in linear], _through(nonlinear, part.values)
            )
        is_graded = bool(part.graded) or not _is_whole(sent[index])
        graded.append(torch.full_like(sent[index][:1, :1], float(is_graded)))
    return _Arriving(joined(sent, join), nn.Identity(), graded=joined(graded, join)[0, 0] > 0)


def _count_block(name: str, block: Block, arriving: _Arriving, spike: Tensor) -> Operations:
    shape = tuple(spike.shape[2:])
    neurons, steps = math.prod(shape), len(spike)
    graded = block.neuron.graded
    met = _met(name, arriving, parts_of(arriving.pool, block.synapse))
    additions, macs = met.additions, met.macs
    macs = macs + float(
        sum(normaliser_macs(part, neurons) for part in parts_of(block.norm)) * met.times
    )
    if block.neuron.recurrence is not None and steps > 1:
        recurrent = _Arriving(spike[:-1], nn.Identity(), graded=graded)
        back = _met(name, recurrent, parts_of(block.neuron.recurrence))
        additions, macs = additions + back.additions, macs + back.macs
    fired = torch.zeros_like(additions) if graded else _total(spike)
    return Operations(neurons, fired, additions, macs, neurons * steps, met.connections)


def _met(name: str, arriving: _Arriving, parts: list[nn.Module]) -> _Met:
    nonlinear, linear = split_at_weights(parts)
    values = _through(nonlinear, arriving.values[:1] if arriving.constant else arriving.values)
    times, shape = len(values), values.shape[2:]
    try:
        wired = wiring(linear, shape)
    except SigpropError as error:
        raise SigpropError(f"{name}: {error}") from error
    measured = sum(normaliser_macs(part, math.prod(shape)) for part in nonlinear)
    macs = (wired.behind + measured) * times
    graded = torch.as_tensor(arriving.graded)
    if nonlinear:
        graded = graded.any()
    graded = graded.cpu().expand(shape)
    if arriving.constant or not _is_whole(values[:, :, ~graded] if graded.any() else values):
        graded = torch.ones_like(graded)
    places = values.abs().sum(0, dtype=torch.float64).cpu()
    additions = places.masked_fill(graded, 0.0).flatten(1) @ wired.fan_out.flatten()
    # The part of the connections that graded values meet.
    met = wired.fan_out[graded].sum() / wired.fan_out.sum() if graded.any() else 0.0
    return _Met(
        additions,
        torch.full_like(additions, macs + wired.connections * times * float(met)),
        wired.connections + wired.behind,
        times,
    )


def _total(spike: Tensor) -> Tensor:
    return spike.sum(0, dtype=torch.float64).flatten(1).sum(1).cpu()


def _is_whole(values: Tensor) -> bool:
    return bool((values == values.round()).all())


def _through(parts: Sequence[Callable[[Tensor], Tensor]], values: Tensor) -> Tensor:
    """Pass every step through the parts."""
    flat = values.flatten(0, 1)
    for part in parts:
        flat = part(flat)
    return flat.view(*values.shape[:2], *flat.shape[1:])
