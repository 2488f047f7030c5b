from __future__ import annotations

import pytest
import torch

from sigprop_snn.encoding import ENCODINGS, direct, rate
from sigprop_snn.errors import SigpropError


def test_direct_is_the_same_value_at_every_step_without_a_copy():
    x = torch.rand(4, 1, 3, 3)
    out = direct(x, 5)
    assert out.shape == (5, 4, 1, 3, 3)
    assert out.stride(0) == 0
    assert out.data_ptr() == x.data_ptr()
    for step in out:
        assert torch.equal(step, x)


def test_rate_spikes_as_often_as_the_value_says():
    x = torch.tensor([[0.0, 0.1, 0.5, 0.9, 1.0]]).repeat(100, 1)
    spikes = rate(x, 100, seed=3)
    assert spikes.shape == (100, 100, 5)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    # 10,000 draws a column: five standard deviations are 0.025 at most.
    torch.testing.assert_close(spikes.mean((0, 1)), x[0], atol=0.025, rtol=0)
    assert spikes[..., 0].sum() == 0
    assert spikes[..., 4].min() == 1
    assert not torch.equal(spikes[0], spikes[1])


def test_rate_follows_its_seed_and_leaves_the_global_generator_alone():
    x = torch.rand(8, 6)
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first = rate(x, 7, seed=5)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(rate(x, 7, seed=5), first)
    assert not torch.equal(rate(x, 7, seed=6), first)


def test_rate_keeps_the_type():
    assert rate(torch.rand(2, 2, dtype=torch.float64), 2).dtype == torch.float64


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_refused_with_their_place(encode, bad):
    x = torch.zeros(2, 3)
    x[1, 2] = bad
    with pytest.raises(SigpropError, match=rf"{bad} at \(1, 2\)"):
        encode(x, 4)


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_steps_below_one_and_whole_numbers_are_refused(encode):
    with pytest.raises(SigpropError, match="steps is 0"):
        encode(torch.zeros(2, 3), 0)
    with pytest.raises(SigpropError, match=r"torch\.uint8"):
        encode(torch.zeros(2, 3, dtype=torch.uint8), 4)


@pytest.mark.parametrize("bad", [-0.1, 1.5])
def test_rate_takes_probabilities_alone(bad):
    with pytest.raises(SigpropError, match=r"\[0, 1\]"):
        rate(torch.full((2, 2), bad), 3)
