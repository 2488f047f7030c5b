"""The cost of a network: spikes, operations and an energy estimate, per layer and sample."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from sigprop_snn.arguments import first_of, instance, number, refused
from sigprop_snn.device import to_device
from sigprop_snn.errors import SigpropError
from sigprop_snn.monitors.energy import EnergyModel
from sigprop_snn.monitors.operations import Operations, count_operations
from sigprop_snn.network import Network


@dataclass(frozen=True)
class LayerCost:
    """The mean cost of one layer for one sample.

    Attributes:
        name: "block1" for the first, "readout" for the readout.
        neurons: number of neurons.
        spikes: number of spikes.
        spike_rate: spikes per neuron and step.
        additions: synaptic operations: a weight added because a spike arrived.
        macs: multiply-accumulates for graded input.
        updates: steps of the membranes.
        connections: multiply-accumulates of one pass of graded values through the same weights.
        energy: energy of these operations, in nJ.
    """

    name: str
    neurons: int
    spikes: float
    spike_rate: float
    additions: float
    macs: float
    updates: float
    connections: int
    energy: float


@dataclass(frozen=True)
class Cost:
    """The cost of inference. `str(cost)` is the table.

    Attributes:
        layers: every layer, from the first block to the readout.
        total: their sum.
        dense_energy: energy of one pass of graded values through the same weights, in nJ.
        samples: number of samples in the means.
        steps: T.
        model: the energy of an operation.
    """

    layers: tuple[LayerCost, ...]
    total: LayerCost
    dense_energy: float
    samples: int
    steps: int
    model: EnergyModel

    def __str__(self) -> str:
        """Return the table as text."""
        head = ("layer", "neurons", "spikes", "rate", "additions", "MACs", "updates", "energy")
        rows = [head, *(_row(layer) for layer in (*self.layers, self.total))]
        widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
        lines = [
            "  ".join(
                cell.ljust(width) if place == 0 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        return "\n".join(
            [
                f"Mean cost of one sample, over {self.samples:,} samples of {self.steps} steps.",
                *lines,
                f"One pass of graded values through the same weights: {self.total.connections:,} "
                f"MACs, {format_energy(self.dense_energy)}.",
                f"Energy: {self.model.about}.",
            ]
        )


def cost(
    network: Network,
    batches: Iterable[tuple[Tensor, Tensor]],
    model: EnergyModel | None = None,
) -> Cost:
    """Return the cost of inference on batches of `(x [T, B, ...], labels [B])`.

    `count_operations` describes the counts.

    Args:
        network: the network; its training mode is restored afterwards.
        batches: the batches.
        model: the energy of an operation; 32-bit floats in 45 nm if not given.

    Raises:
        SigpropError: if there is no batch, the batches differ in T, or the operations of a synapse
            can't be counted.
    """
    instance("network", network, Network, "a Network")
    if model is not None:
        instance("model", model, EnergyModel, "an EnergyModel")
    if not isinstance(batches, Iterable) or isinstance(batches, Tensor | str):
        raise refused("batches", batches, "pairs (inputs [T, B, ...], labels [B])")
    model = model if model is not None else EnergyModel()
    device = next(network.parameters()).device
    counted: dict[str, list[Operations]] = {}
    lengths: set[int] = set()
    for batch in batches:
        inputs = first_of(batch)
        network.check_inputs(inputs)
        lengths.add(len(inputs))
        for name, operations in count_operations(network, to_device(inputs, device)).items():
            counted.setdefault(name, []).append(operations)
    if len(lengths) != 1:
        raise SigpropError(
            f"cost got batches of {sorted(lengths)} steps; expected batches of one T"
        )
    (steps,) = lengths
    layers = tuple(_layer(name, parts, steps, model) for name, parts in counted.items())
    samples = sum(len(operations.spikes) for operations in next(iter(counted.values())))
    total = _total(layers, steps)
    dense = model.nanojoules(macs=total.connections)
    return Cost(layers, total, dense, samples, steps, model)


def format_energy(nanojoules: float) -> str:
    """Return an energy with a unit that gives a short number."""
    nanojoules = number("nanojoules", nanojoules)
    for unit, size in (("mJ", 1e6), ("uJ", 1e3), ("nJ", 1.0)):
        if nanojoules >= size:
            return f"{nanojoules / size:.3g} {unit}"
    return f"{nanojoules * 1000:.3g} pJ"


def _layer(name: str, parts: list[Operations], steps: int, model: EnergyModel) -> LayerCost:
    def mean(field: str) -> float:
        return float(torch.cat([getattr(part, field) for part in parts]).mean())

    neurons = parts[0].neurons
    spikes, additions, macs = mean("spikes"), mean("additions"), mean("macs")
    updates = float(parts[0].updates)
    energy = model.nanojoules(macs=macs, additions=additions, updates=updates)
    return LayerCost(
        name, neurons, spikes, spikes / (neurons * steps), additions, macs, updates,
        parts[0].connections, energy,
    )  # fmt: skip


def _total(layers: tuple[LayerCost, ...], steps: int) -> LayerCost:
    neurons = sum(layer.neurons for layer in layers)
    firing = sum(layer.neurons for layer in layers if layer.name != "readout")
    spikes = sum(layer.spikes for layer in layers)
    return LayerCost(
        "total",
        neurons,
        spikes,
        spikes / (firing * steps),
        sum(layer.additions for layer in layers),
        sum(layer.macs for layer in layers),
        sum(layer.updates for layer in layers),
        sum(layer.connections for layer in layers),
        sum(layer.energy for layer in layers),
    )


def _row(layer: LayerCost) -> tuple[str, ...]:
    return (
        layer.name,
        f"{layer.neurons:,}",
        f"{layer.spikes:,.1f}" if layer.name != "readout" else "-",
        f"{100 * layer.spike_rate:.2f} %" if layer.name != "readout" else "-",
        f"{layer.additions:,.0f}",
        f"{layer.macs:,.0f}",
        f"{layer.updates:,.0f}",
        format_energy(layer.energy),
    )
