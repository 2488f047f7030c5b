from __future__ import annotations

import pytest
import torch

from sigprop_snn.neurons.filters import impulse_response, mean_trace
from sigprop_snn.neurons.kernels import pack, unpacked
from sigprop_snn.neurons.lif import LIF

SHAPES = [(1, 1, 1), (3, 2, 9), (4, 1, 16), (5, 3, 17), (9, 2, 3, 4, 5), (50, 2, 40)]
DTYPES = [torch.float32, torch.bfloat16]


def spikes(*shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(shape[0])
    return (torch.rand(shape, generator=generator) < 0.3).to(dtype)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64, torch.float16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_what_is_packed_comes_out_again(shape, dtype):
    x = spikes(*shape)
    packed = pack(x)
    assert packed.shape == x.shape
    assert torch.equal(packed.unpacked(dtype), x.to(dtype))
    assert torch.equal(unpacked(packed), x) and unpacked(x) is x


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
    elif packed is not None:  # minus zero is silence, which a kernel need not know
        assert torch.equal(packed.unpacked(dtype), x)


def test_memory_in_another_order():
    x = spikes(6, 3, 20)
    for other in (x.transpose(0, 1), x.flip(0), x[::2], x[:, 1:, ::3]):
        assert torch.equal(pack(other).unpacked(), other)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_weighted_steps_are_those_of_the_numbers(shape):
    x = spikes(*shape)
    weights = torch.linspace(-1, 2, shape[0])
    expected = torch.einsum("t...,t->...", x.double(), weights.double())
    torch.testing.assert_close(pack(x).weighted(weights).double(), expected, atol=1e-6, rtol=1e-6)
    response = impulse_response(LIF(0.9), shape[0])
    for one, other in zip(mean_trace(pack(x), response), mean_trace(x, response), strict=True):
        torch.testing.assert_close(one, other)


def test_some_rows_and_flat_rows():
    x = spikes(9, 5, 3, 4)
    assert torch.equal(pack(x).rows(1, 3).unpacked(), x[:, 1:3])
    assert torch.equal(pack(x).rows(3).unpacked(), x[:, 3:])
    assert torch.equal(pack(x).flatten().unpacked(), x.flatten(2))
