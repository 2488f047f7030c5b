"""The readout against its integrators, run step by step, and what it reads of several blocks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sigprop_snn.analysis import backpropagated
from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.layers.readout import features_read
from sigprop_snn.monitors import count_operations
from sigprop_snn.network import (
    Block,
    Network,
    Online,
    ProjectedContext,
    Readout,
    RunningNorm,
    Sources,
    SurrogateRule,
    VoltageRule,
    conv,
    mlp,
)
from sigprop_snn.neurons import LIF
from sigprop_snn.rules import Backpropagation

SHAPE, CLASSES = (2, 16, 16), 4
BOTH = [
    pytest.param(VoltageRule(), id="voltage"),
    pytest.param(SurrogateRule(), id="surrogate"),
]


def maps(rule=None, **settings) -> Network:
    """Makes `[T, B, 2, 16, 16]` -> 3 maps of 16 -> 5 of 8 -> 6 of 8; its readout reads all."""
    torch.manual_seed(0)
    settings = {"sources": 3, "side": 4} | settings
    sizes = (2, 3), (3, 5), (5, 6)
    blocks = [
        Block(
            nn.Conv2d(below, above, 3, padding=1),
            LIF(0.8),
            norm=RunningNorm(above, shift=0.2),
            pool=nn.MaxPool2d(2) if index == 1 else None,
        )
        for index, (below, above) in enumerate(sizes)
    ]
    readout = Readout((3 + 5 + 6) * 16, CLASSES, 0.7, **settings)
    signal = ProjectedContext(CLASSES, (3, 16, 16))
    return Network(signal, blocks, readout, rule=rule).double()


def pictures(steps=5, rows=6):
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(steps, rows, *SHAPE, generator=generator).double()
    return x, torch.arange(rows) % CLASSES


def settled(network, x, labels) -> Network:
    """Return a network with the statistics of a batch in its normalisers, which then keep them."""
    network.learn(x, labels)
    network.zero_grad()
    return network.eval()


def test_readout_is_its_integrators_run_step_by_step(batch):
    torch.manual_seed(0)
    readout = Readout(6, 3, beta=0.7).double()
    x, _ = batch()
    voltage, total = torch.zeros(8, 3).double(), torch.zeros(8, 3).double()
    traced = readout.trace(x).recorded["voltage"]
    for step, shown in zip(x, traced, strict=True):
        voltage = 0.7 * voltage + readout.synapse(step)
        torch.testing.assert_close(shown, voltage)
        total += voltage
    torch.testing.assert_close(readout(x), total / 5)


def test_readout_of_all_blocks_integrates_their_pooled_spikes():
    x, labels = pictures()
    network = settled(maps(), x, labels)
    blocks, readout = dict(network.named_blocks()), network.readout
    recorded = network.record(x, ("spike",))
    sent = [
        torch.stack([blocks[name].pool(step) for step in recorded[name]["spike"]])
        for name in ("block3", "block2", "block1")
    ]
    voltage, total = torch.zeros(6, CLASSES).double(), torch.zeros(6, CLASSES).double()
    traced = readout.trace(*sent).recorded["voltage"]
    for step, shown in enumerate(traced):
        seen = [nn.functional.adaptive_max_pool2d(each[step], 4).flatten(1) for each in sent]
        voltage = 0.7 * voltage + readout.synapse(torch.cat(seen, dim=1))
        torch.testing.assert_close(shown, voltage)
        total += voltage
    assert all(each.any() for each in sent)
    torch.testing.assert_close(network(x), total / 5)
    stages = {stage.name: stage.scores for stage in network.stages(x)}
    torch.testing.assert_close(network(x), stages["readout"])


@pytest.mark.parametrize("rule", BOTH)
def test_readout_of_all_blocks_learns_the_gradient_of_its_unrolled_integrators(rule):
    x, labels = pictures()
    network = settled(maps(rule), x, labels)
    exact = backpropagated(network, x, labels)["readout"]
    network.learn(x, labels)
    found = {name: weight.grad for name, weight in network.readout.synapse.named_parameters()}
    assert set(exact) == {"synapse.weight", "synapse.bias"}
    for name, grad in found.items():
        torch.testing.assert_close(grad, exact[f"synapse.{name}"])


@pytest.mark.parametrize("rule", BOTH)
def test_blocks_learn_the_same_below_either_readout(rule):
    x, labels = pictures()
    grads = []
    for settings in ({}, {"sources": 1, "side": None}):
        network = maps(rule)
        if settings:
            network.readout = Readout(6 * 64, CLASSES).double()
        network.learn(x, labels)
        grads.append([weight.grad for weight in network.blocks.parameters()])
    for one, other in zip(*grads, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("rule", BOTH)
def test_online_readout_of_all_blocks_scores_as_the_whole_pass(rule):
    x, labels = pictures()
    network = settled(maps(rule), x, labels)
    online = Online(network)
    for step in x:
        scores = online(step[None])
    torch.testing.assert_close(scores, network(x))


def test_conv_reads_all_blocks_and_mlp_the_last():
    network = conv((1, 28, 28), 10, channels=(3, 4, 5))
    assert network.readout.sources == Sources(3)
    assert network.readout.synapse.in_features == (3 + 4 + 5) * 49
    assert mlp((6,), 3, hidden=(5, 4)).readout.plain


def test_rule_that_sends_the_readouts_error_to_blocks_gets_a_plain_readout():
    network = conv((1, 28, 28), 10, channels=(3, 4, 5), rule="backpropagation")
    assert network.readout.plain
    with pytest.raises(SigpropError, match=r"Backpropagation.*sources=.*side=4"):
        maps(Backpropagation())
    network = maps()
    with pytest.raises(SigpropError, match="Backpropagation"):
        network.rule = Backpropagation()
    network.learn(*pictures())  # by the rule before


def test_operations_of_a_readout_meet_every_spike_behind_the_pools():
    x, labels = pictures()
    network = settled(maps(), x, labels)
    counted = count_operations(network, x)["readout"]
    recorded = network.record(x, ("spike",))
    spikes = 0.0
    for name, block in network.named_blocks():
        for step in recorded[name]["spike"]:
            sent = nn.functional.adaptive_max_pool2d(block.pool(step), 4)
            spikes = spikes + sent.flatten(1).sum(1)
    torch.testing.assert_close(counted.additions, CLASSES * spikes)
    assert counted.connections == network.readout.synapse.weight.numel()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"side": 0}, "0"),
        ({"sources": Sources(2, "sum")}, "sum"),
        ({"answers": "colours"}, "colours"),
    ],
)
def test_readout_refuses_what_it_cannot_read(settings, expected):
    with pytest.raises((SigpropError, UnknownNameError), match=expected):
        Readout(6, 3, **settings)


def test_network_refuses_a_readout_of_an_unknown_block():
    with pytest.raises(SigpropError, match="readout receives 'block9'"):
        maps(sources=("block1", "block9"))


def test_features_of_larger_maps_are_counted_behind_their_pools():
    assert features_read([(3, 28, 28), (4, 7, 7), (5, 17, 16), (6,)], side=8) == (
        3 * 49 + 4 * 49 + 5 * 64 + 6
    )
    assert features_read([(3, 28, 28)]) == 3 * 28 * 28
