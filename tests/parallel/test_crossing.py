"""The bytes of a message: spikes as bits, and nothing twice."""

from __future__ import annotations

import pytest
import torch

import sigprop_snn as sp
from sigprop_snn.layers.layer_pass import as_spikes
from sigprop_snn.layers.readout import features_read
from sigprop_snn.layers.section import Section
from sigprop_snn.network import Readout
from sigprop_snn.parallel.crossing import Batch, Crossing
from sigprop_snn.rules.signal_propagation import Votes, learn_layers

STEPS, ROWS, CLASSES = 8, 5, 2
MAPS = (6, 3, 2)


def network(**options):
    """Return three blocks that send maps of 8x8, 4x4 and 2x2; the first are read as 4x4."""
    made = sp.conv((1, 16, 16), CLASSES, channels=MAPS, kernel=3, **options)
    shapes = [(MAPS[0], 8, 8), (MAPS[1], 4, 4), (MAPS[2], 2, 2)]
    readout = Readout(
        features_read(shapes, 4), CLASSES, sources=("block1", "block2", "block3"), side=4
    )
    blocks = [block for _, block in made.named_blocks()]
    return sp.Network(made.signal, blocks, readout, rule=made.rule)


def crossed(made, first, inputs, labels):
    """Return what crosses behind the blocks before `first`, its message, and what arrives."""
    entry = made.rule.entry(made, inputs, labels)
    blocks = list(made.named_blocks())
    names = [name for name, _ in blocks if name < first]
    sent = {"input": as_spikes(entry.inputs)}
    section = Section.between(names, blocks, made.readout, sent, {}, STEPS)
    votes = Votes()
    learn_layers(made.rule.section_stages(made, entry, section), None, votes)
    crossing = Crossing.of(made, first)
    message = crossing.pack(Batch(0, [ROWS], entry, section, votes), labels)
    return crossing, message, crossing.unpack(message, labels, torch.device("cpu"))


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.rand(STEPS, ROWS, 1, 16, 16), torch.arange(ROWS) % CLASSES


def test_what_the_readout_reads_crosses_as_bits_in_small_maps(batch):
    crossing, message, arrived = crossed(network(), "block3", *batch)
    assert (crossing.spikes, crossing.read) == (("block2",), ("block1",))
    spikes, read = (len(item.data) for item in message.items)
    rows = ROWS + CLASSES
    assert spikes == STEPS * rows * MAPS[1] * 4 * 4 / 8
    assert read == STEPS * rows * MAPS[0] * 4 * 4 / 8
    assert arrived.read["block1"].shape == (STEPS, rows, MAPS[0], 4, 4)


def test_a_block_that_a_later_block_receives_crosses_once(batch):
    crossing, message, _ = crossed(network(), "block2", *batch)
    assert (crossing.spikes, crossing.read) == (("block1",), ())
    assert len(message.items) == 1


def test_of_graded_activity_the_trace_crosses(batch):
    made = network(neuron=sp.Rate, rule="surrogate")
    _, message, arrived = crossed(made, "block3", *batch)
    assert len(message.items[1].data) == 4 * (ROWS + CLASSES) * MAPS[0] * 4 * 4
    assert arrived.read["block1"].shape == (ROWS + CLASSES, MAPS[0] * 4 * 4)
