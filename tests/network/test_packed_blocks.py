"""Blocks that hand their spikes on packed do what they do with numbers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import (
    Block,
    Network,
    ProjectedContext,
    Readout,
    SurrogateRule,
    VoltageRule,
    conv,
    mlp,
    packing,
)
from sigprop_snn.network.loss import DotProductLoss
from sigprop_snn.network.norm import RunningNorm
from sigprop_snn.network.synapse import EventLinear
from sigprop_snn.neurons import LIF
from sigprop_snn.neurons.kernels import Packed, product
from sigprop_snn.training import LocalOptimizers


@pytest.fixture(autouse=True)
def of_any_size(monkeypatch):
    monkeypatch.setattr(product, "_WORTH_IT", 0)


@pytest.fixture
def as_numbers(monkeypatch):
    """Return a function after which no block takes packed spikes."""

    def switch():
        for name in ("fits_layer", "fits_convolution"):
            monkeypatch.setattr(packing, name, lambda *_: False)

    return switch


def pictures(steps):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (20,), generator=generator)
    rates = torch.rand(4, 2, 12, 12, generator=generator)[labels]
    return (torch.rand(steps, 20, 2, 12, 12, generator=generator) < rates).float(), labels


def batch(steps=9, rows=20):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (rows,), generator=generator)
    rates = torch.rand(4, 30, generator=generator)[labels]
    return (torch.rand(steps, rows, 30, generator=generator) < rates).float(), labels


def small(rule, loss=None):
    torch.manual_seed(0)
    if loss is None:
        return mlp((30,), 4, hidden=[40, 40], rule=rule)
    blocks = [
        Block(nn.Sequential(nn.Flatten(), EventLinear(30, 40)), LIF(), norm=RunningNorm(40)),
        Block(EventLinear(40, 40, bias=False), LIF()),
    ]
    return Network(ProjectedContext(4, (40,)), blocks, Readout(40, 4), rule=rule, loss=loss)


def after_learning(network, data):
    x, labels = data
    optimizers = LocalOptimizers(network, lambda group: torch.optim.Adam(group, 1e-3))
    reports = [network.learn(x, labels, optimizers.step) for _ in range(3)]
    return [*network.state_dict().values(), *(r.scores for r in reports), network(x)]


@pytest.mark.parametrize("loss", [None, DotProductLoss(select="top-k", top=2)], ids=["mlp", "own"])
@pytest.mark.parametrize("rule", [VoltageRule(), SurrogateRule()], ids=["voltage", "surrogate"])
@pytest.mark.parametrize("steps", [4, 9, 50])
def test_learning_and_inference_are_the_same(as_numbers, rule, steps, loss):
    packed = after_learning(small(rule, loss), batch(steps))
    as_numbers()
    for one, other in zip(packed, after_learning(small(rule, loss), batch(steps)), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("rule", [VoltageRule(), SurrogateRule()], ids=["voltage", "surrogate"])
@pytest.mark.parametrize("steps", [4, 9])
def test_learning_on_maps_is_the_same(as_numbers, rule, steps):
    def network():
        torch.manual_seed(0)
        return conv((2, 12, 12), 4, channels=[6, 20], kernel=3, rule=rule)

    packed = after_learning(network(), pictures(steps))
    as_numbers()
    for one, other in zip(packed, after_learning(network(), pictures(steps)), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_maps_stay_packed_too():
    network, (x, _) = conv((2, 12, 12), 4, channels=[6, 20], kernel=3), pictures(9)
    for stage in network.stages(x):
        assert stage.response is None or isinstance(stage.response.run.activity, Packed)


def test_spikes_stay_packed_from_block_to_block():
    network = small(VoltageRule())
    x, labels = batch()
    for asked in (None, labels):
        stages = [s.response for s in network.stages(x, asked) if s.response is not None]
        assert len(stages) == 2
        for response in stages:
            assert isinstance(response.run.activity, Packed)
            assert torch.equal(response.run.spike.sum(0), response.run.spike_count)


def test_what_is_recorded_is_the_same(as_numbers):
    network, (x, _) = small(VoltageRule()).eval(), batch()
    names = ("spike", "voltage", "reset_voltage")
    found = [network.record(x, names[:2]), network.record(x, names)]
    as_numbers()
    expected = network.record(x, names)
    for recorded in found:
        for layer, kept in recorded.items():
            for name, values in kept.items():
                torch.testing.assert_close(values, expected[layer][name])


def test_a_hook_on_the_synapse_is_honoured():
    network, (x, _) = small(VoltageRule()), batch()
    silent = network.blocks[0].synapse.register_forward_hook(lambda *_: torch.zeros(180, 40))
    assert not network.record(x, ["spike"])["block1"]["spike"].any()
    silent.remove()
    assert network.record(x, ["spike"])["block1"]["spike"].any()


PASSES = {
    "learning": lambda network, x, labels: network.learn(x, labels),
    "prediction": lambda network, x, labels: network(x),
    "stages": lambda network, x, labels: list(network.stages(x)),
}


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
@pytest.mark.parametrize("name", PASSES)
@pytest.mark.parametrize("rule", [VoltageRule(), SurrogateRule()], ids=["voltage", "surrogate"])
def test_spikes_that_are_not_finite_are_refused(rule, name, bad):
    network = small(rule)
    x, labels = batch()
    before = [value.clone() for value in network.state_dict().values()]
    PASSES[name](network.eval(), x, labels)
    x[7, 3, 11] = bad
    with pytest.raises(SigpropError, match=rf"input is {bad} at \[7, 3, 11\]"):
        PASSES[name](network.train(), x, labels)
    for old, new in zip(before, network.state_dict().values(), strict=True):
        assert torch.equal(old, new)
