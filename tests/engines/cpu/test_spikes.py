"""Spikes packed four to a byte."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sigprop_snn.neurons.engines.cpu.spikes import PackedSpikes, pack
from sigprop_snn.neurons.engines.dense import DenseSpikes
from sigprop_snn.neurons.pooling import HalvingPool

SHAPES = [(1, 1, 1), (3, 2, 9), (4, 1, 16), (5, 3, 17), (9, 2, 3, 4, 5), (50, 2, 40), (6, 1, 2100)]
DTYPES = [torch.float32, torch.bfloat16]


def spikes(*shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(shape[0])
    return (torch.rand(shape, generator=generator) < 0.3).to(dtype)


def channels_last(packed):
    laid = packed.patterns.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    return PackedSpikes(laid, packed.steps)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_packed_spikes_come_out_unchanged(shape):
    x = spikes(*shape)
    packed = pack(x)
    assert packed.shape == x.shape
    assert not packed.constant
    assert torch.equal(packed.dense(), x)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_pattern_by_hand(dtype):
    x = torch.tensor([1, 0, 1, 1, 0, 1], dtype=dtype).view(6, 1, 1)
    assert pack(x).patterns.flatten().tolist() == [0b1101, 0b10]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.5, 2.0, -0.0])
@pytest.mark.parametrize("step", range(6))
def test_another_number_is_not_packed(value, step, dtype):
    x = spikes(6, 3, 20, dtype=dtype)
    x[step, 2, 19] = value
    packed = pack(x)
    if value:
        assert packed is None
    elif packed is not None:  # minus zero is no spike; a kernel may refuse it
        assert torch.equal(packed.dense(), x.float())


def test_memory_in_another_order():
    x = spikes(6, 3, 20)
    for other in (x.transpose(0, 1), x.flip(0), x[::2], x[:, 1:, ::3]):
        assert torch.equal(pack(other).dense(), other)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_weighted_sums_are_those_of_the_numbers(shape):
    x = spikes(*shape)
    weights = torch.linspace(-1, 2, shape[0])
    expected = torch.einsum("t...,t->...", x.double(), weights.double())
    found = pack(x).weighted_sum(weights)
    torch.testing.assert_close(found.double(), expected, atol=1e-6, rtol=1e-6)
    assert torch.equal(pack(x).count(), x.sum(0))


def test_some_rows_and_flat_rows():
    x = spikes(9, 5, 3, 4)
    assert torch.equal(pack(x).rows(1, 3).dense(), x[:, 1:3])
    assert torch.equal(pack(x).rows(3).dense(), x[:, 3:])
    assert torch.equal(pack(x).flatten().dense(), x.flatten(2))


def test_channels_may_lie_last_in_memory():
    x = spikes(9, 2, 3, 4, 5)
    packed = channels_last(pack(x))
    weights = torch.arange(9.0)
    assert torch.equal(packed.dense(), x)
    assert torch.equal(packed.flatten().dense(), x.flatten(2))
    assert torch.equal(packed.rows(1).dense(), x[:, 1:])
    assert torch.equal(packed.weighted_sum(weights), pack(x).weighted_sum(weights))


@pytest.mark.parametrize("order", [lambda packed: packed, channels_last])
@pytest.mark.parametrize("pool", [HalvingPool(), nn.MaxPool2d(2), nn.MaxPool2d((2, 2), stride=2)])
@pytest.mark.parametrize("shape", [(1, 1, 1, 2, 2), (9, 3, 5, 6, 7), (4, 2, 33, 3, 2)], ids=str)
def test_a_2x2_pool_of_bits_is_that_of_the_numbers(shape, pool, order):
    x = spikes(*shape)
    pooled = order(pack(x)).pooled(pool)
    assert isinstance(pooled, PackedSpikes)
    expected = nn.functional.max_pool2d(x.flatten(0, 1), 2).unflatten(0, shape[:2])
    assert torch.equal(pooled.dense(), expected)
    assert torch.equal(pooled.pooled(nn.Flatten()).dense(), expected.flatten(2))


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(3),
        nn.MaxPool2d(2, stride=1),
        nn.MaxPool2d(2, padding=1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.AvgPool2d(2),
    ],
    ids=str,
)
def test_any_other_module_gives_its_own_numbers(pool):
    x = spikes(5, 2, 3, 6, 7)
    pooled = pack(x).pooled(pool)
    assert isinstance(pooled, DenseSpikes)
    assert torch.equal(pooled.dense(), pool(x.flatten(0, 1)).unflatten(0, (5, 2)))


def test_no_pool_leaves_the_spikes_packed():
    packed = pack(spikes(5, 2, 3))
    assert packed.pooled(nn.Identity()) is packed


def test_a_pool_with_a_hook_gives_its_own_numbers():
    x, pool = spikes(5, 2, 3, 6, 7), nn.MaxPool2d(2)
    pool.register_forward_hook(lambda module, given, out: 2 * out)
    expected = 2 * nn.functional.max_pool2d(x.flatten(0, 1), 2).unflatten(0, (5, 2))
    assert torch.equal(pack(x).pooled(pool).dense(), expected)
