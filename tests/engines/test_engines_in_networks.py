"""Networks learn and predict the same on the CPU engine and on the reference engine."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import (
    Block,
    DotProductLoss,
    Network,
    ProjectedContext,
    Readout,
    RunningNorm,
    SurrogateRule,
    TopK,
    VoltageRule,
    conv,
    mlp,
)
from sigprop_snn.neurons import ALIF, LIF, run, use_engine
from sigprop_snn.neurons.engines.cpu.engine import CpuEngine
from sigprop_snn.neurons.engines.cpu.engine import _warn_reference as warn_reference
from sigprop_snn.neurons.engines.cpu.spikes import PackedSpikes
from sigprop_snn.training import LocalOptimizers

KERNELS = CpuEngine(worth=0, pack_from=0)  # whatever the size


@pytest.fixture(autouse=True)
def of_any_size():
    with use_engine(KERNELS):
        yield


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
        Block(nn.Sequential(nn.Flatten(), nn.Linear(30, 40)), LIF(), norm=RunningNorm(40)),
        Block(nn.Linear(40, 40, bias=False), LIF()),
    ]
    return Network(ProjectedContext(4, (40,)), blocks, Readout(40, 4), rule=rule, loss=loss)


def after_learning(network, data):
    x, labels = data
    optimizers = LocalOptimizers(network, lambda group: torch.optim.Adam(group, 1e-3))
    reports = [network.learn(x, labels, optimizers.step) for _ in range(3)]
    return [*network.state_dict().values(), *(r.scores for r in reports), network(x)]


@pytest.mark.parametrize("loss", [None, DotProductLoss(select=TopK(2))], ids=["mlp", "own"])
@pytest.mark.parametrize("rule", [VoltageRule(), SurrogateRule()], ids=["voltage", "surrogate"])
@pytest.mark.parametrize("steps", [4, 9, 50])
def test_learning_and_inference_are_the_same(rule, steps, loss):
    packed = after_learning(small(rule, loss), batch(steps))
    with use_engine("reference"):
        expected = after_learning(small(rule, loss), batch(steps))
    for one, other in zip(packed, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("rule", [VoltageRule(), SurrogateRule()], ids=["voltage", "surrogate"])
@pytest.mark.parametrize("steps", [4, 9])
def test_learning_on_maps_is_the_same(rule, steps):
    def network():
        torch.manual_seed(0)
        return conv((2, 12, 12), 4, channels=[6, 20], kernel=3, rule=rule)

    packed = after_learning(network(), pictures(steps))
    with use_engine("reference"):
        expected = after_learning(network(), pictures(steps))
    for one, other in zip(packed, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_maps_stay_packed_too():
    network, (x, _) = conv((2, 12, 12), 4, channels=[6, 20], kernel=3), pictures(9)
    for stage in network.stages(x):
        assert stage.response is None or isinstance(stage.response.run.spikes, PackedSpikes)


def test_spikes_stay_packed_from_block_to_block():
    network = small(VoltageRule())
    x, labels = batch()
    for asked in (None, labels):
        stages = [s.response for s in network.stages(x, asked) if s.response is not None]
        assert len(stages) == 2
        for response in stages:
            assert isinstance(response.run.spikes, PackedSpikes)
            assert torch.equal(response.run.spike.sum(0), response.run.spike_count)


def test_what_is_recorded_is_the_same():
    network, (x, _) = small(VoltageRule()).eval(), batch()
    names = ("spike", "voltage", "reset_voltage")
    found = [network.record(x, names[:2]), network.record(x, names)]
    with use_engine("reference"):
        expected = network.record(x, names)
    for recorded in found:
        for layer, kept in recorded.items():
            for name, values in kept.items():
                torch.testing.assert_close(values, expected[layer][name])


def test_pools_of_torch_keep_spikes_packed():
    torch.manual_seed(0)
    blocks = [
        Block(nn.Conv2d(2, 6, 3, padding=1), LIF(), norm=RunningNorm(6), pool=nn.MaxPool2d(2)),
        Block(nn.Sequential(nn.Flatten(), nn.Linear(216, 20)), LIF(), norm=RunningNorm(20)),
    ]
    network, (x, _) = Network(ProjectedContext(4, (6, 12, 12)), blocks), pictures(9)
    for stage in network.stages(x):
        assert isinstance(stage.response.run.spikes, PackedSpikes)


def test_a_hook_on_the_synapse_is_honoured():
    network, (x, _) = small(VoltageRule()), batch()
    silent = network.blocks[0].synapse.register_forward_hook(lambda *_: torch.zeros(180, 40))
    assert not network.record(x, ["spike"])["block1"]["spike"].any()
    silent.remove()
    assert network.record(x, ["spike"])["block1"]["spike"].any()


class Halved(RunningNorm):
    """Changes `forward` alone."""

    def forward(self, current):
        return 0.5 * super().forward(current)


def patched(norm):
    before = norm.forward
    norm.forward = lambda current: 0.5 * before(current)
    return norm


def hooked(norm):
    norm.register_forward_hook(lambda _, __, out: 0.5 * out)
    return norm


CHANGES = {
    "hook": lambda: hooked(RunningNorm(40)),
    "replaced forward": lambda: patched(RunningNorm(40)),
    "subclass": lambda: Halved(40),
}


def voltages_and_gradients(norm):
    """The voltages of a block with a normaliser, and the gradient of its weight."""
    torch.manual_seed(0)
    block = Block(nn.Linear(30, 40), LIF(), norm=norm)
    network = Network(ProjectedContext(4, (40,)), [block], rule=VoltageRule()).eval()
    x, labels = batch()
    network.learn(x, labels)
    return network.record(x, ["voltage"])["block1"]["voltage"], block.synapse.weight.grad


@pytest.mark.parametrize("engine", [KERNELS, "reference"], ids=str)
@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_a_normaliser_is_honoured(engine, change):
    with use_engine(engine):
        found = voltages_and_gradients(CHANGES[change]())
        expected = voltages_and_gradients(RunningNorm(40, gain=0.5))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_method_replaced_on_a_neuron_is_honoured():
    x = torch.full((6, 1, 1), 0.4)
    neuron = LIF()
    neuron.fire = lambda voltage: (voltage > 0.1).float()
    found = run(neuron, x).spike
    with use_engine("reference"):
        assert torch.equal(found, run(neuron, x).spike)
    assert not torch.equal(found, run(LIF(), x).spike)


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


def test_a_network_names_the_engine_of_every_layer():
    shown = repr(mlp((30,), 4, hidden=[40]))
    assert "engine=cpu" in shown
    shown = repr(mlp((30,), 4, hidden=[40], neuron=ALIF))
    assert "engine=reference (the neuron is ALIF" in shown


def test_a_large_layer_without_a_kernel_warns_once():
    warn_reference.cache_clear()
    network, x = mlp((2000,), 4, hidden=[5], neuron=ALIF), torch.zeros(10, 110, 2000)
    with pytest.warns(UserWarning, match="the neuron is ALIF") as caught:
        network(x)
        network(x)
    assert len([w for w in caught if "ALIF" in str(w.message)]) == 1
