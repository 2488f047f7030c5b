"""Backpropagation against formulas by hand, and against a graph unrolled from scratch."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sigprop_snn.network import (
    Block,
    Layout,
    Network,
    ProjectedContext,
    Readout,
    RunningNorm,
    RunningScale,
)
from sigprop_snn.neurons import LIF, NEURONS, AllToAll, Recurrent, make_neuron
from sigprop_snn.rules import Backpropagation

CASES = [
    (kind, neuron) for kind in ("dense", "pictures") for neuron in ("lif", "scaled lif", "rate")
]


def rule(_: Layout) -> Backpropagation:
    return Backpropagation()


@pytest.mark.parametrize("constant", [False, True], ids=["varying", "constant"])
@pytest.mark.parametrize(("kind", "neuron"), CASES)
def test_every_gradient_is_that_of_the_formulas(
    network, batch, hand, agree, kind, neuron, constant
):
    net = network(kind, rule, neuron)
    x, labels = batch(kind, neuron, constant=constant)
    learned = net.learn(x, labels)
    by_hand = hand(net, x, labels)
    assert (learned.scores - by_hand.scores).abs().max() < 1e-10
    agree(net.readout, by_hand.readout_gradients())
    error = by_hand.last_error(net.readout.synapse.weight.detach())
    for block, mine in zip(reversed(net.blocks), reversed(by_hand.blocks), strict=True):
        current_error = mine.through_time(mine.unpooled(error))
        agree(block, mine.gradients(current_error))
        error = mine.below(current_error, block.synapse.weight.detach())


def spiked(voltage: torch.Tensor) -> torch.Tensor:
    """A step function with the derivative of the default fast sigmoid of slope 4."""
    u = voltage - 1.0
    smooth = 0.5 + 2 * u / (1 + 4 * u.abs())
    return (u > 0).double() + (smooth - smooth.detach())


def test_a_recurrent_and_pooled_network_has_the_gradient_of_its_unrolled_graph():
    """Recurrence, max pooling and depth in one graph, written from the equations alone."""
    torch.manual_seed(1)
    blocks = [
        Block(nn.Conv2d(1, 3, 3, padding=1), LIF(0.8), norm=RunningNorm(3), pool=nn.MaxPool2d(2)),
        Block(
            nn.Sequential(nn.Flatten(), nn.Linear(27, 8)),
            Recurrent(LIF(0.7), AllToAll((8,))),
            norm=RunningScale(8, 2.0),
        ),
    ]
    with torch.no_grad():
        blocks[1].neuron.synapse.weight.mul_(2)
    signal = ProjectedContext(3, (3, 6, 6))
    net = Network(signal, blocks, Readout(8, 3), rule=Backpropagation()).double()
    x = 2 * torch.randn(6, 5, 1, 6, 6, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 1, 0])
    net.learn(x, labels)
    mine = [p.grad.clone() for p in (*net.blocks.parameters(), *net.readout.parameters())]
    assert net.signal.projection.grad is None
    net.zero_grad()

    first, second = net.blocks
    raw = torch.stack([first.synapse(step) for step in x])
    kept = raw.detach()
    mean = kept.mean((0, 1, 3, 4))
    deviation = (((kept - mean.view(3, 1, 1)) ** 2).mean((0, 1, 3, 4)) + 1e-6).sqrt()
    wide = (3, 1, 1)
    currents = first.norm.gain.view(wide) * (raw - mean.view(wide)) / deviation.view(wide)
    currents = currents + first.norm.shift.view(wide)
    carried, sent = 0.0, []
    for current in currents:
        voltage = 0.8 * carried + current
        spike = spiked(voltage)
        carried = voltage - spike.detach()
        sent.append(F.max_pool2d(spike, 2).flatten(1))
    raw = [second.synapse[1](step) for step in sent]
    size = (torch.stack(raw).detach().square().mean() + 1e-6).sqrt()
    carried, last, mean_voltage, integrated = 0.0, torch.zeros(5, 8).double(), 0.0, 0.0
    assert 0.05 < float(torch.stack(sent).detach().mean()) < 0.9
    for each in raw:
        current = second.norm.gain * each / size + last @ second.neuron.synapse.weight.t()
        voltage = 0.7 * carried + current
        last = spiked(voltage)
        carried = voltage - last.detach()
        integrated = 0.9 * integrated + net.readout.synapse(last)
        mean_voltage = mean_voltage + integrated / 6
    F.cross_entropy(mean_voltage, labels).backward()
    theirs = [p.grad for p in (*net.blocks.parameters(), *net.readout.parameters())]
    for a, b in zip(mine, theirs, strict=True):
        assert b.abs().max() > 1e-7
        assert (a - b).abs().max() < 1e-10


@pytest.mark.parametrize("neuron", sorted(set(NEURONS) - {"leaky-integrator"}))
def test_every_neuron_learns_in_every_block(neuron):
    torch.manual_seed(2)
    sizes = (6, 12, 10)
    blocks = [
        Block(nn.Linear(a, b), make_neuron(NEURONS[neuron], (b,)), norm=RunningScale(b, 2.0))
        for a, b in pairwise(sizes)
    ]
    net = Network(ProjectedContext(3, (12,)), blocks, Readout(10, 3), rule=Backpropagation())
    net.learn(2 * torch.randn(6, 9, 6), torch.arange(9) % 3)
    for name, parameter in (*net.blocks.named_parameters(), *net.readout.named_parameters()):
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    for block in net.blocks:
        assert block.synapse.weight.grad.abs().max() > 0
