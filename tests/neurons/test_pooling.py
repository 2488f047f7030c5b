"""The halving pool beside torch's own."""

import pytest
import torch
from torch import nn

from sigprop_snn.network import HalvingPool, conv


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (2, 3), (1, 4)], ids=str)
def test_it_gives_torchs_maxima_and_gradients(size):
    torch.manual_seed(0)
    values = torch.randn(3, 2, *size, requires_grad=True)
    if size[0] < 2:
        assert HalvingPool()(values).shape == (3, 2, 0, 2)
        return
    found, expected = HalvingPool()(values), nn.MaxPool2d(2)(values)
    assert torch.equal(found, expected)
    grad = torch.randn_like(found)
    (one,), (other,) = (torch.autograd.grad(y, values, grad) for y in (found, expected))
    assert torch.equal(one, other)


def test_what_is_not_a_number_stays_seen():
    values = torch.zeros(1, 1, 2, 2)
    values[0, 0, 1, 0] = float("nan")
    assert torch.isnan(HalvingPool()(values)).all()


def test_convolutional_networks_pool_with_it():
    network = conv((1, 8, 8), 3, channels=(2,))
    assert isinstance(network.blocks[0].pool, HalvingPool)
