from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from sigprop_snn.data import Augment, DataNotFoundError, EventFileError, Frames, load
from sigprop_snn.errors import SigpropError


@pytest.fixture
def write(tmp_path, recording, draw):
    """Two classes in three formats; recordings last up to 50 ms on a sensor of 40 x 20."""

    def write(train=6, test=3, start=10**9):
        for half, count in (("train", train), ("test", test)):
            for number, name in enumerate(("left", "right")):
                folder = tmp_path / half / name
                folder.mkdir(parents=True)
                for i in range(count):
                    seed = 10 * number + i + train * count
                    x, y, t, p = draw(80 + i, seed, side=20, duration=50_000)
                    kind, suffix = (("npy", ".npy"), ("hdf5", ".h5"), ("aedat2", ".aedat"))[i % 3]
                    body = recording[kind](x + 20, y, t + start, p)
                    (folder / f"{i}{suffix}").write_bytes(body)
        return tmp_path

    return write


def test_folders_are_classes_and_formats_can_be_mixed(write):
    root = write()
    (root / "train" / "left" / "notes.txt").write_text("not a recording")
    with pytest.warns(UserWarning, match=r"train: left out .*1 \.txt"):
        data = load("eventfolder", root=root, steps=5)
    assert (data.train.samples, data.test.samples) == (12, 6)
    assert data.classes == ("left", "right")
    # The smallest sensor that includes every event.
    assert data.shape == (2, 20, 40)
    x, y = next(iter(data.test))
    assert y.tolist() == [0, 0, 0, 1, 1, 1]
    assert x.sum((0, 2, 3, 4)).tolist() == [80, 81, 82] * 2
    assert (x.sum((2, 3, 4)) > 0).all(), "absolute times fill every step"
    assert x[..., :20].sum() == 0


def test_sensor_and_duration_are_found_once(write, monkeypatch):
    root = write()
    opened = []
    from sigprop_snn.data.sets import eventfolder

    real = eventfolder.read_events
    monkeypatch.setattr(
        eventfolder, "read_events", lambda f, **how: opened.append(f) or real(f, **how)
    )
    first = load("eventfolder", root=root)
    assert len(opened) == 18 + 18
    opened.clear()
    second = load("eventfolder", root=root)
    assert opened == []
    assert torch.equal(next(iter(first.test))[0], next(iter(second.test))[0])
    (entry,) = (root / ".sigprop-cache").glob("*.json")
    found = json.loads(entry.read_text())
    wide = json.dumps([["wide", *found[0][1:]], *found[1:]])
    for damage in ("", "{", "[]", "[[1]]", wide, "null", json.dumps(found[1:])):
        entry.write_text(damage)
        assert torch.equal(
            next(iter(load("eventfolder", root=root).test))[0], next(iter(first.test))[0]
        )
        assert json.loads(entry.read_text()) == found


def test_recordings_are_not_searched_for_a_given_sensor_and_duration(write, monkeypatch):
    root = write()
    opened = []
    from sigprop_snn.data.sets import eventfolder

    real = eventfolder.read_events
    monkeypatch.setattr(
        eventfolder, "read_events", lambda f, **how: opened.append(f) or real(f, **how)
    )
    for frames in (
        Frames(sensor=(48, 32), end=50_000),
        Frames(sensor=(48, 32), bin_width=10_000),
    ):
        data = load("eventfolder", root=root, frames=frames, train_samples=2, test_samples=2)
        assert data.shape == (2, 32, 48)
        assert len(opened) == 4
        opened.clear()
    partly = load("eventfolder", root=root, frames=Frames(sensor=(48, 32), size=(24, 16)))
    assert partly.shape == (2, 16, 24)


@pytest.mark.filterwarnings("error")
def test_frames_of_a_large_sensor_are_scaled_down_and_the_run_says_so(write):
    root = write()
    for file in root.rglob("*.npy"):
        events = np.load(file)
        events["x"], events["y"] = events["x"] * 30, events["y"] * 30
        np.save(file, events)
    sensor = (1280, 720)
    with pytest.warns(UserWarning, match="sensor has 1280x720 .* 128x72"):
        data = load("eventfolder", root=root, frames=Frames(sensor=sensor))
    assert data.shape == (2, 72, 128)
    assert next(iter(data.test))[0].sum() == 2 * (80 + 81 + 82), "no event is lost"
    chosen = load("eventfolder", root=root, frames=Frames(sensor=sensor, size=(320, 180)))
    assert chosen.shape == (2, 180, 320)


def test_the_error_for_events_outside_the_sensor_names_the_file(write):
    root = write()
    with pytest.raises(EventFileError, match=r"x=\d+; expected x from 0 to 31") as caught:
        load("eventfolder", root=root, frames=Frames(sensor=(32, 32)))
    assert str(root) in str(caught.value)


def test_recordings_are_mirrored_only_on_request(write):
    root = write()
    options = {"root": root, "steps": 2, "batch_size": 12, "seed": 1}
    plain = next(iter(load("eventfolder", **options).train))[0]
    still = load("eventfolder", augment=Augment(shift=0), **options)
    assert torch.equal(next(iter(still.train))[0], plain)
    turned = load("eventfolder", augment=Augment(shift=0, mirror=True), **options)
    sides = next(iter(turned.train))[0][..., :20].sum((0, 2, 3, 4)) > 0
    assert 0 < sides.sum() < 12


def test_missing_folders_different_classes_and_empty_classes_are_named(write, tmp_path):
    with pytest.raises(DataNotFoundError, match=r"(?s)train/<class>.*test/<class>"):
        load("eventfolder", root=tmp_path)
    root = write()
    (root / "test" / "left").rename(root / "test" / "up")
    with pytest.raises(SigpropError, match=r"different classes \(left, up\)"):
        load("eventfolder", root=root)
    (root / "test" / "up").rename(root / "test" / "left")
    (root / "train" / "empty").mkdir()
    with pytest.raises(SigpropError, match="train/empty contains no data"):
        load("eventfolder", root=root)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff{}"])
def test_a_damaged_recording_is_named(write, content):
    root = write()
    file = root / "train" / "right" / "3.npy"
    file.write_bytes(content)
    with pytest.raises(EventFileError) as caught:
        load("eventfolder", root=root)
    assert str(file) in str(caught.value)


def test_one_impossible_time_is_refused(write):
    root = write()
    file = root / "train" / "right" / "3.npy"
    events = np.load(file)
    events["t"][-1] += 10**12
    np.save(file, events)
    with pytest.raises(EventFileError, match=r"3\.npy lasts 1000000\d+ us"):
        load("eventfolder", root=root)


def test_hidden_files_and_folders_are_left_out(write):
    root = write()
    recording = (root / "train" / "left" / "0.npy").read_bytes()
    for place in (".ipynb_checkpoints", "left/.ipynb_checkpoints"):
        (root / "train" / place).mkdir()
        (root / "train" / place / "0.npy").write_bytes(recording)
    (root / "train" / "left" / "._0.npy").write_bytes(b"resource fork")
    data = load("eventfolder", root=root)
    assert data.classes == ("left", "right")
    assert data.train.samples == 12
