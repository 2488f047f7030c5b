from __future__ import annotations

import numpy as np
import pytest
import torch
from tonic.io import events_struct, make_structured_array

from sigprop_snn.data import Frames, load, to_frames
from sigprop_snn.data.events.frames import Sensor, bin_events
from sigprop_snn.errors import SigpropError


@pytest.mark.parametrize("steps", [1, 3, 7, 10, 64])
def test_frames_lose_no_event(draw, steps):
    x, y, t, p = draw(2000, 1)
    events = make_structured_array(x, y, t, p)
    frames = to_frames(events, (34, 34, 2), steps, 320_000)
    assert frames.shape == (steps, 2, 34, 34)
    assert frames.sum() == 2000
    by_hand = np.zeros_like(frames)
    np.add.at(by_hand, (t // -(-320_000 // steps), p, y, x), 1)
    assert np.array_equal(frames, by_hand)


def test_the_first_and_last_microsecond_and_later_ones_are_counted():
    t = [0, 99, 100, 199, 200, 5_000]
    events = make_structured_array(np.zeros(6, int), 0, np.array(t), 1)
    frames = to_frames(events, (1, 1, 2), 2, 200)
    assert frames[:, 1, 0, 0].tolist() == [2, 4]
    assert events["t"].tolist() == t


def test_a_duration_that_steps_do_not_divide_is_rounded_up():
    events = make_structured_array(np.zeros(4, int), 0, np.array([3, 4, 8, 9]), 0)
    assert to_frames(events, (1, 1, 2), 3, 10)[:, 0, 0, 0].tolist() == [1, 1, 2]
    assert to_frames(events, (1, 1, 2), 20, 10).sum() == 4


def test_more_events_than_a_frame_can_count_are_refused():
    for count in (256, 70_000):
        events = make_structured_array(np.zeros(count, int), 0, 5, 1)
        with pytest.raises(SigpropError, match="more than 255 events in a step"):
            to_frames(events, (1, 1, 2), 2, 200)
    assert to_frames(events[:255], (1, 1, 2), 2, 200).max() == 255


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("x", 34, "event 2 with x=34; expected x from 0 to 33"),
        ("y", -1, "event 2 with y=-1"),
        ("t", 0, "event 2 at 0 us after an event at 1 us"),
    ],
)
def test_impossible_events_are_refused(field, value, message):
    events = np.zeros(4, dtype=events_struct)
    events["t"] = np.arange(4)
    events[field][2] = value
    with pytest.raises(SigpropError, match=message):
        to_frames(events, (34, 34, 2), 2, 200)
    with pytest.raises(SigpropError, match="no event"):
        to_frames(events[:0], (34, 34, 2), 2, 200)
    with pytest.raises(SigpropError, match="steps is 0"):
        to_frames(events[:1], (34, 34, 2), 0, 200)


