from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sigprop_snn.errors import UnknownNameError
from sigprop_snn.neurons import ALIF, LIF, Scale, run, run_packed
from sigprop_snn.neurons.kernels import (
    Convolution,
    convolution_outer,
    fits_convolution,
    outer_pays,
    pack,
    product,
)

# T, N, K, H, W, F, kernel, padding: kernels with and without vector code of their own, one panel
# and several, edges of every kind.
SHAPES = [
    (4, 1, 1, 1, 1, 1, (1, 1), (0, 0)),
    (5, 3, 2, 7, 6, 5, (3, 3), (1, 1)),
    (6, 2, 3, 8, 8, 40, (5, 5), (2, 2)),
    (9, 2, 3, 8, 5, 16, (5, 3), (0, 1)),
    (4, 2, 20, 4, 9, 70, (2, 7), (1, 6)),
    (13, 2, 1, 9, 9, 33, (4, 4), (3, 0)),
    (5, 2, 3, 6, 5, 20, (3, 3), (1, 1)),
]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
MODELS = [
    LIF(0.9, 0.7),
    LIF(0.8, reset="zero", scale_current=True),
    LIF(1.0, 1.5, reset="none"),
]


@pytest.fixture(autouse=True)
def of_any_size(monkeypatch):
    monkeypatch.setattr(product, "_WORTH_IT", 0)


def drawn(shape, density=0.3):
    steps, samples, channels, height, width, maps, kernel, _ = shape
    generator = torch.Generator().manual_seed(maps)
    size = steps, samples, channels, height, width
    x = (torch.rand(size, generator=generator) < density).float()
    weight = torch.randn(maps, channels, *kernel, generator=generator)
    weight /= (channels * kernel[0] * kernel[1]) ** 0.5
    return x, weight, torch.randn(maps, generator=generator)


def dense(x, weight, bias, padding):
    current = F.conv2d(x.flatten(0, 1), weight, bias, padding=padding)
    return current.view(*x.shape[:2], *current.shape[1:])


def assert_same(ran, expected):
    assert torch.equal(ran.spike, expected.spike)
    for name in ("mean_voltage", "spike_count"):
        torch.testing.assert_close(getattr(ran, name), getattr(expected, name))
    torch.testing.assert_close(ran.state.voltage, expected.state.voltage)
    for name, values in ran.recorded.items():
        torch.testing.assert_close(values, expected.recorded[name], **CLOSE)


