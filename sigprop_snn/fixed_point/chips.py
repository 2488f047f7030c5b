"""Limits of real chips, each from a public source, and what of a network does not fit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sigprop_snn.arguments import instance, one_of
from sigprop_snn.fixed_point.network import IntegerNetwork


@dataclass(frozen=True)
class Chip:
    """The limits of a chip; None where the source gives no limit.

    Attributes:
        source: the public documents with these numbers.
        weight_bits: bits of a weight, with its sign.
        membrane_bits: bits of a membrane voltage.
        cores: cores of the chip.
        core_neurons: neurons of a core.
        one_layer_a_core: whether each layer takes one core.
        fan_in: inputs of a neuron.
        weight_values: different weights other than 0 of a neuron.
        inputs: input channels.
        neurons: hidden neurons.
        outputs: output neurons.
        synapses: connections.
        kernel: side of a kernel.
        core_bytes: memory of a core.
    """

    source: str
    weight_bits: int | None = None
    membrane_bits: int | None = None
    cores: int | None = None
    core_neurons: int | None = None
    one_layer_a_core: bool = False
    fan_in: int | None = None
    weight_values: int | None = None
    inputs: int | None = None
    neurons: int | None = None
    outputs: int | None = None
    synapses: int | None = None
    kernel: int | None = None
    core_bytes: int | None = None


CHIPS: dict[str, Chip] = {
    "loihi-2": Chip(
        "128 cores, 1 million neurons, 120 million synapses: "
        "open-neuromorphic.org/neuromorphic-computing/hardware/loihi-2-intel; weights of 8 bits, "
        "voltages of 24 bits: github.com/lava-nc/lava, src/lava/proc/dense/process.py and "
        "src/lava/proc/lif/models.py",
        weight_bits=8,
        membrane_bits=24,
        cores=128,
        core_neurons=8192,
        synapses=120_000_000,
    ),
    "spinnaker-2": Chip(
        "152 processors of 128 KiB: SpiNNaker2 datasheet 0.03, "
        "github.com/SpiNNakerManchester/SpiNNMachine/files/14848134/SpiNN2datasheet.pdf",
        cores=152,
        core_bytes=128 * 1024,
    ),
    "speck-2": Chip(
        "github.com/synsense/sinabs, docs/speck/overview.md",
        weight_bits=8,
        membrane_bits=16,
        cores=9,
        one_layer_a_core=True,
        neurons=320_000,
        kernel=16,
    ),
    "truenorth": Chip(
        "4096 cores of 256 neurons and 256 axons: doi.org/10.1126/science.1254642; four weights of "
        "8 bits a neuron: IEEE Circuits and Systems Magazine, Q2 2022, page 18, table II",
        weight_bits=8,
        cores=4096,
        core_neurons=256,
        fan_in=256,
        weight_values=4,
    ),
    "xylo-a2": Chip(
        "github.com/synsense/rockpool, rockpool/devices/xylo/syns61201/xylo_mapper.py and "
        "xylo_sim.py",
        weight_bits=8,
        membrane_bits=16,
        inputs=16,
        neurons=1000,
        outputs=8,
    ),
}
"""The chips by name."""


class Misfit(NamedTuple):
    """What of a network does not fit a chip.

    Attributes:
        place: the layer, or "network".
        quantity: what is counted.
        found: its value in the network.
        limit: that of the chip.
    """

    place: str
    quantity: str
    found: int
    limit: int

    def __str__(self) -> str:
        """Return the misfit in words."""
        return f"{self.place}: {self.found:,} {self.quantity}; the chip has {self.limit:,}"


def check_chip(network: IntegerNetwork, chip: str | Chip) -> list[Misfit]:
    """Return what of a network does not fit a chip; an empty list if all fits.

    It compares numbers alone. Routing, delays and the neuron models of a chip are not checked.

    Args:
        network: the network.
        chip: a name in `CHIPS`, or limits.

    Raises:
        UnknownNameError: if the name is unknown.
        SigpropError: if an argument has the wrong type.
    """
    instance("network", network, IntegerNetwork, "an IntegerNetwork")
    if not isinstance(chip, Chip):
        chip = CHIPS[one_of("chip", chip, CHIPS)]
    return [
        Misfit(place, quantity, found, limit)
        for place, quantity, found, limit in _compared(network, chip)
        if limit is not None and found > limit
    ]


def _compared(network: IntegerNetwork, chip: Chip) -> Iterator[tuple[str, str, int, int | None]]:
    """Yield every quantity with its limit."""
    shapes = network.shapes()
    sizes = [math.prod(current) for _, current, _ in shapes]
    classes = network.readout.weight.shape[0]
    yield "network", "bits of a weight", network.format.weight_bits, chip.weight_bits
    yield "network", "inputs", math.prod(network.sample_shape), chip.inputs
    yield "network", "hidden neurons", sum(sizes), chip.neurons
    yield "readout", "outputs", classes, chip.outputs
    layers = network.weighted
    synapses = 0
    cores = 0
    for index, layer in enumerate(layers):
        name = f"block{index + 1}" if index < len(shapes) else "readout"
        size = sizes[index] if index < len(shapes) else classes
        fan_in = layer.weight[0].numel()
        synapses += size * fan_in
        cores += 1 if chip.core_neurons is None else -(-size // chip.core_neurons)
        yield name, "inputs of a neuron", fan_in, chip.fan_in
        yield name, "bits of a membrane", layer.membrane_bits, chip.membrane_bits
        if layer.weight.dim() == 4:
            yield name, "rows of a kernel", layer.weight.shape[-1], chip.kernel
        if chip.weight_values is not None:
            rows = layer.weight.flatten(1)
            values = max(len(set(row.tolist()) - {0}) for row in rows)
            yield name, "different weights of a neuron", values, chip.weight_values
    if chip.one_layer_a_core or chip.core_neurons is not None:
        yield "network", "cores", cores, chip.cores
    yield "network", "synapses", synapses, chip.synapses
    if chip.core_bytes is not None and chip.cores is not None:
        states = 4 * (sum(sizes) + classes)
        weights = sum(layer.weight.numel() for layer in layers)
        yield "network", "bytes", weights + states, chip.cores * chip.core_bytes