def by_hand(x, y, t, p, steps, step, size):
    """Count in a plain loop, `[T, P, H, W]`; events outside count in the first or last step."""
    width, height, polarities = size
    counts = np.zeros((steps, polarities, height, width), int)
    for event in zip(x, y, t, p, strict=True):
        column, row, time, polarity = (int(v) for v in event)
        counts[min(max(time // step, 0), steps - 1), polarity, row, column] += 1
    return counts


CAMERA = Sensor((34, 34, 2), 320_000)


def binned(columns, frames, steps=5, sensor=CAMERA):
    return bin_events(make_structured_array(*columns), sensor, frames, steps)


def test_steps_last_one_bin_width_and_later_events_count_in_the_last(draw):
    x, y, t, p = draw(900, 3)
    counted = binned((x, y, t, p), Frames(bin_width=10_000), steps=12)
    assert np.array_equal(counted, by_hand(x, y, t, p, 12, 10_000, (34, 34, 2)))
    assert counted.sum() == 900
    assert counted[-1].sum() == (t >= 110_000).sum()


def test_events_before_start_and_after_end_are_kept_or_dropped(draw):
    x, y, t, p = draw(900, 4)
    kept = binned((x, y, t, p), Frames(start=50_000, end=150_000), steps=4)
    assert np.array_equal(kept, by_hand(x, y, t - 50_000, p, 4, 25_000, (34, 34, 2)))
    dropped = binned((x, y, t, p), Frames(start=50_000, end=150_000, outside="drop"), steps=4)
    inside = (t >= 50_000) & (t < 150_000)
    expected = by_hand(x[inside], y[inside], t[inside] - 50_000, p[inside], 4, 25_000, (34, 34, 2))
    assert np.array_equal(dropped, expected)


def test_a_recording_outside_all_steps_gives_empty_frames(draw):
    late = Frames(start=310_000, bin_width=10, outside="drop")
    assert binned(draw(50, 5), late).sum() == 0


def test_a_smaller_size_adds_the_counts_of_neighbours(draw):
    x, y, t, p = draw(900, 6)
    whole = binned((x, y, t, p), Frames()).astype(int)
    half = binned((x, y, t, p), Frames(size=(17, 17)))
    assert np.array_equal(half, whole.reshape(5, 2, 17, 2, 17, 2).sum((3, 5)))
    odd = binned((x, y, t, p), Frames(size=(10, 12)))
    assert np.array_equal(odd, by_hand(x * 10 // 34, y * 12 // 34, t, p, 5, 64_000, (10, 12, 2)))


def test_corners_stay_corners_at_a_smaller_size():
    wide = Sensor((1280, 720, 2), 100, counts="int16")
    corners = ([0, 1279, 1279], [0, 0, 719], [1, 2, 3], [0, 1, 1])
    counted = binned(corners, Frames(size=(64, 36)), steps=1, sensor=wide)
    assert np.argwhere(counted[0]).tolist() == [[0, 0, 0], [1, 0, 63], [1, 35, 63]]


def test_merged_polarities_are_the_sum_of_both(draw):
    columns = draw(900, 7)
    both = binned(columns, Frames()).sum(1, keepdims=True)
    assert np.array_equal(binned(columns, Frames(merge_polarities=True)), both)


def test_denoise_removes_events_without_an_earlier_neighbour():
    #         first, its neighbour, far away, neighbour too late, neighbour of the late one
    x, y = [5, 6, 30, 5, 4], [5, 5, 30, 6, 6]
    t, p = [0, 60, 70, 500, 599], [0, 1, 1, 0, 1]
    counted = binned((x, y, t, p), Frames(denoise=100), steps=1)
    assert np.argwhere(counted).tolist() == [[0, 1, 5, 6], [0, 1, 6, 4]]
    assert binned((x, y, t, p), Frames(denoise=1), steps=1).sum() == 0


def test_time_begins_at_the_first_event_where_the_clock_is_absolute():
    late = ([1, 2], [3, 4], [10**15, 10**15 + 99], [0, 1])
    sensor = Sensor((8, 8, 2), 100, from_first=True)
    counted = binned(late, Frames(), steps=10, sensor=sensor)
    assert [int(step) for step in counted.sum((1, 2, 3)).nonzero()[0]] == [0, 9]


def test_a_row_of_channels_has_no_height():
    row = Sensor((700, 1, 1), 100, line=True)
    columns = ([0, 699, 350], [0, 0, 0], [1, 2, 3], [0, 0, 0])
    assert binned(columns, Frames(), sensor=row).shape == (5, 1, 700)
    narrow = binned(columns, Frames(size=(140, 1)), sensor=row, steps=1)
    assert narrow[0, 0].nonzero()[0].tolist() == [0, 70, 139]


def test_int16_counts_go_up_to_32767():
    crowd = (np.zeros(40_000, int), 0, 5, 1)
    wide = Sensor((1, 1, 2), 200, counts="int16")
    assert (
        binned([c if np.isscalar(c) else c[:32_767] for c in crowd], Frames(), 2, wide).max()
        == 32_767
    )
    for count in (32_768, 40_000):
        with pytest.raises(SigpropError, match="more than 32767 events in a step of 100"):
            binned([c if np.isscalar(c) else c[:count] for c in crowd], Frames(), 2, wide)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bin_width": 0}, "bin_width is 0"),
        ({"denoise": 0}, "denoise is 0"),
        ({"start": -1}, "start is -1"),
        ({"start": 5, "end": 5}, "end is 5; expected more than start, 5"),
        ({"bin_width": 5, "end": 9}, "bin_width is 5 and end is 9; expected one of them"),
        ({"outside": "lose"}, "outside is 'lose'"),
        ({"size": (0, 4)}, r"size is \(0, 4\)"),
        ({"sensor": (4,)}, r"sensor is \(4,\)"),
    ],
)
def test_impossible_frames_are_refused(options, message):
    with pytest.raises(SigpropError, match=message):
        Frames(**options)


def test_frames_that_do_not_fit_the_sensor_are_refused(tmp_path, write_nmnist):
    write_nmnist(tmp_path, train=1)
    with pytest.raises(SigpropError, match=r"size is \(35, 16\); expected at most .* 34 x 34"):
        load("nmnist", root=tmp_path, frames=Frames(size=(35, 16)))
    with pytest.raises(SigpropError, match="start is 320000; expected less than the end"):
        load("nmnist", root=tmp_path, frames=Frames(start=320_000))
    with pytest.raises(SigpropError, match=r"sensor is \(34, 34\) for 'nmnist'"):
        load("nmnist", root=tmp_path, frames=Frames(sensor=(34, 34)))
    with pytest.raises(SigpropError, match="frames is given for 'digits'"):
        load("digits", frames=Frames())


def test_load_gives_the_shape_that_frames_ask_for(tmp_path, write_nmnist):
    write_nmnist(tmp_path, train=1)
    frames = Frames(bin_width=20_000, size=(8, 4), merge_polarities=True)
    data = load("nmnist", root=tmp_path, steps=6, frames=frames)
    assert (data.shape, data.steps) == ((1, 4, 8), 6)
    x, _ = next(iter(data.test))
    assert x.shape == (6, 10, 1, 4, 8)
    assert x.sum((0, 2, 3, 4)).tolist() == [500 + digit for digit in range(10)]


def test_with_a_bin_width_lengths_are_the_durations_of_the_recordings(tmp_path, write_nmnist, pack):
    folder = write_nmnist(tmp_path, train=1)
    for digit in range(10):
        file = folder / "Test" / str(digit) / "00000.bin"
        file.write_bytes(pack([1, 2], [3, 4], [0, 10_000 * digit], [0, 1]))
    data = load("nmnist", root=tmp_path, steps=8, frames=Frames(bin_width=10_000))
    lengths = torch.cat([n for _, _, n in data.test.with_lengths()])
    assert lengths.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 8, 8]
