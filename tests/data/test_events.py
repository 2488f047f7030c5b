from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from tonic import datasets
from tonic.io import events_struct, make_structured_array

from sigprop_snn.data import DataNotFoundError, EventFileError, load, read_nmnist_file, to_frames
from sigprop_snn.errors import SigpropError


def pack(x, y, t, p) -> bytes:
    """Events in N-MNIST's own bytes: x, y, then one bit of polarity and 23 of time."""
    x, y, t, p = (np.asarray(v, dtype=np.int64) for v in (x, y, t, p))
    columns = (x, y, (p << 7) | (t >> 16), (t >> 8) & 255, t & 255)
    return np.stack(columns, axis=1).astype(np.uint8).tobytes()


def draw(count: int, seed: int):
    random = np.random.default_rng(seed)
    x, y = random.integers(0, 34, (2, count))
    return x, y, np.sort(random.integers(0, 310_000, count)), random.integers(0, 2, count)


def write_nmnist(root: Path, train: int = 3, test: int = 1) -> Path:
    for half, count in (("Train", train), ("Test", test)):
        for digit in range(10):
            folder = root / "NMNIST" / half / str(digit)
            folder.mkdir(parents=True)
            for i in range(count):
                seed = len(half) * 1000 + digit * 10 + i
                folder.joinpath(f"{i:05}.bin").write_bytes(pack(*draw(500 + digit, seed)))
    return root / "NMNIST"


@pytest.fixture
def no_download(monkeypatch):
    def refuse(self):
        pytest.fail("a download was started")

    monkeypatch.setattr(datasets.NMNIST, "download", refuse)


def test_a_file_is_read_as_it_was_written(tmp_path):
    x, y, t, p = draw(300, 0)
    file = tmp_path / "a.bin"
    file.write_bytes(pack(x, y, t, p))
    events = read_nmnist_file(file)
    for name, values in zip("xytp", (x, y, t, p), strict=True):
        assert np.array_equal(events[name], values)


@pytest.mark.parametrize("steps", [1, 3, 7, 10, 64])
def test_frames_lose_no_event(steps):
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
        ("t", 0, "event 2 at 0 us after one at 1 us"),
    ],
)
def test_events_that_can_not_be_are_refused(field, value, message):
    events = np.zeros(4, dtype=events_struct)
    events["t"] = np.arange(4)
    events[field][2] = value
    with pytest.raises(SigpropError, match=message):
        to_frames(events, (34, 34, 2), 2, 200)
    with pytest.raises(SigpropError, match="holds no event"):
        to_frames(events[:0], (34, 34, 2), 2, 200)
    with pytest.raises(SigpropError, match="steps is 0"):
        to_frames(events[:1], (34, 34, 2), 0, 200)


def test_a_partial_copy_is_used_as_it_is(tmp_path, no_download):
    folder = write_nmnist(tmp_path)
    data = load("nmnist", root=tmp_path, steps=5, batch_size=8)
    assert (data.train.samples, data.test.samples) == (30, 10)
    assert (data.shape, data.steps) == ((2, 34, 34), 5)
    batches = list(data.test)
    x, y = torch.cat([x for x, _ in batches], 1), torch.cat([y for _, y in batches])
    assert x.shape == (5, 10, 2, 34, 34)
    assert x.dtype == torch.float32
    assert y.tolist() == list(range(10))
    # Digit d was written with 500 + d events.
    assert x.sum((0, 2, 3, 4)).tolist() == [500 + d for d in range(10)]
    written = {
        half: {f.read_bytes() for f in (folder / half).glob("*/*.bin")}
        for half in ("Train", "Test")
    }
    assert not written["Train"] & written["Test"]


def test_only_the_drawn_recordings_are_read(tmp_path, no_download):
    folder = write_nmnist(tmp_path)
    (folder / "Train" / "4" / "00001.bin").write_bytes(b"")

    def outcome(seed):
        try:
            data = load("nmnist", root=tmp_path, train_samples=10, seed=seed)
            return tuple(data.train.labels.tolist())
        except EventFileError:
            return "damaged"

    outcomes = {outcome(seed) for seed in range(8)}
    assert outcomes == {tuple(range(10)), "damaged"}


