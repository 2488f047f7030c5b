"""The convolutional kernels against eager torch in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sigprop_snn.neurons import LIF
from sigprop_snn.neurons.engines import ReferenceEngine, Scale
from sigprop_snn.neurons.engines.cpu.convolution import (
    SpikingConvolution,
    convolution_weight_gradient,
    gradient_pays,
)
from sigprop_snn.neurons.engines.cpu.engine import CpuEngine
from sigprop_snn.neurons.engines.cpu.spikes import pack
from sigprop_snn.neurons.engines.dense import DenseSpikes
from sigprop_snn.neurons.engines.observed import observed
from sigprop_snn.neurons.engines.order import channels_last

# T, N, K, H, W, F, kernel, padding: one panel of channels and several, one block of neurons and
# several in a row, every kind of edge.
SHAPES = [
    (1, 1, 1, 1, 1, 1, (1, 1), (0, 0)),
    (5, 3, 3, 7, 6, 1, (3, 3), (1, 1)),
    (6, 2, 3, 8, 8, 40, (5, 5), (2, 2)),
    (9, 2, 16, 8, 5, 16, (5, 3), (0, 1)),
    (4, 2, 20, 4, 9, 70, (2, 7), (1, 6)),
    (13, 2, 1, 9, 9, 33, (4, 4), (3, 0)),
    (3, 2, 17, 6, 5, 17, (3, 3), (0, 0)),
    (2, 2, 40, 3, 4, 3, (1, 1), (0, 0)),
    (7, 2, 3, 5, 5, 48, (5, 5), (4, 4)),
    (5, 2, 2, 3, 14, 12, (3, 3), (1, 1)),
]
NEURONS = [
    LIF(0.9, 0.7),
    LIF(0.8, reset="zero", scale_current=True),
    LIF(1.0, 1.5, reset="none"),
]
MARGIN = 1e-4  # closer to the threshold, rounding may decide on a spike
CLOSE = {"atol": 2e-5, "rtol": 1e-5}


@pytest.fixture
def with_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def drawn(shape, rate=0.3):
    steps, rows, inputs, height, width, channels, kernel, _ = shape
    generator = torch.Generator().manual_seed(channels)
    x = (torch.rand(steps, rows, inputs, height, width, generator=generator) < rate).float()
    weight = torch.randn(channels, inputs, *kernel, generator=generator)
    weight /= (inputs * kernel[0] * kernel[1]) ** 0.5
    return x, weight, torch.randn(channels, generator=generator)


def dense_currents(x, weight, bias, padding):
    bias = None if bias is None else bias.double()
    currents = F.conv2d(x.double().flatten(0, 1), weight.double(), bias, padding=padding)
    return currents.view(*x.shape[:2], *currents.shape[1:])


def assert_equals_reference(ran, neuron, currents, contexts=None, scale=None):
    """Compare a run with the eager one in float64, in all neurons away from the threshold."""
    expected = ReferenceEngine().neurons(
        neuron,
        currents,
        contexts=None if contexts is None else contexts.double(),
        scale=None if scale is None else Scale(*(None if x is None else x.double() for x in scale)),
        record=("voltage",),
    )
    voltage = expected.recorded["voltage"]
    clear = ((voltage - neuron.threshold).abs() > MARGIN).all(dim=0)
    assert clear.float().mean() > 0.9 or clear.numel() < 20
    assert torch.equal(ran.spikes.dense()[:, clear], expected.spike.float()[:, clear])
    found = [ran.mean_voltage, ran.state.voltage, *ran.recorded.values()]
    wanted = [expected.mean_voltage, expected.state.voltage, *[voltage] * len(ran.recorded)]
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one[..., clear].double(), other[..., clear], **CLOSE)


@pytest.mark.parametrize("neuron", NEURONS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_layer_equals_the_dense_convolution_and_the_eager_neurons(shape, neuron):
    x, weight, bias = drawn(shape)
    padding = shape[-1]
    currents = dense_currents(x, weight, bias, padding)
    generator = torch.Generator().manual_seed(7)
    contexts = torch.randn(3, *currents.shape[2:], generator=generator)
    gain = 0.5 + torch.rand(len(weight), 1, 1, generator=generator)
    layer = SpikingConvolution.of(pack(x), weight, bias, padding)
    assert tuple(layer.current_shape) == currents.shape[2:]
    for scale in (None, Scale(gain), Scale(gain, gain - 1)):
        for rows in (None, contexts):
            ran = layer.run(neuron, contexts=rows, scale=scale, record=("voltage",))
            assert_equals_reference(ran, neuron, currents, rows, scale)
            unrecorded = layer.run(neuron, contexts=rows, scale=scale)
            assert ran.recorded.keys() == {"voltage"} and unrecorded.recorded == {}
            assert torch.equal(unrecorded.spikes.patterns, ran.spikes.patterns)
            assert torch.equal(unrecorded.mean_voltage, ran.mean_voltage)


@pytest.mark.parametrize("steps", range(1, 10))
@pytest.mark.parametrize("rate", [0.0, 0.2, 1.0], ids=["empty", "sparse", "full"])
def test_any_number_of_steps_and_spikes(steps, rate):
    x, weight, bias = drawn((steps, 2, 5, 6, 7, 17, (3, 3), (1, 1)), rate)
    for given in (bias, None):
        ran = SpikingConvolution.of(pack(x), weight, given, (1, 1)).run(
            NEURONS[0], record=("voltage",)
        )
        assert_equals_reference(ran, NEURONS[0], dense_currents(x, weight, given, (1, 1)))


def test_bits_behind_the_last_step_are_zero():
    x, weight, bias = drawn(SHAPES[1], rate=1.0)
    patterns = SpikingConvolution.of(pack(x), weight, bias + 5, (1, 1)).run(LIF()).spikes.patterns
    assert (patterns[:, 0] == 0b1111).all()
    assert (patterns[:, 1] == 0b0001).all()


@pytest.mark.parametrize(("height", "kernel"), [(1, 5), (1, 7), (2, 7), (2, 5)])
def test_a_kernel_may_be_higher_than_its_maps(height, kernel):
    torch.manual_seed(0)
    pad = kernel // 2
    layer = nn.Conv2d(3, 40, kernel, padding=pad)
    x, grad = (torch.rand(9, 6, 3, height, 21) < 0.3).float(), torch.randn(9, 6, 40, height, 21)
    found = convolution_weight_gradient(pack(x), grad, (kernel, kernel), (pad, pad))
    expected = ReferenceEngine().weight_gradient(layer, DenseSpikes(x), grad)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("rows", [1, 2, 40])
def test_the_statistics_of_observed_windows_equal_those_of_the_dense_convolution(shape, rows):
    x, weight, bias = drawn(shape)
    x = x.repeat(1, -(-rows // x.shape[1]), 1, 1, 1)[:, :rows]
    seen = observed(len(x), rows, maps=True)
    wide = dense_currents(x, weight, bias, shape[-1])
    expected = seen.existing(wide[seen.steps, seen.rows])
    found, count = SpikingConvolution.of(pack(x), weight, bias, shape[-1]).statistics_at(seen)
    assert count == len(expected)
    mean, square = expected.mean((0, 2, 3)), expected.square().mean((0, 2, 3))
    torch.testing.assert_close(found.double(), torch.stack([mean, square]), **CLOSE)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_weight_gradient_equals_autograd(shape):
    x, weight, bias = drawn(shape)
    weight.requires_grad_()
    currents = dense_currents(x, weight, bias, shape[-1])
    generator = torch.Generator().manual_seed(3)
    wide = torch.randn(shape[0], shape[1] + 2, *currents.shape[2:], generator=generator)
    turned = wide.movedim(2, -1).contiguous().movedim(-1, 2)
    (expected,) = torch.autograd.grad(currents, weight, wide[:, : shape[1]].double())
    for grad in (wide, turned):
        rows = grad[:, : shape[1]]  # some rows of a larger gradient
        found = convolution_weight_gradient(pack(x), rows, shape[-2], shape[-1])
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-5)


def test_the_number_of_threads_changes_no_bit(with_threads):
    x, weight, bias = drawn((6, 9, 3, 8, 8, 40, (5, 5), (2, 2)))
    layer = SpikingConvolution.of(pack(x), weight, bias, (2, 2))
    grad = torch.randn(6, 9, *layer.current_shape, generator=torch.Generator().manual_seed(0))
    found = []
    for threads in (1, 3):
        with_threads(threads)
        ran = layer.run(NEURONS[0])
        gradient = convolution_weight_gradient(pack(x), grad, (5, 5), (2, 2))
        found.append((ran.spikes.patterns, ran.mean_voltage, ran.state.voltage, gradient))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_a_layer_takes_the_output_of_the_layer_before():
    x, weight, bias = drawn(SHAPES[2])
    sent = SpikingConvolution.of(pack(x), weight, bias, (2, 2)).run(NEURONS[0]).spikes
    x, weight, bias = sent.dense(), *drawn((6, 2, 40, 8, 8, 5, (3, 3), (1, 1)))[1:]
    ran = SpikingConvolution.of(sent, weight, bias, (1, 1)).run(NEURONS[0], record=("voltage",))
    assert_equals_reference(ran, NEURONS[0], dense_currents(x, weight, bias, (1, 1)))


def test_a_gradient_by_events_pays_unless_nearly_all_channels_fire():
    few, many = torch.ones(4, 9, 2, 16, 16), torch.ones(4, 9, 256, 4, 4)
    assert not gradient_pays(pack(few)) and not gradient_pays(pack(many))
    few[:, :, :, :4], many[:, :, :170] = 0, 0
    assert gradient_pays(pack(few)) and gradient_pays(pack(many))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_dense_input_gives_currents_with_their_channels_last(channels):
    torch.manual_seed(0)
    convolution = nn.Conv2d(channels, 5, 3, padding=1)
    picture = torch.rand(2, channels, 6, 7)
    for inputs in (picture.expand(4, *picture.shape), torch.rand(4, 2, channels, 6, 7)):
        found = CpuEngine().currents(convolution, DenseSpikes(inputs))
        expected = ReferenceEngine().currents(convolution, DenseSpikes(inputs))
        torch.testing.assert_close(found, expected)
        assert found[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("channels", [1, 4])
def test_maps_are_marked_as_channels_last(channels):
    maps = torch.rand(2, channels, 5, 3)
    turned = channels_last(maps)
    assert torch.equal(turned, maps)
    assert turned.stride() == (channels * 15, 1, 3 * channels, channels)
