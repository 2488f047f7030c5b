"""DVS128 Gesture, CIFAR10-DVS, POKER-DVS, SHD and SSC, from files in their real layouts."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from tonic import datasets

from sigprop_snn.data import DATASETS, DataNotFoundError, EventFileError, Frames, load
from sigprop_snn.data.sets.static import CIFAR10
from sigprop_snn.errors import SigpropError
from sigprop_snn.recipe import DEFAULT_RECIPE

FILES = ("dvs-gesture", "poker-dvs")
ADVICE = {
    "dvs-gesture": "DVSGesture/ibmGestureTrain/<user>/*.npy",
    "poker-dvs": "POKERDVS/pips_test/<suit>/*.npy",
    "cifar10-dvs": "CIFAR10DVS/<class>/*.aedat4",
    "shd": "SHD/shd_train.h5",
    "ssc": "SSC/ssc_test.h5",
}


def write_gesture(root, draw, train=2, test=1):
    for half, users in (("ibmGestureTrain", train), ("ibmGestureTest", test)):
        for user in range(users):
            folder = root / "DVSGesture" / half / f"user{user:02}_fluorescent_led"
            folder.mkdir(parents=True)
            for label in range(11):
                x, y, t, p = draw(200 + label, user * 20 + label, side=128, duration=5_900)
                # Columns x, y, p and milliseconds; the clock does not start at 0.
                np.save(folder / f"{label}.npy", np.stack([x, y, p, t + 77_000], 1).astype(float))
    return root / "DVSGesture"


def write_poker(root, draw, train=3, test=2):
    for half, count in (("pips_train", train), ("pips_test", test)):
        for number, suit in enumerate(("cl", "he", "di", "sp")):
            folder = root / "POKERDVS" / half / suit
            folder.mkdir(parents=True)
            for i in range(count):
                x, y, t, p = draw(100 + number, 10 * number + i, side=35, duration=20_000)
                np.save(folder / f"{i}.npy", np.stack([t, x, y, p], 1))
    return root / "POKERDVS"


def write_cifar10_dvs(root, recording, draw, count=10):
    for label, name in enumerate(CIFAR10):
        folder = root / "CIFAR10DVS" / name
        folder.mkdir(parents=True)
        for i in range(count):
            x, y, t, p = draw(50 + i, label, side=128, duration=1_280_000)
            body = recording["aedat4"](x, y, t + 1_500_000_000_000_000, p)
            (folder / f"cifar10_{name}_{i}.aedat4").write_bytes(body)
    return root / "CIFAR10DVS"


needs_aedat = pytest.mark.skipif(
    importlib.util.find_spec("aedat") is None, reason="the package aedat is not installed"
)


@pytest.mark.filterwarnings("ignore:.*contains copies of files")
def test_gestures_are_read_with_milliseconds_from_the_first_event(tmp_path, draw, no_download):
    write_gesture(tmp_path, draw)
    data = load("dvs-gesture", root=tmp_path, steps=6)
    assert (data.train.samples, data.test.samples) == (22, 11)
    assert data.shape == (2, 128, 128)
    assert data.classes[5] == "left arm clockwise"
    assert data.test.labels.tolist() == [0, 1, 10, 2, 3, 4, 5, 6, 7, 8, 9]
    x, y = next(iter(data.test))
    assert x.sum((0, 2, 3, 4)).tolist() == [200 + label for label in y.tolist()]
    columns, row, time, polarity = draw(203, 3, side=128, duration=5_900)
    expected = np.zeros((6, 2, 128, 128))
    np.add.at(expected, ((time - time[0]) // 1000, polarity, row, columns), 1)
    assert np.array_equal(x[:, y.tolist().index(3)].numpy(), expected)


def test_tonic_reads_the_same_gestures(tmp_path, draw, monkeypatch):
    from sigprop_snn.data.sets.gesture import GESTURES, read_gesture_file

    folder = write_gesture(tmp_path, draw)
    monkeypatch.setattr(datasets.DVSGesture, "_check_exists", lambda self: True)
    theirs = datasets.DVSGesture(str(tmp_path), train=False)
    assert len(theirs) == 11
    assert len(GESTURES) == len(datasets.DVSGesture.classes)
    for (events, label), path in zip(theirs, theirs.data, strict=True):
        ours = read_gesture_file(folder / path)
        assert str(label) == (folder / path).stem
        for name in "xytp":
            assert np.array_equal(ours[name], events[name]), name


@pytest.mark.filterwarnings("ignore:.*contains copies of files")
def test_cards_use_the_duration_of_the_longest_recording(tmp_path, draw, no_download):
    write_poker(tmp_path, draw)
    data = load("poker-dvs", root=tmp_path, steps=4)
    assert (data.train.samples, data.test.samples, data.shape) == (12, 8, (2, 35, 35))
    assert data.classes == ("clubs", "hearts", "diamonds", "spades")
    x, y = next(iter(data.test))
    assert y.tolist() == [0, 0, 2, 2, 1, 1, 3, 3], "cl, di, he, sp"
    assert x.sum((0, 2, 3, 4)).tolist() == [100 + label for label in y.tolist()]
    spans = [np.ptp(np.load(file)[:, 0]) for file in (tmp_path / "POKERDVS").rglob("*.npy")]
    step = -(-(max(spans) + 1) // 4)
    clubs = np.load(tmp_path / "POKERDVS" / "pips_test" / "cl" / "0.npy")
    by_step = np.bincount((clubs[:, 0] - clubs[0, 0]) // step, minlength=4)
    assert x[:, y.tolist().index(0)].sum((1, 2, 3)).tolist() == by_step.tolist()
    kept = sorted(p.name.split("-")[0] for p in (tmp_path / ".sigprop-cache").iterdir())
    assert kept == ["poker"] * 3


def test_tonic_reads_the_same_cards(tmp_path, draw, no_download):
    from sigprop_snn.data.sets.poker import read_poker_file

    write_poker(tmp_path, draw, train=5, test=5)
    (tmp_path / "POKERDVS" / "pips_train.tar.gz").write_bytes(b"as if unpacked from here")
    theirs = datasets.POKERDVS(str(tmp_path), train=True)
    ours = sorted((tmp_path / "POKERDVS" / "pips_train").glob("*/*.npy"))
    labels = {"cl": 0, "he": 1, "di": 2, "sp": 3}
    read = sorted((labels[f.parent.name], read_poker_file(f).tolist()) for f in ours)
    known = [[tuple(e[["x", "y", "t", "p"]].tolist()) for e in events] for events, _ in theirs]
    assert [(n, [tuple(e) for e in ev]) for n, ev in read] == sorted(
        zip((label for _, label in theirs), known, strict=True)
    )


@needs_aedat
def test_the_last_tenth_of_each_class_of_cifar10_dvs_is_the_test_split(
    tmp_path, recording, draw, no_download
):
    write_cifar10_dvs(tmp_path, recording, draw, count=11)
    small = Frames(size=(48, 48))
    data = load("cifar10-dvs", root=tmp_path, steps=5, frames=small)
    assert (data.train.samples, data.test.samples, data.shape) == (100, 10, (2, 48, 48))
    assert data.classes == CIFAR10
    x, y = next(iter(data.test))
    assert y.tolist() == list(range(10))
    # Recording i has 50 + i events; number 10 is the last by number but not by name.
    assert x.sum((0, 2, 3, 4)).tolist() == [60] * 10
    assert (x.sum((2, 3, 4)) > 0).all(), "absolute times fill every step"
    other = load("cifar10-dvs", root=tmp_path, steps=5, seed=9, frames=small)
    assert torch.equal(next(iter(other.test))[0], x)


@needs_aedat
def test_unknown_folders_and_damaged_files_of_cifar10_dvs_are_named(tmp_path, recording, draw):
    folder = write_cifar10_dvs(tmp_path, recording, draw, count=2)
    (folder / "cat").rename(folder / "cats")
    with pytest.raises(EventFileError, match="in the folder 'cats'"):
        load("cifar10-dvs", root=tmp_path)
    (folder / "cats").rename(folder / "cat")
    file = folder / "cat" / "cifar10_cat_0.aedat4"
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(EventFileError, match=r"cifar10_cat_0\.aedat4 can't be read"):
        load("cifar10-dvs", root=tmp_path)


@pytest.mark.parametrize("name", ["shd", "ssc"])
def test_spoken_words_are_rows_of_channels(tmp_path, write_speech, no_download, name):
    folder = write_speech(tmp_path, name)
    data = load(name, root=tmp_path, steps=14)
    assert (data.train.samples, data.test.samples) == (40, 40)
    assert (data.shape, data.steps, data.validation) == ((1, 700), 14, None)
    assert data.classes[7] == "word 7"
    x, y = next(iter(data.test))
    assert x.shape == (14, 40, 1, 700)
    assert y.tolist() == [i % 20 for i in range(40)]
    assert x.sum((0, 2, 3)).tolist() == [60 + i for i in range(40)]
    import h5py

    with h5py.File(folder / f"{name}_test.h5") as content:
        seconds, units = content["spikes/times"][3], content["spikes/units"][3]
    expected = np.zeros((14, 700))
    np.add.at(expected, ((seconds.astype(float) * 1e6).astype(int) // 100_000, units), 1)
    assert np.array_equal(x[:, 3, 0].numpy(), expected)


def test_tonic_reads_the_same_words(tmp_path, write_speech, monkeypatch):
    from sigprop_snn.data.sets.speech import read_speech

    folder = write_speech(tmp_path)
    monkeypatch.setattr(datasets.SHD, "_check_exists", lambda self: True)
    theirs = datasets.SHD(str(tmp_path), train=False)
    for number in (0, 17, 39):
        events, _ = theirs[number]
        ours = read_speech(folder / "shd_test.h5", number)
        assert np.array_equal(ours["x"], events["x"])
        assert np.array_equal(ours["t"], events["t"])


def test_words_train_mlp_and_can_have_fewer_channels(tmp_path, write_speech, no_download):
    from sigprop_snn.network import conv, mlp

    write_speech(tmp_path)
    data = load("shd", root=tmp_path, steps=5, augment=True, frames=Frames(size=(140, 1)))
    assert data.shape == (1, 140)
    network = mlp(data.shape, 20, hidden=(8,))
    x, y = next(iter(data.train))
    network.learn(x, y)
    assert network(x).shape == (40, 20)
    with pytest.raises(SigpropError, match=r"shape is \[1, 140\]"):
        conv(data.shape, 20)


def test_speech_commands_have_validation_samples(tmp_path, write_speech, no_download):
    write_speech(tmp_path, "ssc", ("train", "test"), count=40)
    write_speech(tmp_path, "ssc", ("valid",), count=23)
    data = load("ssc", root=tmp_path, steps=2)
    assert data.validation.samples == 23
    assert data.train.samples == 40
    carved = load("ssc", root=tmp_path, steps=2, validation=0.25)
    assert (carved.validation.samples, carved.train.samples) == (10, 30)


@pytest.mark.parametrize("name", [*ADVICE])
@pytest.mark.parametrize("download", [True, False])
def test_missing_data_sets_are_named_and_no_folder_is_left(tmp_path, monkeypatch, name, download):
    def refuse(*_, **__):
        raise OSError("the cable is out")

    monkeypatch.setattr("tonic.dataset.Dataset.download", refuse)
    monkeypatch.setattr(datasets.POKERDVS, "_copy_and_extract_local_data", refuse)
    root = tmp_path / "new"
    reason = "the cable is out" if download else "switched off"
    with pytest.raises(DataNotFoundError, match=reason) as caught:
        load(name, root=root, download=download)
    assert str(root / ADVICE[name]) in str(caught.value)
    assert not root.exists()


@pytest.mark.parametrize("name", FILES)
def test_a_missing_split_is_an_error_and_not_downloaded(tmp_path, draw, no_download, name):
    writer = write_gesture if name == "dvs-gesture" else write_poker
    folder = writer(tmp_path, draw)
    half = next(folder.iterdir())
    half.rename(tmp_path / "away")
    with pytest.raises(DataNotFoundError, match="The other split exists") as caught:
        load(name, root=tmp_path)
    assert str(half) in str(caught.value)


def test_an_empty_download_is_an_error(tmp_path, monkeypatch):
    def nothing(self):
        (tmp_path / "half").mkdir(exist_ok=True)

    monkeypatch.setattr("tonic.dataset.Dataset.download", nothing)
    with pytest.raises(DataNotFoundError, match="The download did not"):
        load("dvs-gesture", root=tmp_path / "data")


@pytest.mark.parametrize(
    ("array", "fault"),
    [
        (np.zeros((3, 5)), r"float64 of shape \(3, 5\)"),
        (np.zeros(4), r"shape \(4,\)"),
        (np.array([[1, 200, 0, 5]]), "event 0 with y=200; expected y from 0 to 127"),
        (np.array([[1.5, 2, 0, 5]]), "event 0 with x=1.5"),
        (np.array([[1, 2, 3, 5]]), "event 0 with p=3"),
        (np.zeros((0, 4)), "can't be read|no event"),
        (np.array([["a", "b", "c", "d"]]), "<U1"),
    ],
)
def test_the_error_for_a_damaged_gesture_names_the_file_and_the_fault(tmp_path, draw, array, fault):
    file = write_gesture(tmp_path, draw) / "ibmGestureTrain" / "user00_fluorescent_led" / "4.npy"
    np.save(file, array)
    with pytest.raises(EventFileError, match=fault) as caught:
        load("dvs-gesture", root=tmp_path)
    assert str(file) in str(caught.value)
    file.rename(file.with_name("11.npy"))
    with pytest.raises(EventFileError, match="has the name '11'"):
        load("dvs-gesture", root=tmp_path)


def edit(file, name, value, row=None):
    import h5py

    with h5py.File(file, "r+") as content:
        if row is not None:
            content[name][row] = value
        else:
            del content[name]
            if value is not None:
                content[name] = value


@pytest.mark.parametrize(
    ("name", "value", "row", "fault"),
    [
        ("labels", None, None, "no data set labels"),
        ("labels", np.zeros(40), None, "labels as float64"),
        ("labels", np.zeros((4, 2), int), None, r"of shape \(4, 2\)"),
        ("labels", np.zeros(41, int), None, r"spikes/times of shape \(40,\)"),
        ("extra/keys", None, None, "no data set extra/keys"),
        ("extra/keys", np.zeros(4), None, "keys as float64"),
        ("spikes/times", None, None, "no data set spikes/times"),
        ("spikes/times", np.zeros((40, 3), "f4"), None, r"times \(3,\) and units \(60,\)"),
        ("spikes/times", np.array([0.1, np.nan] * 30, "f2"), 0, "an event at nan s"),
        ("spikes/times", np.full(60, -1, "f2"), 0, "an event at -1.0 s; expected times from 0"),
        ("spikes/units", np.full(60, 700, "u2"), 0, "channel 700; expected channels 0 to 699"),
        ("spikes/units", np.zeros(59, "u2"), 0, r"times \(60,\) and units \(59,\)"),
    ],
)
def test_the_error_for_a_damaged_word_names_the_file_and_the_fault(
    tmp_path, write_speech, no_download, name, value, row, fault
):
    file = write_speech(tmp_path) / "shd_train.h5"
    edit(file, name, value, row)
    with pytest.raises(EventFileError, match=fault) as caught:
        load("shd", root=tmp_path)
    assert str(file) in str(caught.value)


def test_words_without_events_and_unknown_labels_are_refused(tmp_path, write_speech):
    file = write_speech(tmp_path) / "shd_test.h5"
    edit(file, "labels", np.full(40, 20))
    with pytest.raises(SigpropError, match="test sample 0 of 'shd' has label 20"):
        load("shd", root=tmp_path)
    file = write_speech(tmp_path) / "shd_test.h5"
    edit(file, "spikes/times", np.zeros(0, "f2"), 6)
    edit(file, "spikes/units", np.zeros(0, "u2"), 6)
    with pytest.raises(EventFileError, match="no event in recording 6"):
        load("shd", root=tmp_path)


def test_damaged_bytes_of_words_are_an_error_or_harmless(tmp_path, write_speech):
    file = write_speech(tmp_path) / "shd_train.h5"
    whole = file.read_bytes()
    random = np.random.default_rng(3)
    refused = 0
    for round_ in range(60):
        body = bytearray(whole)
        if round_ % 2:
            body = body[: random.integers(len(body))]
        else:
            # Anywhere: in the structure at the start and in the data after it.
            for bit in random.integers(0, 8 * len(body), 40):
                body[bit // 8] ^= 1 << bit % 8
        file.write_bytes(body)
        try:
            load("shd", root=tmp_path, steps=2, train_samples=3, test_samples=2, cache=None)
        except SigpropError as error:
            refused += 1
            assert str(file) in str(error) or "of 'shd'" in str(error)
    assert refused > 30


def test_every_data_set_has_a_recipe_and_a_description():
    for name, dataset in DATASETS.items():
        assert dataset.recipe is not DEFAULT_RECIPE, name
        assert len(dataset.about.split()) > 3, name
