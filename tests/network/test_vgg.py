"""vgg: its blocks are those that `layers` gives, and the other builders are calls of it."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import conv, layout_of, vgg, vgg8


def outputs(network, shape):
    return layout_of(list(network.each_block()), shape, 10).outputs


def test_layers_gives_the_maps_and_the_pools():
    network = vgg((3, 32, 32), 10)
    assert outputs(network, (3, 32, 32)) == (
        (32, 16, 16), (64, 16, 16), (64, 8, 8), (96, 8, 8), (96, 8, 8), (128, 8, 8),
    )  # fmt: skip
    assert network.readout.synapse.in_features == (32 + 64 + 64 + 96 + 96 + 128) * 8 * 8
    small = vgg((1, 9, 6), 4, layers=(5, "pool", 7, "pool"), kernel=5, dense=6)
    assert outputs(small, (1, 9, 6)) == ((5, 4, 3), (7, 4, 3), (6,))
    assert {block.synapse.kernel_size for block in small.blocks[:2]} == {(5, 5)}
    assert outputs(vgg((1, 4, 4), 4, layers=3), (1, 4, 4)) == ((3, 4, 4),)


def test_vgg8_and_conv_are_calls_of_vgg():
    def same(one, other):
        mine, theirs = one.state_dict(), other.state_dict()
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)

    torch.manual_seed(3)
    narrow = vgg8((3, 16, 16), 5, width=1 / 32)
    torch.manual_seed(3)
    layers = (4, 8, "pool", 8, 16, "pool", 16, "pool", 16, "pool")
    same(narrow, vgg((3, 16, 16), 5, layers=layers, dense=32))
    torch.manual_seed(3)
    plain = conv((1, 16, 16), 5, channels=(4, 6, 8))
    torch.manual_seed(3)
    same(plain, vgg((1, 16, 16), 5, layers=(4, "pool", 6, "pool", 8), kernel=5))


@pytest.mark.parametrize("build", [vgg, vgg8, conv])
def test_centring_is_one_switch_and_leaves_the_first_block_out(build):
    with_it, without = build((1, 8, 8), 3), build((1, 8, 8), 3, centred=False)
    assert [block.centred for block in with_it.blocks] == [
        index > 0 for index in range(len(with_it.blocks))
    ]
    assert not any(block.centred for block in without.blocks)
    assert type(without.blocks[1].norm) is type(with_it.blocks[1].norm)


def test_dropout_follows_every_convolution_and_not_the_dense_block():
    network = vgg((1, 8, 8), 3, layers=(4, "pool", 6), dense=5, dropout=0.1)
    drops = [
        any(isinstance(module, nn.Dropout2d) for module in block.pool.modules())
        for block in network.blocks
    ]
    assert drops == [True, True, False]


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"layers": ()}, r"layers is \(\)"),
        ({"layers": None}, "layers is None"),
        ({"layers": ("pool", 4)}, "layers has 'pool'"),
        ({"layers": (4, "pool", "pool")}, "layers has 'pool'"),
        ({"layers": (4, "pol")}, "layers has 'pol'"),
        ({"layers": (4, 0)}, "layers is 0"),
        ({"layers": (4, 2.5)}, r"layers is 2\.5"),
        ({"kernel": 4}, "kernel is 4"),
        ({"dense": 0}, "dense is 0"),
        ({"dropout": 1.0}, r"dropout is 1\.0"),
    ],
)
def test_what_can_not_be_built_is_refused_by_value(settings, found):
    with pytest.raises(SigpropError, match=found):
        vgg((1, 8, 8), 3, **settings)
