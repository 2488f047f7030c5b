"""Histograms of the membrane voltage."""

import pytest
import torch
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.monitors import voltage_histograms
from sigprop_snn.network import Block, Network, ProjectedContext, mlp
from sigprop_snn.neurons import LIF, ParametricLIF

LABELS = torch.arange(4) % 3


def batch(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    return 2 * torch.rand(5, 4, 6, generator=torch.Generator().manual_seed(seed)), LABELS


def test_every_voltage_is_counted_once_in_the_right_bin():
    torch.manual_seed(0)
    network = mlp((6,), 3, hidden=(5, 4))
    batches = [batch(0), batch(1)]
    found = voltage_histograms(network, batches, bins=20)
    assert list(found) == ["block1", "block2"]
    for name, neurons in (("block1", 5), ("block2", 4)):
        volts = torch.cat(
            [network.record(x, ("voltage",))[name]["voltage"].flatten() for x, _ in batches]
        )
        above = (volts - network.blocks[0].neuron.threshold).double()
        hist = found[name]
        total = int(hist.counts.sum()) + hist.below + hist.above + hist.not_finite
        assert total == len(above) == 2 * 5 * 4 * neurons
        for low, high, count in zip(hist.edges[:-1], hist.edges[1:], hist.counts, strict=True):
            by_hand = int(((above.float() >= low.float()) & (above.float() < high.float())).sum())
            assert by_hand == count
        assert 0.0 in hist.edges.tolist()
        assert hist.firing == pytest.approx(float((above > 0).double().mean()), abs=1e-9)


def test_voltages_are_relative_to_the_threshold_of_each_neuron():
    thresholds = torch.tensor([0.5, 3.0])
    block = Block(nn.Linear(6, 2), ParametricLIF(threshold=thresholds, learn_threshold=False))
    network = Network(ProjectedContext(3, (2,)), [block])
    inputs, labels = batch(0)
    hist = voltage_histograms(network, [(inputs, labels)])["block1"]
    volts = network.record(inputs, ("voltage",))["block1"]["voltage"]
    middle = (hist.edges[1:] + hist.edges[:-1]) / 2
    mean = float((middle * hist.counts).sum() / hist.counts.sum())
    width = float(hist.edges[1] - hist.edges[0])
    assert mean == pytest.approx(float((volts - thresholds).mean().detach()), abs=width)


def test_voltages_that_are_not_finite_are_counted_separately():
    network = Network(
        ProjectedContext(3, (6,)), [Block(nn.Linear(6, 6), LIF()), Block(nn.Linear(6, 2), LIF())]
    )
    nn.init.constant_(network.blocks[1].synapse.bias, float("nan"))
    assert voltage_histograms(network, [batch(0)])["block2"].not_finite == 5 * 4 * 2


def test_no_batch_and_too_few_bins_are_refused():
    network = mlp((6,), 3, hidden=(5,))
    with pytest.raises(SigpropError, match="voltage_histograms"):
        voltage_histograms(network, [])
    with pytest.raises(SigpropError, match="bins is 1"):
        voltage_histograms(network, [batch(0)], bins=1)
