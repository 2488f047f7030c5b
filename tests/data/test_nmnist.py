from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from tonic import datasets

from sigprop_snn.data import DataNotFoundError, EventFileError, load, read_nmnist_file
from sigprop_snn.errors import SigpropError


def test_a_file_is_read_as_it_was_written(tmp_path, pack, draw):
    x, y, t, p = draw(300, 0)
    file = tmp_path / "a.bin"
    file.write_bytes(pack(x, y, t, p))
    events = read_nmnist_file(file)
    for name, values in zip("xytp", (x, y, t, p), strict=True):
        assert np.array_equal(events[name], values)


def test_a_part_of_the_data_set_is_enough(tmp_path, write_nmnist, no_download):
    folder = write_nmnist(tmp_path)
    data = load("nmnist", root=tmp_path, steps=5, batch_size=8)
    assert (data.train.samples, data.test.samples) == (30, 10)
    assert (data.shape, data.steps) == ((2, 34, 34), 5)
    batches = list(data.test)
    x, y = torch.cat([x for x, _ in batches], 1), torch.cat([y for _, y in batches])
    assert x.shape == (5, 10, 2, 34, 34)
    assert x.dtype == torch.float32
    assert y.tolist() == list(range(10))
    # The recordings of digit d have 500 + d events.
    assert x.sum((0, 2, 3, 4)).tolist() == [500 + d for d in range(10)]
    written = {
        half: {f.read_bytes() for f in (folder / half).glob("*/*.bin")}
        for half in ("Train", "Test")
    }
    assert not written["Train"] & written["Test"]


def test_only_the_drawn_recordings_are_read(tmp_path, write_nmnist, no_download):
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


def test_events_allow_only_direct_encoding(tmp_path, write_nmnist, no_download):
    write_nmnist(tmp_path, train=1)
    with pytest.raises(SigpropError, match="encoding is 'rate' for 'nmnist'"):
        load("nmnist", root=tmp_path, encoding="rate")


@pytest.mark.parametrize("half", ["Train", "Test"])
def test_a_missing_split_is_an_error_and_not_downloaded(tmp_path, write_nmnist, no_download, half):
    folder = write_nmnist(tmp_path, train=1)
    (folder / half).rename(tmp_path / "away")
    with pytest.raises(DataNotFoundError) as caught:
        load("nmnist", root=tmp_path)
    assert str(folder / half / "<digit>" / "*.bin") in str(caught.value)


def test_a_missing_data_set_is_downloaded_by_tonic_or_named(tmp_path, write_nmnist, monkeypatch):
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


GOOD = ([1, 2, 3], [4, 5, 6], [10, 20, 30], [0, 1, 0])


@pytest.mark.parametrize(
    ("columns", "cut", "fault"),
    [
        (GOOD, 0, "is empty"),
        (GOOD, 14, "has 14 bytes; expected a positive multiple of 5"),
        (GOOD, 3, "has 3 bytes"),
        (([1, 40], [2, 3], [5, 6], [0, 0]), 10, "event 1 with x=40; expected x from 0 to 33"),
        (([1, 4], [2, 99], [5, 6], [0, 0]), 10, "event 1 with y=99"),
        (([1, 2], [3, 4], [50, 20], [1, 1]), 10, "event 1 at 20 us after an event at 50 us"),
        (([1], [240], [5], [0]), 5, "no event"),
    ],
)
def test_the_error_for_a_damaged_file_names_the_file_and_the_fault(
    tmp_path, write_nmnist, no_download, pack, columns, cut, fault
):
    file = write_nmnist(tmp_path, train=1) / "Train" / "7" / "00000.bin"
    file.write_bytes(pack(*columns)[:cut])
    with pytest.raises(EventFileError, match=fault) as caught:
        load("nmnist", root=tmp_path)
    assert str(file) in str(caught.value)


def test_a_file_too_large_for_a_recording_is_not_read(tmp_path, write_nmnist, no_download):
    file = write_nmnist(tmp_path, train=1) / "Train" / "7" / "00000.bin"
    with file.open("r+b") as stream:
        stream.truncate(5 * 2**30)
    with pytest.raises(EventFileError, match="has 5368709120 bytes; expected at most") as caught:
        load("nmnist", root=tmp_path)
    assert str(file) in str(caught.value)


def test_the_error_for_too_many_events_names_the_file(tmp_path, write_nmnist, no_download, pack):
    file = write_nmnist(tmp_path, train=1) / "Train" / "7" / "00000.bin"
    file.write_bytes(pack([1], [1], [5], [0]) * 300)
    with pytest.raises(SigpropError, match="more than 255") as caught:
        load("nmnist", root=tmp_path)
    assert str(file) in str(caught.value)


def test_a_folder_that_is_no_digit_is_named(tmp_path, write_nmnist, no_download):
    folder = write_nmnist(tmp_path, train=1) / "Train"
    (folder / "3").rename(folder / "13")
    with pytest.raises(EventFileError, match="the folder '13'; expected 0 to 9"):
        load("nmnist", root=tmp_path)


def test_hidden_files_and_folders_are_left_out(tmp_path, write_nmnist, no_download):
    folder = write_nmnist(tmp_path, train=1) / "Train" / "7"
    (folder / ".ipynb_checkpoints").mkdir()
    for copy in (folder / ".ipynb_checkpoints" / "00000.bin", folder / "._00000.bin"):
        copy.write_bytes((folder / "00000.bin").read_bytes())
    assert load("nmnist", root=tmp_path).train.samples == 10


@pytest.mark.skipif(
    not Path(os.environ.get("SIGPROP_DATA", "-"), "NMNIST").is_dir(),
    reason="SIGPROP_DATA names no folder with NMNIST in it",
)
def test_real_recordings_keep_every_event(no_download):
    root = Path(os.environ["SIGPROP_DATA"])
    files = [f for digit in range(10) for f in sorted((root / f"NMNIST/Test/{digit}").iterdir())]
    count = min(100, len(files))
    data = load("nmnist", root=root, train_samples=20, test_samples=count, cache=None)
    assert data.train.labels.bincount().tolist() == [2] * 10
    if count == len(files):
        kept = torch.cat([x.sum((0, 2, 3, 4)) for x, _ in data.test])
        # Each event takes five bytes.
        assert kept.tolist() == [file.stat().st_size // 5 for file in files]
