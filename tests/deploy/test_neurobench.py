"""NeuroBench's harness runs our networks; its counts are those of our monitors, or differ as told.

docs/neurobench.md has the differences.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import sigprop_snn as sp

pytest.importorskip("neurobench", reason="the extra neurobench is not installed")

from neurobench.benchmarks import Benchmark
from neurobench.metrics.static import ConnectionSparsity, Footprint, ParameterCount
from neurobench.metrics.workload import (
    ActivationSparsity,
    ClassificationAccuracy,
    SynapticOperations,
)

from sigprop_snn.deploy import fold
from sigprop_snn.deploy.neurobench import NeuroBenchNetwork

STEPS, SAMPLES, CLASSES = 4, 6, 3


def made(name, **options):
    torch.manual_seed(0)
    if name == "mlp":
        network = sp.mlp((9,), CLASSES, hidden=(12, 10), **options)
    else:
        options = {"gain": 2.0, "shift": 0.5, "kernel": 3, "channels": (3, 4), **options}
        network = sp.conv((1, 8, 8), CLASSES, **options)
    shape = network.sample_shape
    network.learn(torch.rand(STEPS, SAMPLES, *shape), torch.arange(SAMPLES) % CLASSES)
    inputs = (torch.rand(STEPS, SAMPLES, *shape) > 0.6).float()
    return network.eval(), inputs, torch.arange(SAMPLES) % CLASSES


def measured(network, inputs, labels):
    loader = DataLoader(TensorDataset(inputs.transpose(0, 1), labels), batch_size=3)
    static = [Footprint, ConnectionSparsity, ParameterCount]
    workload = [ClassificationAccuracy, ActivationSparsity, SynapticOperations]
    benchmark = Benchmark(NeuroBenchNetwork(network), loader, [], [], [static, workload])
    return benchmark.run(quiet=True)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mlp", {}),
        ("mlp", {"neuron": "recurrent-lif"}),
        ("mlp", {"neuron": "cuba"}),
        ("conv", {}),
        ("conv", {"sources": 2}),
    ],
    ids=str,
)
def test_the_counts_of_neurobench_are_those_of_our_monitors(name, options):
    network, inputs, labels = made(name, **options)
    found = measured(network, inputs, labels)
    ours = sp.cost(network, [(inputs, labels)])
    operations = found["SynapticOperations"]
    assert operations["Effective_ACs"] == pytest.approx(ours.total.additions)
    assert operations["Effective_MACs"] == ours.total.macs == 0.0
    assert found["ActivationSparsity"] == pytest.approx(1 - ours.total.spike_rate)
    accuracy = (network(inputs).argmax(1) == labels).float().mean().item()
    assert found["ClassificationAccuracy"] == pytest.approx(accuracy)
    weights = list(fold(network).parameters())
    assert found["Footprint"] == 4 * sum(weight.numel() for weight in weights)
    assert found["ParameterCount"] == sum(weight.numel() for weight in weights)
    if "neuron" not in options:
        assert operations["Dense"] == pytest.approx(STEPS * ours.total.connections)


def test_weights_of_zero_count_here_and_not_in_neurobench():
    network, inputs, labels = made("mlp")
    with torch.no_grad():
        network.blocks[1].synapse.weight[:5] = 0.0
    found = measured(network, inputs, labels)
    ours = sp.cost(network, [(inputs, labels)])
    layer = ours.layers[1]
    less = layer.additions * 5 / 10
    assert found["SynapticOperations"]["Effective_ACs"] == pytest.approx(
        ours.total.additions - less
    )
    zeros = 5 * 12
    every = sum(each.weights.weight.numel() for _, each in fold(network).named_layers())
    every += network.readout.synapse.weight.numel()
    assert found["ConnectionSparsity"] == round(zeros / every, 4)


def test_graded_input_is_counted_where_it_is_not_zero():
    network, inputs, labels = made("mlp")
    inputs = inputs * (0.5 + torch.rand_like(inputs))
    found = measured(network, inputs, labels)["SynapticOperations"]
    ours = sp.cost(network, [(inputs, labels)])
    present = (inputs != 0).float().mean().item()
    assert found["Effective_MACs"] == pytest.approx(ours.total.macs * present)
    assert found["Effective_ACs"] == pytest.approx(ours.total.additions)


def test_behind_an_average_pool_neurobench_counts_products():
    network, inputs, labels = made("conv", pool="average")
    found = measured(network, inputs, labels)["SynapticOperations"]
    ours = sp.cost(network, [(inputs, labels)])
    assert ours.total.macs == 0.0 < found["Effective_MACs"]
    assert found["Effective_ACs"] < ours.total.additions


def test_a_network_that_can_not_be_folded_is_refused():
    with pytest.raises(sp.SigpropError, match="network is Linear"):
        NeuroBenchNetwork(nn.Linear(3, 3))
