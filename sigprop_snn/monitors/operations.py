"""Spikes and operations of every layer, counted sample by sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.monitors.wiring import normaliser_macs, parts_of, split_at_choice, wiring
from sigprop_snn.layers.layer_pass import plain_pass
from sigprop_snn.network import Block, Network
from sigprop_snn.neurons.filters import is_constant


@dataclass(frozen=True)
class Operations:
    """What one layer did for each sample of a batch, over all steps.

    Attributes:
        neurons: neurons of the layer.
        spikes: spikes it fired, float64 `[B]`. The readout's integrators fire none, nor do
            neurons that send a graded activity.
        additions: synaptic operations: a weight added because a spike arrived, float64 `[B]`.
        macs: multiply-accumulates, where what arrives is graded, float64 `[B]`.
        updates: steps of the membranes, for each sample.
        connections: multiply-accumulates of the same layer for one pass of graded values.
    """

    neurons: int
    spikes: Tensor
    additions: Tensor
    macs: Tensor
    updates: int
    connections: int


@torch.no_grad()
def count_operations(network: Network, inputs: Tensor) -> dict[str, Operations]:
    """Return what every layer does for the inputs `[T, B, ...]`, by its name.

    What is counted, as an event-driven machine would do it; the contexts are left out:

    * A spike costs one addition for each weight it meets: its fan-out, fewer at the borders and
      with a stride. Recurrent weights count too. Through an average pool a spike reaches every
      window it lies in, and the division is in the weights behind; behind a max pool what it let
      through is counted.
    * Input of whole numbers is events, each of them a spike. Other input is graded: every weight
      takes a multiply-accumulate for every value, once a sample where the input is constant in
      time (direct current), else at every step. So do weights behind others in one synapse, and
      weights behind neurons that send a graded activity.
    * Normalisers by running figures, and batch normalisation, are in the weights and cost
      nothing. Layer, group and instance normalisation take two multiply-accumulates a value.
    * Every neuron takes one update a step. Biases are in it.

    The network is put into evaluation mode and back.

    Raises:
        SigpropError: if a synapse has weights of a kind that can't be counted, or the input does
            not fit.
    """
    was_training = network.training
    network.eval()
    counted: dict[str, Operations] = {}
    samples = inputs
    inputs = network.signal.plain(samples)
    arriving = _Arriving(inputs, nn.Identity(), constant=len(inputs) > 1 and is_constant(inputs))
    for layer in plain_pass(network.named_blocks(), network.signal, samples):
        block, spike = layer.block, layer.run.spike
        counted[layer.name] = _count_block(layer.name, block, arriving, spike)
        arriving = _Arriving(spike, block.pool, graded=block.neuron.graded)
    if network.readout is not None:
        parts = parts_of(arriving.pool, nn.Flatten(), network.readout.synapse)
        classes = network.readout.synapse.out_features
        rows = torch.zeros(inputs.shape[1], dtype=torch.float64)
        met = _met("readout", arriving, parts)
        updates = classes * len(inputs)
        counted["readout"] = Operations(
            classes, rows, met.additions, met.macs, updates, met.connections
        )
    network.train(was_training)
    return counted


class _Arriving(NamedTuple):
    """What a layer receives: values `[T, B, ...]`, and the pool that they pass first."""

    values: Tensor
    pool: nn.Module
    graded: bool = False
    constant: bool = False


class _Met(NamedTuple):
    """What arriving values cost at the weights they meet, `[B]`, and how often they were met."""

    additions: Tensor
    macs: Tensor
    connections: int
    times: int


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
        own = _Arriving(spike[:-1], nn.Identity(), graded=graded)
        back = _met(name, own, parts_of(block.neuron.recurrence))
        additions, macs = additions + back.additions, macs + back.macs
    fired = torch.zeros_like(additions) if graded else _total(spike)
    return Operations(neurons, fired, additions, macs, neurons * steps, met.connections)


def _met(name: str, arriving: _Arriving, parts: list[nn.Module]) -> _Met:
    chosen, linear = split_at_choice(parts)
    seen = _through(chosen, arriving.values[:1] if arriving.constant else arriving.values)
    times, rows = seen.shape[:2]
    shape = seen.shape[2:]
    try:
        wired = wiring(linear, shape)
    except SigpropError as error:
        raise SigpropError(f"{name}: {error}") from error
    measured = sum(normaliser_macs(part, math.prod(shape)) for part in chosen)
    macs = (wired.behind + measured) * times
    additions = torch.zeros(rows, dtype=torch.float64)
    if arriving.graded or arriving.constant or not bool((seen == seen.round()).all()):
        macs += wired.connections * times
    else:
        places = seen.abs().sum(0, dtype=torch.float64).flatten(1).cpu()
        additions = places @ wired.fan_out.flatten()
    return _Met(
        additions,
        torch.full_like(additions, float(macs)),
        wired.connections + wired.behind,
        times,
    )


def _total(spike: Tensor) -> Tensor:
    return spike.sum(0, dtype=torch.float64).flatten(1).sum(1).cpu()


def _through(parts: list[nn.Module], values: Tensor) -> Tensor:
    """Run every step through parts that choose among their values."""
    flat = values.flatten(0, 1)
    for part in parts:
        flat = part(flat)
    return flat.view(*values.shape[:2], *flat.shape[1:])
