from __future__ import annotations

import pytest
import torch

from sigprop_snn.data import Source, Split, prepare
from sigprop_snn.encoding import ENCODINGS, delta, direct, latency, rate
from sigprop_snn.errors import SigpropError


def test_direct_is_the_same_value_at_every_step_without_a_copy():
    x = torch.rand(4, 1, 3, 3)
    out = direct(x, 5)
    assert out.shape == (5, 4, 1, 3, 3)
    assert out.stride(0) == 0
    assert out.data_ptr() == x.data_ptr()
    for step in out:
        assert torch.equal(step, x)


def test_rate_is_the_probability_of_a_spike():
    x = torch.tensor([[0.0, 0.1, 0.5, 0.9, 1.0]]).repeat(100, 1)
    spikes = rate(x, 100, seed=3)
    assert spikes.shape == (100, 100, 5)
    assert set(spikes.unique().tolist()) == {0.0, 1.0}
    # 10,000 draws a column: five standard deviations are 0.025 at most.
    torch.testing.assert_close(spikes.mean((0, 1)), x[0], atol=0.025, rtol=0)
    assert spikes[..., 0].sum() == 0
    assert spikes[..., 4].min() == 1
    assert not torch.equal(spikes[0], spikes[1])


def test_rate_follows_its_seed_and_does_not_change_the_global_generator():
    x = torch.rand(8, 6)
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first = rate(x, 7, seed=5)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(rate(x, 7, seed=5), first)
    assert not torch.equal(rate(x, 7, seed=6), first)


SPIKES = {"rate": rate, "latency": latency, "delta": delta}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("encode", SPIKES.values(), ids=SPIKES)
def test_spikes_keep_the_type_and_the_shape(encode, dtype):
    x = torch.rand(3, 2, 4).to(dtype)
    spikes = encode(x, 7)
    assert spikes.dtype == dtype
    assert spikes.shape == (7, 3, 2, 4)
    assert set(spikes.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_an_empty_batch_stays_empty(encode):
    assert encode(torch.zeros(0, 4), 3).shape == (3, 0, 4)


@pytest.mark.parametrize("encode", [latency, delta])
def test_latency_and_delta_do_not_depend_on_the_seed_or_the_batch(encode):
    x = torch.rand(6, 5)
    together = encode(x, 9, seed=1)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    alone = torch.cat([encode(row[None], 9, seed=2) for row in x], 1)
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(together, alone)


def test_latency_by_hand():
    x = torch.tensor([[1.0, 0.9, 0.5, 0.26, 0.01, 0.0099, 0.0]])
    spikes = latency(x, 5)
    # (1 - x) * 4 is 0, 0.4, 2, 2.96, 3.96 before rounding; the last two are below DARKEST.
    assert spikes.sum(0).tolist() == [[1, 1, 1, 1, 1, 0, 0]]
    assert spikes[:, 0, :5].argmax(0).tolist() == [0, 0, 2, 3, 4]


@pytest.mark.parametrize("steps", [1, 2, 10, 100])
def test_latency_is_one_spike_and_brighter_is_earlier(steps):
    x = torch.linspace(0.01, 1, 500)[None]
    spikes = latency(x, steps)
    assert (spikes.sum(0) == 1).all()
    times = spikes.argmax(0)[0]
    assert (times.diff() <= 0).all()
    assert (times[0], times[-1]) == (round(0.99 * (steps - 1)), 0)


def test_delta_by_hand():
    x = torch.tensor([[0.0, 0.1, 0.25, 0.5, 0.75, 1.0]])
    # The levels after each step, rounded half up: 0.5 reaches 0.5, 1, 1.5, 2 quarters.
    assert delta(x, 4)[:, 0].T.tolist() == [
        [0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 1], [1, 1, 1, 1],
    ]  # fmt: skip


@pytest.mark.parametrize("steps", [1, 3, 10, 100])
def test_delta_spikes_in_proportion_to_the_value_and_evenly(steps):
    x = torch.arange(256, dtype=torch.float64)[None] / 255
    spikes = delta(x, steps)
    assert torch.equal(spikes.sum(0), torch.floor(x * steps + 0.5))
    # Evenly: at each step the number of spikes so far is that of a steady rise, rounded.
    risen = x * torch.arange(1, steps + 1)[:, None, None]
    assert (spikes.cumsum(0) - risen).abs().max() <= 0.5 + 1e-9


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_named_with_their_index(encode, bad):
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
@pytest.mark.parametrize("encode", SPIKES.values(), ids=SPIKES)
def test_spikes_need_values_between_0_and_1(encode, bad):
    with pytest.raises(SigpropError, match=rf"from {bad} .* \[0, 1\]"):
        encode(torch.full((2, 2), bad), 3)


@pytest.mark.parametrize("encoding", ["latency", "delta"])
def test_colour_pictures_are_not_standardised_before_spike_encoding(encoding):
    bright = torch.full((4, 3, 2, 2), 255, dtype=torch.uint8)
    split = Split.of(bright, torch.arange(4) % 2)
    data = prepare(Source("c", split, split, ("a", "b"), colour=True), encoding=encoding, steps=5)
    x, _ = next(iter(data.train))
    assert x.sum(0).unique().tolist() == [1.0 if encoding == "latency" else 5.0]