def test_events_take_no_other_encoding(tmp_path, no_download):
    write_nmnist(tmp_path, train=1)
    with pytest.raises(SigpropError, match="encoding 'rate' can't be used with 'nmnist'"):
        load("nmnist", root=tmp_path, encoding="rate")


@pytest.mark.parametrize("half", ["Train", "Test"])
def test_half_a_copy_is_told_of_without_a_download(tmp_path, no_download, half):
    folder = write_nmnist(tmp_path, train=1)
    (folder / half).rename(tmp_path / "away")
    with pytest.raises(DataNotFoundError) as caught:
        load("nmnist", root=tmp_path)
    assert str(folder / half / "<digit>" / "*.bin") in str(caught.value)


def test_an_absent_set_is_downloaded_by_tonic_or_told_of(tmp_path, monkeypatch):
    def refuse(self):
        raise OSError("the cable is out")

    monkeypatch.setattr(datasets.NMNIST, "download", refuse)
    with pytest.raises(DataNotFoundError, match="the cable is out") as caught:
        load("nmnist", root=tmp_path / "data")
    assert str(tmp_path / "data" / "NMNIST" / "Test" / "<digit>" / "*.bin") in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DataNotFoundError, match="switched off"):
        load("nmnist", root=tmp_path / "data", download=False)

    def provide(self):
        if self.train:
            write_nmnist(Path(self.location_on_system).parent, train=2)

    monkeypatch.setattr(datasets.NMNIST, "download", provide)
    assert load("nmnist", root=tmp_path / "data").train.samples == 20


GOOD = pack([1, 2, 3], [4, 5, 6], [10, 20, 30], [0, 1, 0])


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is empty"),
        (GOOD[:-1], "has 14 bytes; expected a positive multiple of 5"),
        (GOOD[:3], "has 3 bytes"),
        (pack([1, 40], [2, 3], [5, 6], [0, 0]), "event 1 with x=40; expected x from 0 to 33"),
        (pack([1, 4], [2, 99], [5, 6], [0, 0]), "event 1 with y=99"),
        (pack([1, 2], [3, 4], [50, 20], [1, 1]), "event 1 at 20 us after one at 50 us"),
        (pack([1], [240], [5], [0]), "holds no event"),
    ],
)
def test_damaged_files_are_named_with_their_fault(tmp_path, no_download, content, fault):
    file = write_nmnist(tmp_path, train=1) / "Train" / "7" / "00000.bin"
    file.write_bytes(content)
    with pytest.raises(EventFileError, match=fault) as caught:
        load("nmnist", root=tmp_path)
    assert str(file) in str(caught.value)


def test_a_crowded_file_is_named(tmp_path, no_download):
    file = write_nmnist(tmp_path, train=1) / "Train" / "7" / "00000.bin"
    file.write_bytes(pack([1], [1], [5], [0]) * 300)
    with pytest.raises(SigpropError, match="more than 255") as caught:
        load("nmnist", root=tmp_path)
    assert str(file) in str(caught.value)


def test_a_folder_that_is_no_digit_is_told_of(tmp_path, no_download):
    folder = write_nmnist(tmp_path, train=1) / "Train"
    (folder / "3").rename(folder / "13")
    with pytest.raises(EventFileError, match="lies in '13'; expected a folder named 0 to 9"):
        load("nmnist", root=tmp_path)


@pytest.mark.skipif(
    not Path(os.environ.get("SIGPROP_DATA", "-"), "NMNIST").is_dir(),
    reason="SIGPROP_DATA names no folder with NMNIST in it",
)
def test_real_recordings_keep_every_event(no_download):
    root = Path(os.environ["SIGPROP_DATA"])
    files = [f for digit in range(10) for f in sorted((root / f"NMNIST/Test/{digit}").iterdir())]
    count = min(100, len(files))
    data = load("nmnist", root=root, train_samples=20, test_samples=count)
    assert data.train.labels.bincount().tolist() == [2] * 10
    if count == len(files):
        kept = torch.cat([x.sum((0, 2, 3, 4)) for x, _ in data.test])
        # Five bytes an event.
        assert kept.tolist() == [file.stat().st_size // 5 for file in files]
