from __future__ import annotations

import pytest
import torch

from sigprop_snn.data import Augment, Source, Split, prepare
from sigprop_snn.data.augment import shift_pictures, warp_pictures
from sigprop_snn.data.source import generator
from sigprop_snn.errors import SigpropError


def test_shifts_and_mirroring_move_the_whole_picture():
    x = torch.zeros(200, 2, 9, 9)
    x[:, :, 4, 3] = 1
    x[:, :, 4, 4] = 2
    out = shift_pictures(x, generator(0), 3, mirror=True)
    assert out.shape == x.shape
    assert torch.equal(out.sum((1, 2, 3)), x.sum((1, 2, 3)))
    assert torch.equal(out[:, 0], out[:, 1])
    high = (out[:, 0] == 2).nonzero()
    low = (out[:, 0] == 1).nonzero()
    assert torch.equal(high[:, 1], low[:, 1])
    beside = (high - low)[:, 2]
    assert set(beside.tolist()) == {-1, 1}
    assert set(high[:, 1].tolist()) == set(range(1, 8))
    assert torch.equal(out, shift_pictures(x, generator(0), 3, mirror=True))


def test_augmentation_changes_only_training_pictures():
    x = torch.arange(9, dtype=torch.uint8).view(1, 1, 3, 3).expand(30, 3, 3, 3)
    split = Split.of(x, torch.arange(30) % 2)
    data = prepare(Source("c", split, split, ("a", "b"), colour=True), augment=True, steps=1)
    plain = prepare(Source("c", split, split, ("a", "b"), colour=True), steps=1)
    (train, _), (test, _), (untouched, _) = (
        next(iter(b)) for b in (data.train, data.test, plain.test)
    )
    assert torch.equal(test, untouched)
    assert not torch.equal(train, untouched)


def test_all_steps_of_a_recording_shift_together_and_are_not_mirrored():
    frames = torch.zeros(40, 3, 2, 9, 9, dtype=torch.uint8)
    frames[:, :, :, 4, 4], frames[:, :, :, 4, 5] = 1, 2
    split = Split.of(frames, torch.arange(40) % 2)
    events = Source("events", split, split, ("a", "b"), timed=True)
    x, _ = next(iter(prepare(events, steps=3, batch_size=40, augment=True).train))
    assert torch.equal(x[0], x[2])
    ones, twos = (x[0, :, 0] == 1).nonzero(), (x[0, :, 0] == 2).nonzero()
    assert set((twos - ones)[:, 2].tolist()) == {1}
    assert set(ones[:, 1].tolist()) == set(ones[:, 2].tolist()) == {2, 3, 4, 5, 6}


def test_shift_and_mirror_can_be_set():
    frames = torch.zeros(60, 2, 2, 9, 9, dtype=torch.uint8)
    frames[:, :, :, 4, 4], frames[:, :, :, 4, 5] = 1, 2
    split = Split.of(frames, torch.arange(60) % 2)
    events = Source("events", split, split, ("a", "b"), timed=True)

    def first(augment):
        return next(iter(prepare(events, steps=2, batch_size=60, augment=augment).train))[0]

    still = first(Augment(shift=0))
    assert torch.equal(still, first(False))
    far = (first(Augment(shift=3))[0, :, 0] == 1).nonzero()[:, 1:]
    assert set(far.flatten().tolist()) == set(range(1, 8))
    flipped = first(Augment(shift=0, mirror=True))[0, :, 0]
    ones, twos = (flipped == 1).nonzero(), (flipped == 2).nonzero()
    assert set((twos - ones)[:, 2].tolist()) == {-1, 1}


def test_a_source_sets_the_default_of_mirroring():
    x = torch.arange(9, dtype=torch.uint8).view(1, 1, 1, 3, 3).expand(40, 2, 1, 3, 3)
    split = Split.of(x, torch.arange(40) % 2)
    for may in (False, True):
        source = Source("c", split, split, ("a", "b"), timed=True, mirror=may)
        moved = next(iter(prepare(source, steps=2, batch_size=40, augment=Augment(shift=0)).train))[
            0
        ]
        assert bool((moved == split.read(torch.arange(40)).transpose(0, 1)).all()) is not may
        # An explicit choice overrides the source's default.
        other = Augment(shift=0, mirror=not may)
        chosen = next(iter(prepare(source, steps=2, batch_size=40, augment=other).train))[0]
        assert bool((chosen == split.read(torch.arange(40)).transpose(0, 1)).all()) is may


def centre_of(pictures):
    """Return the centre of mass of every picture, as (row, column) from the middle."""
    total = pictures.sum((1, 2, 3))
    side = torch.arange(pictures.shape[-1]) - (pictures.shape[-1] - 1) / 2
    rows = (pictures.sum((1, 3)) * side).sum(1) / total
    return rows, (pictures.sum((1, 2)) * side).sum(1) / total


def test_a_rotation_moves_a_spot_along_a_circle_by_at_most_its_angle():
    x = torch.zeros(300, 1, 41, 41)
    x[..., 18:23, 33:38] = 1  # 15 pixels to the right of the centre
    row, column = centre_of(warp_pictures(x, generator(1), Augment(rotate=30)))
    assert torch.hypot(row, column).sub(15).abs().max() < 0.5
    angle = torch.rad2deg(torch.atan2(row, column))
    assert 28 < angle.max() < 32 and -32 < angle.min() < -28


