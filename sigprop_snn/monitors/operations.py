"""Spikes and operations of every layer, counted sample by sample."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.monitors.wiring import normaliser_macs, parts_of, split_at_choice, wiring
from sigprop_snn.network import Block, Network


@dataclass(frozen=True)
class Operations:
    """What one layer did for each sample of a batch, over all steps.

    Attributes:
        neurons: neurons of the layer.
        spikes: spikes it fired, float64 `[B]`. The readout's integrators fire none.
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
      time (direct current), else at every step. So do weights behind others in one synapse.
    * Normalisers by running figures, and batch normalisation, are in the weights and cost
      nothing. Layer, group and instance normalisation take two multiply-accumulates a value.
    * Every neuron takes one update a step. Biases are in it.

    The network is put into evaluation mode and back.

    Raises:
        SigpropError: if a synapse has weights of a kind that can't be counted.
    """
    was_training = network.training
    network.eval()
    rows = inputs.shape[1] if inputs.dim() > 1 else 0
    counted: dict[str, Operations] = {}
    arriving, pool = inputs, nn.Identity()
    for stage in network.stages(inputs):
        if stage.response is None:
            assert network.readout is not None  # it alone has no response
            weights = [nn.Flatten(), network.readout.synapse]
            classes = network.readout.synapse.out_features
            counted[stage.name] = _count(stage.name, arriving, [pool, *weights], (classes,))
            continue
        block = network.blocks[len(counted)]
        assert isinstance(block, Block)
        spike = stage.response.run.spike[:, :rows]
        parts = [pool, block.synapse]
        counted[stage.name] = _count(
            stage.name, arriving, parts, spike.shape[2:], spike, block.norm, block.neuron.recurrence
        )
        arriving, pool = spike, block.pool
    network.train(was_training)
    return counted


def _count(
    name: str,
    arriving: Tensor,
    modules: list[nn.Module],
    shape: tuple[int, ...],
    spike: Tensor | None = None,
    norm: nn.Module | None = None,
    recurrence: nn.Module | None = None,
) -> Operations:
    steps, rows = arriving.shape[:2]
    chosen, linear = split_at_choice(parts_of(*modules))
    constant = steps > 1 and arriving.stride(0) == 0
    seen = _through(chosen, arriving[:1] if constant else arriving)
    try:
        wired = wiring(linear, seen.shape[2:])
        back = wiring(parts_of(recurrence), shape) if recurrence is not None else None
    except SigpropError as error:
        raise SigpropError(f"{name}: {error}") from error
    additions = torch.zeros(rows, dtype=torch.float64)
    macs = torch.full((rows,), float(wired.behind * len(seen)), dtype=torch.float64)
    if constant or not bool((seen == seen.round()).all()):
        macs += float(wired.connections * len(seen))
    else:
        additions += _weighed(seen, wired.fan_out)
    if spike is not None and back is not None:
        additions += _weighed(spike[:-1], back.fan_out)
        macs += float(back.behind * steps)
    neurons = math.prod(shape)
    for part in chosen:
        macs += float(normaliser_macs(part, math.prod(seen.shape[2:])) * len(seen))
    for part in parts_of(norm) if norm is not None else []:
        macs += float(normaliser_macs(part, neurons) * len(seen))
    fired = spike.sum(0, dtype=torch.float64).flatten(1).sum(1).cpu() if spike is not None else None
    return Operations(
        neurons,
        fired if fired is not None else torch.zeros(rows, dtype=torch.float64),
        additions,
        macs,
        neurons * steps,
        wired.connections + wired.behind,
    )


def _through(parts: list[nn.Module], values: Tensor) -> Tensor:
    """Run every step through parts that choose among their values."""
    flat = values.flatten(0, 1)
    for part in parts:
        flat = part(flat)
    return flat.view(*values.shape[:2], *flat.shape[1:])


def _weighed(spikes: Tensor, fan_out: Tensor) -> Tensor:
    """Return the additions for spikes `[T, B, ...]`, `[B]`."""
    places = spikes.abs().sum(0, dtype=torch.float64).flatten(1).cpu()
    return places @ fan_out.flatten()
