"""vgg8: its layers, at any size of picture, and that its gradient stays exact."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import Layout, SurrogateRule, VoltageRule, layout_of, vgg8
from sigprop_snn.neurons import LIF, Rate
from sigprop_snn.neurons.engines import DenseSpikes

RULES = [VoltageRule(), SurrogateRule()]


def layout(shape, **settings) -> Layout:
    network = vgg8(shape, 10, width=1 / 64, **settings)
    return layout_of(list(network.each_block()), shape, 10)


def test_the_papers_layers():
    network = vgg8((3, 32, 32), 10)
    *convolutions, dense = (block.synapse for block in network.blocks)
    maps = [(synapse.in_channels, synapse.out_channels) for synapse in convolutions]
    assert maps == [(3, 128), (128, 256), (256, 256), (256, 512), (512, 512), (512, 512)]
    assert {synapse.kernel_size for synapse in convolutions} == {(3, 3)}
    assert (dense[1].in_features, dense[1].out_features) == (512 * 2 * 2, 1024)
    read = (128 + 256 + 256 + 512) * 8 * 8 + 512 * 4 * 4 + 512 * 2 * 2 + 1024
    assert network.readout.synapse.in_features == read
    found = layout((3, 32, 32))
    assert found.currents == (
        (2, 32, 32), (4, 32, 32), (4, 16, 16), (8, 16, 16), (8, 8, 8), (8, 4, 4), (16,),
    )  # fmt: skip
    assert found.outputs[-2:] == ((8, 2, 2), (16,))


@pytest.mark.parametrize(
    ("side", "sides"),
    [
        ((28, 28), [28, 14, 14, 7, 3, 3]),
        ((34, 34), [34, 17, 17, 8, 4, 2]),
        ((8, 8), [8, 4, 4, 2, 2, 2]),
        ((3, 3), [3, 3, 3, 3, 3, 3]),
        ((1, 1), [1, 1, 1, 1, 1, 1]),
    ],
)
def test_odd_sides_are_halved_down_and_pools_drop_out_where_pictures_are_small(side, sides):
    assert [shape[1] for shape in layout((2, *side)).outputs[:-1]] == sides


def test_a_picture_may_be_wider_than_high():
    assert layout((1, 9, 21)).outputs[:-1] == (
        (2, 9, 21), (4, 4, 10), (4, 4, 10), (8, 2, 5), (8, 2, 5), (8, 2, 5),
    )  # fmt: skip


@pytest.mark.parametrize("rule", RULES, ids=["voltage", "surrogate"])
@pytest.mark.parametrize("neuron", [LIF, Rate])
def test_every_layer_learns(neuron, rule):
    torch.manual_seed(0)
    network = vgg8((3, 16, 16), 5, width=1 / 32, neuron=neuron, rule=rule)
    assert all(block.is_affine for block in network.blocks)  # so that the closed form is exact
    x, labels = torch.randn(2, 10, 3, 16, 16), torch.arange(10) % 5
    learned = network.learn(x, labels)
    assert len(learned.layers) == 8
    assert all(p.grad is not None for p in network.parameters())
    assert network.eval()(x).shape == (10, 5)


def test_width_scales_every_layer_but_never_to_nothing():
    wide, none = vgg8((1, 4, 4), 3, width=1 / 32), vgg8((1, 4, 4), 3, width=1e-9)
    outputs = [block.norm.gain.numel() for block in wide.blocks]
    assert outputs == [4, 8, 8, 16, 16, 16, 32]
    assert [block.norm.gain.numel() for block in none.blocks] == [1] * 7


def test_dropout_silences_whole_maps_while_training_alone():
    torch.manual_seed(0)
    make = partial(vgg8, (3, 16, 16), 5, width=1 / 8, neuron=Rate, shift=1.0)
    assert not [m for m in make().modules() if isinstance(m, nn.Dropout2d)]
    block = make(dropout=0.5).blocks[1]
    spikes = torch.ones(2, 4, 32, 16, 16)
    sent = DenseSpikes(spikes).pooled(block.pool).dense().flatten(3)
    assert sent.shape == (2, 4, 32, 64)
    assert ((sent == 0).all(3) | (sent == 2).all(3)).all()
    assert 0.3 < float((sent == 0).double().mean()) < 0.7
    assert torch.equal(
        DenseSpikes(spikes).pooled(block.eval().pool).dense(), torch.ones(2, 4, 32, 8, 8)
    )


@pytest.mark.parametrize(
    ("shape", "settings", "found"),
    [
        ((64,), {}, r"\[64\]; expected \(C, H, W\)"),
        ((3, 8, 8), {"width": 0.0}, "width is 0.0"),
        ((3, 8, 8), {"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_what_can_not_be_built_is_refused_by_value(shape, settings, found):
    with pytest.raises(SigpropError, match=found):
        vgg8(shape, 10, **settings)
