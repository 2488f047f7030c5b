from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from sigprop_snn.errors import UnknownNameError
from sigprop_snn.neurons import ALIF, LIF, Scale, run, run_packed
from sigprop_snn.neurons.kernels import Synapse, fits_layer, pack, panels, product

SHAPES = [(4, 1, 1, 1), (5, 3, 17, 33), (9, 40, 30, 100), (50, 2, 40, 64)]  # T, N, K, F
MODELS = [
    LIF(0.9, 0.7),
    LIF(0.8, reset="zero", scale_current=True),
    LIF(1.0, 1.5, reset="none"),
]


@pytest.fixture(autouse=True)
def of_any_size(monkeypatch):
    monkeypatch.setattr(product, "_WORTH_IT", 0)


def drawn(shape):
    steps, samples, neurons, columns = shape
    generator = torch.Generator().manual_seed(steps)
    x = (torch.rand(steps, samples, neurons, generator=generator) < 0.3).float()
    weight = torch.randn(columns, neurons, generator=generator) / neurons**0.5
    return x, weight, torch.randn(columns, generator=generator)


def factors(columns):
    generator = torch.Generator().manual_seed(columns)
    gain = 0.5 + torch.rand(columns, generator=generator)
    return Scale(gain), Scale(gain, torch.randn(columns, generator=generator))


def assert_same(ran, expected):
    assert torch.equal(ran.spike, expected.spike)
    for name in ("mean_voltage", "spike_count"):
        torch.testing.assert_close(getattr(ran, name), getattr(expected, name))
    torch.testing.assert_close(ran.state.voltage, expected.state.voltage)
    assert ran.recorded.keys() == expected.recorded.keys()
    for name, values in ran.recorded.items():
        torch.testing.assert_close(values, expected.recorded[name])


@pytest.mark.parametrize("neuron", MODELS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_layer_is_its_product_and_the_eager_run(shape, neuron):
    x, weight, bias = drawn(shape)
    riding = torch.randn(3, shape[3], generator=torch.Generator().manual_seed(7))
    synapse = Synapse.of(pack(x), weight, bias)
    for scale in (None, *factors(shape[3])):
        for rows in (None, riding):
            options = {"riding": rows, "scale": scale, "record": ("spike", "voltage")}
            ran = run_packed(neuron, synapse, **options)
            # The sums are those of another order: near a threshold they might disagree, but these
            # seeds have no such neuron.
            expected = run(neuron, F.linear(x, weight, bias), backend="eager", **options)
            assert_same(ran, expected)


@pytest.mark.parametrize("columns", [90, 100])
def test_bit_for_bit_the_kernels_one_after_the_other(columns):
    x, weight, bias = drawn((9, 40, 30, columns))
    scale = factors(columns)[1]
    current = product.event_linear(x, weight, bias)
    for record in ((), ("voltage",)):
        ran = run_packed(MODELS[0], Synapse.of(pack(x), weight, bias), scale=scale, record=record)
        expected = run(MODELS[0], current, scale=scale, record=record, backend="cpu")
        assert torch.equal(ran.spike, expected.spike)
        assert torch.equal(ran.mean_voltage, expected.mean_voltage)
        assert torch.equal(ran.state.voltage, expected.state.voltage)
        for name in record:
            assert torch.equal(ran.recorded[name], expected.recorded[name])


@pytest.mark.parametrize("float16", [True, False])
def test_autocast_changes_hardly_a_spike(monkeypatch, float16):
    monkeypatch.setattr(panels, "adds_float16", lambda: float16)
    x, weight, bias = drawn((9, 40, 30, 100))
    exact = run_packed(MODELS[0], Synapse.of(pack(x), weight, bias))
    with torch.autocast("cpu", torch.bfloat16):
        ran = run_packed(MODELS[0], Synapse.of(pack(x), weight, bias))
    assert (ran.spike != exact.spike).float().mean() < 0.002
    assert (ran.mean_voltage - exact.mean_voltage).abs().mean() < 2e-3
    assert ran.mean_voltage.dtype == torch.float32


def test_some_windows_are_those_of_the_product():
    x, weight, bias = drawn((9, 40, 30, 100))
    whole = F.linear(x, weight, bias)
    synapse = Synapse.of(pack(x), weight, bias)
    samples, places = torch.tensor([0, 39, 5]), torch.tensor([0, 1, 2])
    found = synapse.windows_at(samples, places)
    torch.testing.assert_close(found[:, 0], whole[:4, 0])
    torch.testing.assert_close(found[:, 1], whole[4:8, 39])
    torch.testing.assert_close(found[0, 2], whole[8, 5])
    torch.testing.assert_close(found[1:, 2], bias.expand(3, -1))  # behind the last step


def test_shared_among_threads_it_gives_the_same(monkeypatch):
    x, weight, bias = drawn((9, 40, 30, 100))
    riding = torch.randn(3, 100, generator=torch.Generator().manual_seed(7))
    synapse = Synapse.of(pack(x), weight, bias)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    alone = run_packed(MODELS[0], synapse, riding=riding)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    together = run_packed(MODELS[0], synapse, riding=riding)
    assert torch.equal(alone.activity.patterns, together.activity.patterns)
    assert torch.equal(alone.mean_voltage, together.mean_voltage)


def test_what_has_no_such_kernel():
    x, weight, bias = drawn((5, 3, 17, 33))
    assert fits_layer(LIF(), x, weight, bias) and fits_layer(LIF(), pack(x), weight, None)
    assert not fits_layer(ALIF(), x, weight, bias)
    assert not fits_layer(LIF(), x[:3], weight, bias)  # less than a window
    assert not fits_layer(LIF(), x[:1].expand(9, 3, 17), weight, bias)  # constant: one product
    assert not fits_layer(LIF(), x.double(), weight.double(), bias.double())
    assert not fits_layer(LIF(), x[..., :16], weight, bias)


def test_what_a_layer_does_not_record():
    x, weight, bias = drawn((5, 3, 17, 33))
    with pytest.raises(UnknownNameError, match="reset_voltage"):
        run_packed(LIF(), Synapse.of(pack(x), weight, bias), record=("reset_voltage",))
