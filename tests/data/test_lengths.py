from __future__ import annotations

import pytest
import torch

from sigprop_snn.data import Augment, Source, Split, mask, prepare
from sigprop_snn.errors import SigpropError


def padded(lengths, steps=6):
    """Return samples with events in their first steps and none after; sample i counts i + 1."""
    frames = torch.zeros(len(lengths), steps, 2, 3, dtype=torch.uint8)
    for sample, length in enumerate(lengths):
        frames[sample, :length] = sample + 1
    return frames


def test_lengths_follow_the_order_of_the_batches():
    lengths = torch.arange(30) % 7
    split = Split.of(padded(lengths.tolist()), torch.arange(30) % 3)
    data = prepare(Source("v", split, split, ("a", "b", "c"), timed=True), steps=6, batch_size=8)
    plain = list(data.train)
    data.train.set_epoch(0)
    for (x, y), (u, v, length) in zip(plain, data.train.with_lengths(), strict=True):
        assert torch.equal(x, u)
        assert torch.equal(y, v)
        assert length.dtype == torch.int64
        own = mask(length, 6)
        assert own.sum(0).tolist() == length.tolist()
        assert torch.equal(u.flatten(2).any(2), own)
    assert data.train.epoch == 1


def test_given_lengths_replace_the_step_of_the_last_event():
    split = Split.of(padded([1, 2, 3, 4]), torch.arange(4) % 3, torch.tensor([6, 5, 4, 4]))
    data = prepare(Source("v", split, split, ("a", "b", "c"), timed=True), steps=6, batch_size=3)
    assert torch.cat([n for _, _, n in data.test.with_lengths()]).tolist() == [6, 5, 4, 4]


def test_drawn_samples_keep_their_lengths():
    own = torch.arange(30) % 6 + 1
    split = Split.of(padded([1 + i for i in range(30)]), torch.arange(30) % 3, own)
    data = prepare(
        Source("v", split, split, ("a", "b", "c"), timed=True),
        steps=6,
        train_samples=12,
        validation=0.5,
        batch_size=4,
    )
    for part in (data.train, data.validation):
        for x, _, lengths in part.with_lengths():
            # The counts of a sample are its number, from 1.
            numbers = x.amax((0, 2, 3)).long() - 1
            assert torch.equal(lengths, own[numbers])


def test_dropped_events_do_not_shorten_a_sample():
    split = Split.of(padded([6] * 20).clamp(max=1), torch.arange(20) % 3)
    events = Source("v", split, split, ("a", "b", "c"), timed=True)
    data = prepare(events, steps=6, augment=Augment(shift=0, drop=0.9))
    assert [n.tolist() for _, _, n in data.train.with_lengths()] == [[6] * 20]


def test_pictures_fill_every_step():
    dark = Split.of(torch.zeros(60, 1, 2, 2), torch.arange(60) % 3)
    data = prepare(Source("dark", dark, dark, ("a", "b", "c")), steps=4, batch_size=64)
    assert [n.tolist() for _, _, n in data.train.with_lengths()] == [[4] * 60]


def test_a_mask_is_true_before_the_padding():
    own = mask(torch.tensor([0, 2, 3]), 3)
    assert own.tolist() == [[False, True, True], [False, True, True], [False, False, True]]
    for wrong in ([4], [-1]):
        with pytest.raises(SigpropError, match="expected 0 to 3"):
            mask(torch.tensor(wrong), 3)
