"""Times of recordings: clocks that start again, disorder, units, jumps and outliers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sigprop_snn.data import EventFileError, Frames, load, read_events
from sigprop_snn.data.events.recording import EventsFault, checked_events
from sigprop_snn.errors import SigpropError

RISING = np.sort(np.random.default_rng(0).integers(0, 50_000, 200))


def times(t, unit="us"):
    zero = np.zeros(len(t), int)
    return checked_events(zero, zero, t, zero, unit)["t"]


CLOCKS = {f"{bits} bits": (0, 2**bits) for bits in (23, 24, 31, 32, 34)}
CLOCKS["signed 32 bits"] = (-(2**31), 2**31)


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("before", [1, 20_000, 49_999])
def test_a_clock_that_starts_again_is_continued(clock, before):
    low, end = CLOCKS[clock]
    shown = (RISING + end - before - low) % (end - low) + low
    found = times(shown)
    assert np.array_equal(found - found[0], RISING - RISING[0])


def test_a_clock_may_start_again_often_and_with_late_events():
    t = np.arange(0, 5 * 2**24, 50_001)
    t[3::7] -= 150_000
    t = np.maximum(t, 0)
    found = times(t % 2**24)
    assert np.array_equal(found, np.sort(t))


@settings(max_examples=100, deadline=None)
@given(
    clock=st.sampled_from(list(CLOCKS)),
    span=st.integers(2, 3 * 10**6),
    seed=st.integers(0, 99),
    before=st.integers(0, 3 * 10**6),
)
def test_no_recording_is_folded_onto_itself(clock, span, seed, before):
    low, end = CLOCKS[clock]
    t = np.sort(np.random.default_rng(seed).integers(0, span, 30))
    try:
        found = times((t + end - before - low) % (end - low) + low)
    except EventsFault as error:
        assert "us after an event at" in error.fault
    else:
        assert np.array_equal(found - found[0], t - t[0])


@pytest.mark.parametrize(
    "t",
    [
        [0, 900_000, 100_000, 1_000_000],
        [0, 2**24, 50, 2**24 + 50],
        (RISING * 4) % 2**16,
        (RISING * 100) % 10**6,
        [0, 5_000_000, 10_000_000, 4_000_000],
    ],
    ids=["far back", "two clocks", "16 bits", "micros of a second", "at the end"],
)
def test_other_times_that_fall_are_refused_with_event_and_times(t):
    with pytest.raises(EventsFault, match=r"has event \d+ at \d+ us after an event at \d+ us"):
        times(t)


def test_events_that_are_a_little_late_are_sorted():
    t = np.arange(0, 2_000_000, 1_000)
    late = t.copy()
    late[500:600] -= 300_000
    assert np.array_equal(times(late), np.sort(late))


def test_aedat_2_is_continued_where_its_32_bits_end(tmp_path, recording):
    file = tmp_path / "a.aedat"
    t = RISING + 2**32 - 20_000
    zero = np.zeros(len(t), int)
    file.write_bytes(recording["aedat2"](zero, zero, t % 2**32, zero))
    found = read_events(file)["t"]
    assert np.array_equal(found - found[0], RISING - RISING[0])


@pytest.mark.parametrize(("unit", "factor"), [("s", 1e-6), ("ms", 1e-3), ("us", 1), ("ns", 1000)])
def test_units_become_microseconds(tmp_path, recording, unit, factor):
    zero = np.zeros(len(RISING), int)
    values = (RISING + 1_700_000_000) * factor
    assert np.array_equal(times(values, unit), RISING + 1_700_000_000)
    file = tmp_path / "a.h5"
    file.write_bytes(recording["hdf5"](zero, zero, values, zero))
    assert np.array_equal(read_events(file, unit=unit)["t"], RISING + 1_700_000_000)
    file = tmp_path / "a.bin"
    file.write_bytes(recording["bin"](zero, zero, RISING, zero))
    assert np.array_equal(read_events(file, unit=unit)["t"], RISING), "its unit is known"


def test_seconds_are_refused_as_microseconds_and_the_unit_is_offered(tmp_path):
    array = np.zeros(3, [("x", int), ("y", int), ("t", float), ("p", bool)])
    array["t"] = [0, 0.25, 1.5]
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(
        EventFileError, match=r"event 1 with t=0\.25; .*whole microseconds.*--time-unit s"
    ):
        read_events(tmp_path / "a.npy")
    assert read_events(tmp_path / "a.npy", unit="s")["t"].tolist() == [0, 250_000, 1_500_000]
    with pytest.raises(SigpropError, match="unknown unit 'hours'"):
        read_events(tmp_path / "a.npy", unit="hours")


@pytest.fixture
def folder(tmp_path):
    """Write a folder of twelve recordings; `change` receives the number and the columns of each."""

    def write(change=lambda number, x, y, t, p: (x, y, t, p)):
        random = np.random.default_rng(1)
        for number in range(12):
            place = tmp_path / ("test" if number % 3 == 0 else "train") / "ab"[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            x, y = random.integers(0, 20, (2, 200))
            t = np.sort(random.integers(0, 50_000, 200))
            columns = change(number, x, y, t, random.integers(0, 2, 200))
            kinds = [(n, np.asarray(v).dtype) for n, v in zip("xytp", columns, strict=True)]
            array = np.empty(200, kinds)
            for name, column in zip("xytp", columns, strict=True):
                array[name] = column
            np.save(place / f"{number}.npy", array)
        return tmp_path

    return write


def only(odd, change):
    return lambda number, *columns: change(*columns) if number == odd else columns


@pytest.mark.parametrize("later", [2**24, 2**31, 2**32])
def test_one_late_event_does_not_decide_the_duration(folder, later):
    def change(x, y, t, p):
        return x, y, np.append(t[:-1], t[-1] + later), p

    root = folder(only(7, change))
    with pytest.raises(SigpropError, match=r"7\.npy has a duration of \d+ us.*bin_width"):
        load("eventfolder", root=root)
    data = load("eventfolder", root=root, steps=5, frames=Frames(bin_width=10_000))
    assert (next(iter(data.test))[0].sum((2, 3, 4)) > 0).all()


@pytest.mark.parametrize("axis", ["width", "height"])
def test_one_hot_pixel_does_not_decide_the_sensor(folder, axis):
    def change(x, y, t, p):
        far = np.append(x[:-1], 40)
        return (far, y, t, p) if axis == "width" else (x, far, t, p)

    root = folder(only(4, change))
    with pytest.raises(SigpropError, match=rf"4\.npy has a {axis} of 41, .* at most 20.*sensor"):
        load("eventfolder", root=root)
    assert load("eventfolder", root=root, frames=Frames(sensor=(48, 48))).shape == (2, 48, 48)


def test_a_recording_in_another_unit_is_named(folder):
    root = folder(only(5, lambda x, y, t, p: (x, y, t // 1000, p)))
    with pytest.warns(UserWarning, match=r"1 recordings .*5\.npy with 50 us"):
        load("eventfolder", root=root)


def test_steps_that_are_empty_in_all_recordings_are_reported(folder):
    def jump(number, x, y, t, p):
        return x, y, np.append(t[:-1] // 1000, 3 * 10**9), p

    with pytest.warns(UserWarning) as told:
        load("eventfolder", root=folder(jump), steps=10)
    for split, warning in zip(("train", "test"), told, strict=True):
        assert f"8 of 10 steps are empty in the {split} samples" in str(warning.message)


def test_seconds_in_a_folder_give_the_frames_of_microseconds(folder, tmp_path_factory):
    whole = next(iter(load("eventfolder", root=folder(), steps=4).test))[0]
    root = folder(lambda number, x, y, t, p: (x, y, t / 1e6, p))
    seconds = load("eventfolder", root=root, steps=4, frames=Frames(unit="s"))
    assert (next(iter(seconds.test))[0] == whole).all()
    with pytest.raises(SigpropError, match="unit is 's' for 'digit-events'"):
        load("digit-events", frames=Frames(unit="s"))
