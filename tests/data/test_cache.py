from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from overwriting import overwrite

from sigprop_snn.data import Frames, load
from sigprop_snn.data.cache import FrameFile, fingerprint

REAL = Path(os.environ.get("SIGPROP_DATA", "-"))


def content(data):
    """Return the training samples of the first epoch and the test samples, with labels."""
    data.train.set_epoch(0)
    (x, y), (u, v) = (map(list, zip(*part, strict=True)) for part in (data.train, data.test))
    return torch.cat(x, 1), torch.cat(y), torch.cat(u, 1), torch.cat(v)


def same(one, other):
    return all(map(torch.equal, content(one), content(other)))


def entries(root):
    return sorted((root / ".sigprop-cache").glob("*.frames"))


@pytest.fixture
def reads(monkeypatch):
    """The list of recordings that were opened."""
    from sigprop_snn.data.sets import nmnist

    opened = []
    real = nmnist.read_nmnist_file
    monkeypatch.setattr(nmnist, "read_nmnist_file", lambda f: opened.append(f) or real(f))
    return opened


def test_a_second_load_opens_no_recording_and_gives_the_same(tmp_path, write_nmnist, reads):
    write_nmnist(tmp_path)
    first = load("nmnist", root=tmp_path, steps=5)
    assert len(reads) == 40
    assert [e.name[:12] for e in entries(tmp_path)] == ["nmnist-test-", "nmnist-train"]
    reads.clear()
    second = load("nmnist", root=tmp_path, steps=5)
    assert same(first, second)
    assert reads == []


def test_a_second_epoch_opens_no_recording(tmp_path, write_nmnist, reads):
    write_nmnist(tmp_path)
    data = load("nmnist", root=tmp_path, cache=None)
    list(data.train)
    reads.clear()
    list(data.train)
    assert reads == []


def test_without_a_cache_nothing_is_written(tmp_path, write_nmnist):
    write_nmnist(tmp_path)
    load("nmnist", root=tmp_path, cache=None)
    assert [path.name for path in tmp_path.iterdir()] == ["NMNIST"]


def test_the_cache_can_be_in_any_folder(tmp_path, write_nmnist, reads):
    write_nmnist(tmp_path / "data")
    load("nmnist", root=tmp_path / "data", cache=tmp_path / "else" / "where")
    assert len(list((tmp_path / "else" / "where").glob("*.frames"))) == 2
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["NMNIST"]


CHOICES = [
    {},
    {"steps": 6},
    {"frames": Frames(bin_width=20_000)},
    {"frames": Frames(bin_width=20_001)},
    {"frames": Frames(start=10_000)},
    {"frames": Frames(end=300_000)},
    {"frames": Frames(end=300_000, outside="drop")},
    {"frames": Frames(denoise=5_000)},
    {"frames": Frames(denoise=6_000)},
    {"frames": Frames(size=(17, 17))},
    {"frames": Frames(merge_polarities=True)},
]


def test_no_setting_gets_the_frames_of_another(tmp_path, write_nmnist):
    write_nmnist(tmp_path, train=1)
    for _ in range(2):
        for choice in CHOICES:
            choice = {"steps": 5, **choice}
            kept = load("nmnist", root=tmp_path, **choice)
            assert same(kept, load("nmnist", root=tmp_path, cache=None, **choice)), choice
    assert len(entries(tmp_path)) == 2 * len(CHOICES)


def test_a_changed_new_or_removed_recording_is_seen(tmp_path, write_nmnist, pack, draw):
    folder = write_nmnist(tmp_path)

    def check():
        assert same(load("nmnist", root=tmp_path), load("nmnist", root=tmp_path, cache=None))

    check()
    file = folder / "Train" / "3" / "00001.bin"
    before = file.stat()
    # The same size as before: only the time of change differs.
    file.write_bytes(pack(*draw(503, 99)))
    assert file.stat().st_size == before.st_size
    # Set it, because some file systems keep only seconds.
    os.utime(file, (before.st_atime, before.st_mtime + 10))
    check()
    (folder / "Train" / "3" / "00009.bin").write_bytes(pack(*draw(503, 98)))
    check()
    file.unlink()
    check()