@pytest.mark.parametrize("neuron", MODELS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_layer_is_its_convolution_and_the_eager_run(shape, neuron):
    x, weight, bias = drawn(shape)
    current = dense(x, weight, bias, shape[-1])
    generator = torch.Generator().manual_seed(7)
    riding = torch.randn(3, *current.shape[2:], generator=generator)
    gain = 0.5 + torch.rand(len(weight), 1, 1, generator=generator)
    for scale in (None, Scale(gain), Scale(gain, gain - 1)):
        for rows in (None, riding):
            synapse = Convolution.of(pack(x), weight, bias, shape[-1])
            assert synapse.shape == current.shape[2:]
            # The sums are those of another order: near a threshold they might disagree, but
            # these seeds have no such neuron.
            options = {"riding": rows, "scale": scale, "record": ("spike", "voltage")}
            ran = run_packed(neuron, synapse, **options)
            assert_same(ran, run(neuron, current, backend="eager", **options))
            alone = run_packed(neuron, synapse, riding=rows, scale=scale)
            assert torch.equal(alone.activity.patterns, ran.activity.patterns)
            assert torch.equal(alone.mean_voltage, ran.mean_voltage)


@pytest.mark.parametrize("density", [0.0, 1.0])
def test_silence_and_spikes_everywhere(density):
    x, weight, bias = drawn(SHAPES[2], density)
    for given in (bias, None):
        ran = run_packed(MODELS[0], Convolution.of(pack(x), weight, given, (2, 2)))
        assert_same(ran, run(MODELS[0], dense(x, weight, given, (2, 2)), backend="eager"))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_some_windows_are_those_of_the_convolution(shape):
    x, weight, bias = drawn(shape)
    steps, samples = x.shape[:2]
    current = dense(x.double(), weight.double(), bias.double(), shape[-1])
    last = (steps - 1) // 4
    found = Convolution.of(pack(x), weight, bias, shape[-1]).windows_at(
        torch.tensor([samples - 1, 0]), torch.tensor([last, 0])
    )
    inside = steps - 4 * last
    torch.testing.assert_close(found[:inside, 0].double(), current[4 * last :, -1], **CLOSE)
    torch.testing.assert_close(found[:, 1].double(), current[:4, 0], **CLOSE)


def test_shared_among_threads_it_gives_the_same(monkeypatch):
    x, weight, bias = drawn((6, 9, 3, 8, 8, 40, (5, 5), (2, 2)))
    synapse = Convolution.of(pack(x), weight, bias, (2, 2))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    alone = run_packed(MODELS[0], synapse)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    together = run_packed(MODELS[0], synapse)
    assert torch.equal(alone.activity.patterns, together.activity.patterns)
    assert torch.equal(alone.mean_voltage, together.mean_voltage)


def test_maps_that_lie_channels_last_pack_and_pool_as_numbers_do():
    x, weight, bias = drawn((9, 3, 2, 7, 6, 5, (3, 3), (1, 1)))
    sent = run_packed(MODELS[0], Convolution.of(pack(x), weight, bias, (1, 1))).activity
    spikes = sent.unpacked()
    assert sent.shape == spikes.shape == (9, 3, 5, 7, 6)
    for packed in (sent, pack(spikes)):
        pooled = F.max_pool2d(spikes.flatten(0, 1), 2).view(9, 3, 5, 3, 3)
        assert torch.equal(packed.halved().unpacked(), pooled)
        assert torch.equal(packed.unpacked(torch.float64), spikes.double())
        assert torch.equal(packed.flatten().unpacked(), spikes.flatten(2))
        assert torch.equal(packed.rows(1).unpacked(), spikes[:, 1:])
        weights = torch.linspace(0, 1, 9)
        expected = torch.einsum("t...,t->...", spikes, weights)
        torch.testing.assert_close(packed.weighted(weights), expected)


def test_what_has_no_such_kernel():
    x, _, _ = drawn(SHAPES[1])

    def layer(*sizes, **options):
        return nn.Conv2d(2, 5, *sizes, **options)

    assert fits_convolution(LIF(), x, layer(3, padding=1))
    assert fits_convolution(LIF(), pack(x), layer((2, 5), bias=False))
    for other in (
        layer(3, stride=2), layer(3, dilation=2), layer(3, padding=3), layer(3, padding="same"),
        layer(3, padding=1, padding_mode="circular"), layer(9), nn.Conv2d(3, 5, 3),
        layer(3).double(),
    ):  # fmt: skip
        assert not fits_convolution(LIF(), x, other)
    assert not fits_convolution(ALIF(), x, layer(3))
    assert not fits_convolution(LIF(), x[:3], layer(3))
    assert not fits_convolution(LIF(), x[:1].expand_as(x), layer(3))
    assert not fits_convolution(LIF(), x.double(), layer(3))


def test_a_gradient_by_events_where_it_pays():
    few, many = torch.zeros(4, 9, 2, 16, 16), torch.zeros(4, 9, 64, 16, 16)
    assert not outer_pays(pack(few)) and not outer_pays(pack(many))  # hardly anything fires
    few[0], many[0] = 1, 1
    assert not outer_pays(pack(few)) and not outer_pays(pack(many))  # everything does
    few[0, :4], many[0, :6] = 0, 0
    assert outer_pays(pack(few)) and outer_pays(pack(many))


def test_it_records_spikes_and_voltages_alone():
    x, weight, bias = drawn(SHAPES[1])
    synapse = Convolution.of(pack(x), weight, bias, (1, 1))
    with pytest.raises(UnknownNameError, match="reset_voltage"):
        run_packed(LIF(), synapse, record=("reset_voltage",))
    ran = run_packed(LIF(), synapse, record=("spike",))
    assert torch.equal(ran.recorded["spike"], ran.spike)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_weights_gradient_is_torchs(shape):
    x, weight, bias = drawn(shape)
    weight.requires_grad_()
    current = dense(x, weight, bias, shape[-1])
    wide = torch.randn(
        shape[0], shape[1] + 2, *current.shape[2:], generator=torch.Generator().manual_seed(3)
    )
    last = wide.movedim(2, -1).contiguous().movedim(-1, 2)
    (expected,) = torch.autograd.grad(current, weight, wide[:, : shape[1]])
    for grad in (wide, last):
        found = convolution_outer(pack(x), grad[:, : shape[1]], shape[-2], shape[-1])
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)