def test_scales_and_shears_have_their_limits():
    x = torch.zeros(300, 1, 41, 41)
    x[..., 28:33, 28:33] = 1  # 10 pixels to the right of the centre and 10 below it
    row, column = centre_of(warp_pictures(x, generator(2), Augment(scale=0.5)))
    for place in (row, column):
        assert 14 < place.max() < 16 and 6 < place.min() < 7.5
    row, column = centre_of(warp_pictures(x, generator(3), Augment(shear=0.5)))
    assert (row == 10).all()
    assert 14 < column.max() < 16 and 4 < column.min() < 6


def test_warped_counts_stay_whole_and_all_steps_of_a_recording_move_together():
    frames = torch.randint(0, 5, (30, 1, 2, 9, 9), dtype=torch.uint8).expand(30, 3, 2, 9, 9)
    split = Split.of(frames, torch.arange(30) % 2)
    events = Source("events", split, split, ("a", "b"), timed=True)
    warped = Augment(shift=0, rotate=40, scale=0.3, shear=0.2)
    train = prepare(events, steps=3, batch_size=30, augment=warped).train
    (one, _), (two, _) = next(iter(train)), next(iter(train))
    assert torch.equal(one[0], one[2])
    assert set(one.unique().tolist()) == {0, 1, 2, 3, 4}
    assert not torch.equal(one, two)


def test_a_source_sets_its_own_augmentation():
    frames = torch.zeros(40, 2, 1, 9, 9, dtype=torch.uint8)
    frames[..., 4, 4] = 1
    split = Split.of(frames, torch.arange(40) % 2)
    events = Source("e", split, split, ("a", "b"), timed=True, augment=Augment(shift=1))
    x, _ = next(iter(prepare(events, steps=2, batch_size=40, augment=True).train))
    assert set(x[0, :, 0].nonzero()[:, 1:].flatten().tolist()) == {3, 4, 5}


def test_events_are_dropped_with_a_probability_and_drawn_anew_in_every_epoch():
    frames = torch.full((50, 4, 2, 5, 5), 7, dtype=torch.uint8)
    frames[:, :, :, 0] = 0
    split = Split.of(frames, torch.arange(50) % 2)
    events = Source("events", split, split, ("a", "b"), timed=True)
    data = prepare(events, steps=4, batch_size=50, augment=Augment(shift=0, drop=0.3), seed=5)
    (one, _), (two, _) = next(iter(data.train)), next(iter(data.train))
    assert not torch.equal(one, two)
    data.train.set_epoch(0)
    assert torch.equal(next(iter(data.train))[0], one)
    assert torch.equal(one, one.round())
    assert (one[..., 0, :] == 0).all()
    assert (one.min(), one.max()) == (0, 7)
    # 56,000 events: five standard deviations are 0.01.
    assert one.sum() / (50 * 4 * 2 * 20 * 7) == pytest.approx(0.7, abs=0.01)
    assert torch.equal(next(iter(data.test))[0].transpose(0, 1), frames.float())


def test_a_row_of_channels_shifts_only_along_the_row():
    frames = torch.zeros(40, 3, 1, 9, dtype=torch.uint8)
    frames[..., 4] = 5
    split = Split.of(frames, torch.arange(40) % 2)
    sounds = Source("sounds", split, split, ("a", "b"), timed=True)
    x, _ = next(iter(prepare(sounds, steps=3, batch_size=40, augment=True).train))
    assert x.shape == (3, 40, 1, 9)
    assert (x.sum(-1) == 5).all()
    assert set(x[0, :, 0].argmax(-1).tolist()) == {2, 3, 4, 5, 6}
    assert torch.equal(x[0], x[2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shift": -1}, "shift is -1"),
        ({"drop": 1.0}, "drop is 1.0"),
        ({"rotate": 181}, "rotate is 181"),
        ({"scale": -0.1}, "scale is -0.1"),
        ({"shear": 1.5}, "shear is 1.5"),
    ],
)
def test_augmentation_out_of_range_is_refused(options, message):
    with pytest.raises(SigpropError, match=message):
        Augment(**options)


def test_augmentation_that_does_not_fit_the_samples_is_refused():
    with pytest.raises(SigpropError, match=r"drop is 0\.5 for 'numbers'"):
        dark = Split.of(torch.zeros(6, 1, 2, 2), torch.arange(6) % 3)
        prepare(Source("numbers", dark, dark, ("a", "b", "c")), augment=Augment(drop=0.5))
    row = Split.of(torch.ones(6, 2, 1, 5, dtype=torch.uint8), torch.arange(6) % 3)
    with pytest.raises(SigpropError, match=r"'sounds' have shape .*rotated"):
        sounds = Source("sounds", row, row, ("a", "b", "c"), timed=True)
        prepare(sounds, steps=2, augment=Augment(rotate=5))
    flat = Split.of(torch.zeros(6, 4), torch.arange(6) % 3)
    with pytest.raises(SigpropError, match=r"shape \(4,\), which can't be shifted"):
        prepare(Source("flat", flat, flat, ("a", "b", "c")), augment=True)