def test_drawn_samples_are_the_only_ones_cached(tmp_path, write_nmnist, reads):
    write_nmnist(tmp_path)
    load("nmnist", root=tmp_path, train_samples=10, test_samples=10, seed=1)
    assert len(reads) == 20
    load("nmnist", root=tmp_path)
    assert len(reads) == 40
    assert len(set(reads)) == 40


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The path of a frame file, its frames, a function that opens it, and its bytes."""
    path = tmp_path_factory.mktemp("kept") / "a.frames"
    held = np.random.default_rng(0).integers(0, 256, (6, 2, 3)).astype(np.uint8)

    def file():
        return FrameFile(path, fingerprint({"of": "a test"}), 6, (2, 3), "uint8")

    file().read(range(6), held.__getitem__)
    return path, held, file, path.read_bytes()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(change=st.data())
def test_damaged_cache_files_are_made_again(kept, change):
    path, held, file, whole = kept
    kind = change.draw(st.sampled_from(["cut", "flip", "foreign", "longer"]))
    if kind == "cut":
        overwrite(path, whole[: change.draw(st.integers(0, len(whole) - 1))])
    elif kind == "flip":
        bit = change.draw(st.integers(0, 8 * len(whole) - 1))
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        overwrite(path, damaged)
    elif kind == "foreign":
        overwrite(path, change.draw(st.binary(max_size=2 * len(whole))))
    else:
        overwrite(path, whole + change.draw(st.binary(min_size=1, max_size=9)))
    made = []
    read = file().read(range(6), lambda i: made.append(i) or held[i])
    assert np.array_equal(read, held)
    assert made
    assert path.read_bytes() == whole
    assert np.array_equal(file().read(range(6), lambda i: pytest.fail("made twice")), held)
    assert [p.name for p in path.parent.iterdir()] == ["a.frames"]


def test_every_flipped_bit_of_a_record_is_found(kept):
    path, held, file, whole = kept
    start = len(whole) - 14
    for bit in range(8 * start, 8 * len(whole)):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        overwrite(path, damaged)
        made = []
        assert np.array_equal(file().read([5], lambda i: made.append(i) or held[i])[0], held[5])  # noqa: B023
        assert made == [5]


def test_swapped_records_are_found(kept):
    path, held, file, whole = kept
    record = 8 + 6
    swapped = whole[: -2 * record] + whole[-record:] + whole[-2 * record : -record]
    overwrite(path, swapped)
    assert np.array_equal(file().read([4, 5], held.__getitem__), held[4:])
    assert path.read_bytes() == whole


def test_int16_counts_are_read_unchanged(tmp_path):
    held = np.array([[1, -2], [32_767, 256]], np.int16)
    for _ in range(2):
        file = FrameFile(tmp_path / "w", fingerprint({}), 2, (2,), "int16")
        read = file.read([1, 0], held.__getitem__)
        assert read.dtype == np.int16
        assert np.array_equal(read, held[::-1])


def test_a_cache_that_can_not_be_written_is_no_error(tmp_path, write_nmnist):
    write_nmnist(tmp_path, train=1)
    expected = load("nmnist", root=tmp_path, cache=None)
    (tmp_path / ".sigprop-cache").write_text("a file where the folder would be")
    assert same(load("nmnist", root=tmp_path), expected)
    assert same(
        load("nmnist", root=tmp_path, cache=tmp_path / ".sigprop-cache" / "below" / "a file"),
        expected,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_no_error(tmp_path, write_nmnist, monkeypatch):
    write_nmnist(tmp_path, train=1)
    expected = load("nmnist", root=tmp_path, cache=None)

    def full(self, path):
        return Path("/dev/full").open("r+b", 0)

    monkeypatch.setattr(FrameFile, "_open", full)
    assert same(load("nmnist", root=tmp_path), expected)


def test_a_read_only_cache_is_read(tmp_path, write_nmnist, monkeypatch, reads):
    write_nmnist(tmp_path)
    expected = load("nmnist", root=tmp_path, train_samples=20)
    real = Path.open

    def read_only(self, mode="r", *rest, **named):
        if "+" in mode or "w" in mode:
            raise PermissionError(13, "read-only", str(self))
        return real(self, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", read_only)
    reads.clear()
    assert same(load("nmnist", root=tmp_path, train_samples=20), expected)
    assert reads == []
    load("nmnist", root=tmp_path)
    assert len(reads) == 10


def test_a_split_too_large_for_memory_is_read_batch_by_batch(
    tmp_path, write_nmnist, monkeypatch, reads
):
    write_nmnist(tmp_path)
    options = {"root": tmp_path, "steps": 5, "batch_size": 8, "validation": 0.2}
    whole = load("nmnist", cache=None, **options)
    reads.clear()
    monkeypatch.setattr("sigprop_snn.data.preparation.IN_MEMORY", 10_000)
    streamed = load("nmnist", **options)
    assert len(reads) == 3, "one of each split, to learn the shape"
    assert streamed.shape == whole.shape
    for epoch in range(2):
        for one, other in zip(streamed.train, whole.train, strict=True):
            assert all(map(torch.equal, one, other)), epoch
    assert same(streamed, whole)
    assert torch.equal(next(iter(streamed.validation))[0], next(iter(whole.validation))[0])
    # Nothing is binned twice, and removing the cache loses nothing.
    assert len(reads) == 40
    shutil.rmtree(tmp_path / ".sigprop-cache")
    assert torch.equal(next(iter(streamed.test))[0], next(iter(whole.test))[0])


def test_two_writers_of_one_cache_file_do_not_disturb_each_other(tmp_path):
    held = np.random.default_rng(1).integers(0, 256, (8, 5)).astype(np.uint8)
    one, other = (FrameFile(tmp_path / "x", fingerprint({}), 8, (5,), "uint8") for _ in range(2))

    def make(i):
        # While one writer makes a recording's frames, the other reads and writes all of them.
        other.read(range(8), held.__getitem__)
        return held[i]

    assert np.array_equal(one.read(range(8), make), held)
    assert np.array_equal(one.read(range(8), lambda i: pytest.fail("made again")), held)


@pytest.mark.skipif(
    not (REAL / "NMNIST").is_dir(), reason="SIGPROP_DATA names no folder with NMNIST in it"
)
def test_real_recordings_are_opened_once(tmp_path, reads):
    options = {"root": REAL, "cache": tmp_path, "train_samples": 50, "test_samples": 20}
    first = load("nmnist", **options)
    assert len(reads) == 70
    reads.clear()
    assert same(first, load("nmnist", **options))
    assert reads == []
    wider = {**options, "frames": Frames(bin_width=40_000)}
    assert same(load("nmnist", **wider), load("nmnist", **{**wider, "cache": None}))
