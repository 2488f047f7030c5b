"""Linear layers of spikes, against eager torch and float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sigprop_snn.neurons import LIF
from sigprop_snn.neurons.engines.cpu.linear import (
    SpikingLinear,
    linear_weight_gradient,
    list_events,
)
from sigprop_snn.neurons.engines.cpu.spikes import pack
from sigprop_snn.neurons.engines.engine import Scale
from sigprop_snn.neurons.engines.reference import ReferenceEngine

# T, N, K, F: odd sizes, several panels, more rows than pass together.
SHAPES = [
    (1, 3, 5, 7), (2, 1, 1, 1), (3, 2, 9, 32), (4, 1, 1, 1), (5, 3, 17, 33), (6, 40, 30, 100),
    (7, 2, 11, 210), (8, 3, 50, 450), (9, 70, 20, 90),
]  # fmt: skip
MODELS = [
    LIF(0.9, 0.7),
    LIF(0.8, reset="zero", scale_current=True),
    LIF(1.0, 1.5, reset="none"),
]
CLOSE = {"atol": 1e-4, "rtol": 1e-5}


def drawn(shape, density=0.3):
    steps, rows, neurons, columns = shape
    generator = torch.Generator().manual_seed(steps)
    x = (torch.rand(steps, rows, neurons, generator=generator) < density).float()
    weight = torch.randn(columns, neurons, generator=generator) / neurons**0.5
    return x, weight, torch.randn(columns, generator=generator)


def factors(columns):
    generator = torch.Generator().manual_seed(columns)
    gain = 0.5 + torch.rand(columns, generator=generator)
    return Scale(gain), Scale(gain, torch.randn(columns, generator=generator))


def layer(x, weight, bias):
    return SpikingLinear.of(pack(x), weight, bias)


@pytest.mark.parametrize("density", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_neuron_is_listed_under_its_pattern(shape, density):
    packed = pack(drawn(shape, density)[0])
    rows = packed.patterns.flatten(0, 1).tolist()
    lists = (each.tolist() for each in list_events(packed))
    for row, events, starts in zip(rows, *lists, strict=True):
        assert starts[:2] == [0, 0]
        for pattern in range(1, 16):
            expected = [neuron for neuron, bits in enumerate(row) if bits == pattern]
            assert events[starts[pattern] : starts[pattern + 1]] == expected


@pytest.mark.parametrize("density", [0.0, 0.1, 0.9, 1.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_currents_equal_the_dense_product(shape, density):
    x, weight, bias = drawn(shape, density)
    exact = F.linear(x.double(), weight.double(), bias.double())
    found = layer(x, weight, bias).currents()
    torch.testing.assert_close(found.double(), exact, **CLOSE)
    without = layer(x, weight, None).currents()
    torch.testing.assert_close(without.double(), exact - bias.double(), **CLOSE)


def test_every_pattern_of_a_window_by_hand():
    # Neuron p fires at the steps whose bits p has; its weight is 2^p, so sums tell the neurons.
    x = torch.tensor([[[float(p >> step & 1) for p in range(16)]] for step in range(4)])
    weight = torch.tensor([[2.0**p for p in range(16)]])
    currents = layer(x, weight, None).currents().flatten().tolist()
    assert currents == [0xAAAA, 0xCCCC, 0xF0F0, 0xFF00]
    grad = torch.tensor([1.0, 10.0, 100.0, 1000.0]).view(4, 1, 1)
    expected = [float(f"{p:04b}") for p in range(16)]
    assert linear_weight_gradient(pack(x), grad).flatten().tolist() == expected


@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("neuron", MODELS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_layer_is_its_currents_and_the_reference_to_the_bit(shape, neuron, density):
    x, weight, bias = drawn(shape, density)
    spiking = layer(x, weight, bias)
    currents = spiking.currents()
    rows = torch.randn(3, shape[3], generator=torch.Generator().manual_seed(7))
    for scale in (None, *factors(shape[3])):
        for contexts in (None, rows):
            options = {"contexts": contexts, "scale": scale}
            expected = ReferenceEngine().neurons(neuron, currents, record=("voltage",), **options)
            ran = spiking.run(neuron, record=("voltage",), **options)
            assert torch.equal(ran.spikes.dense(), expected.spike)
            assert torch.equal(ran.recorded["voltage"], expected.recorded["voltage"])
            assert torch.equal(ran.state.voltage, expected.state.voltage)
            assert torch.equal(ran.mean_voltage, expected.mean_voltage)
            alone = spiking.run(neuron, **options)
            assert torch.equal(alone.spikes.patterns, ran.spikes.patterns)
            assert alone.recorded == {}


@pytest.mark.parametrize("density", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_weight_gradient_is_that_of_the_dense_product(shape, density):
    x, weight, _ = drawn(shape, density)
    grad = torch.randn(*shape[:2], shape[3] + 3, generator=torch.Generator().manual_seed(0))
    for given in (grad[..., 3:], grad[..., :-3].bfloat16()):
        exact = given.double().flatten(0, 1).t() @ x.double().flatten(0, 1)
        found = linear_weight_gradient(pack(x), given)
        assert found.shape == weight.shape
        torch.testing.assert_close(found.double(), exact, **CLOSE)


def test_several_threads_give_the_same_bits(monkeypatch):
    x, weight, bias = drawn((9, 70, 33, 210))
    contexts = torch.randn(20, 210, generator=torch.Generator().manual_seed(7))

    def everything():
        spiking = layer(x, weight, bias)
        ran = spiking.run(LIF(), contexts=contexts)
        grad = spiking.currents()
        return [
            grad, ran.spikes.patterns, ran.state.voltage, ran.mean_voltage,
            linear_weight_gradient(pack(x), grad),
        ]  # fmt: skip

    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    alone = everything()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for one, other in zip(everything(), alone, strict=True):
        assert torch.equal(one, other)


def test_memory_in_another_order():
    x, weight, bias = drawn((9, 6, 33, 21))
    found = SpikingLinear.of(pack(x.transpose(0, 1)), weight, bias).currents()
    torch.testing.assert_close(found, F.linear(x.transpose(0, 1), weight, bias), **CLOSE)
