"""Doubles are reported, and changed samples have another fingerprint."""

from __future__ import annotations

import os
import shutil
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from sigprop_snn.data import Source, Split, load, prepare


def write_pictures(root, count=3):
    for part, (split, name) in enumerate((s, n) for s in ("train", "test") for n in "ab"):
        folder = root / split / name
        folder.mkdir(parents=True)
        for number in range(count):
            pixels = np.random.default_rng([part, number]).integers(0, 256, (8, 8, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return root


def test_sound_folders_give_no_warning(tmp_path, write_nmnist):
    write_nmnist(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load("nmnist", root=tmp_path)
        load("imagefolder", root=write_pictures(tmp_path))


def test_a_data_set_that_was_unpacked_twice_is_reported(tmp_path, write_nmnist):
    folder = write_nmnist(tmp_path)
    shutil.copytree(folder / "Train", folder / "Train" / "Train")
    with pytest.warns(UserWarning, match="copies of files in the same split: 30, such as .*Train"):
        data = load("nmnist", root=tmp_path)
    assert data.train.samples == 60, "all samples stay"


@pytest.mark.parametrize("name", ["0 (1).png", "Copy of 0.png", "other.png"])
def test_a_copy_in_the_same_split_is_reported(tmp_path, name):
    write_pictures(tmp_path)
    shutil.copy(tmp_path / "train" / "a" / "0.png", tmp_path / "train" / "a" / name)
    with pytest.warns(UserWarning, match=r"'imagefolder'.* same split: 1, such as .*0.*\.png"):
        load("imagefolder", root=tmp_path)


def test_a_test_sample_in_the_training_split_is_reported(tmp_path):
    write_pictures(tmp_path)
    shutil.copy(tmp_path / "test" / "b" / "2.png", tmp_path / "train" / "b" / "9.png")
    with pytest.warns(UserWarning, match=r"another split: 1, such as .*test/b/2\.png, a copy of"):
        load("imagefolder", root=tmp_path)


def fingerprints(root):
    data = load("imagefolder", root=root)
    return data.train.fingerprint(), data.test.fingerprint()


def test_a_repainted_picture_changes_the_fingerprint_of_its_split(tmp_path):
    write_pictures(tmp_path)
    before = fingerprints(tmp_path)
    file = tmp_path / "test" / "a" / "1.png"
    picture = Image.open(file)
    picture.putpixel((3, 3), (1, 2, 3))
    picture.save(file)
    after = fingerprints(tmp_path)
    assert after[0] == before[0]
    assert after[1] != before[1]


def test_the_place_and_the_times_of_files_do_not_count(tmp_path):
    one = write_pictures(tmp_path / "one")
    other = tmp_path / "other"
    shutil.copytree(one, other, copy_function=shutil.copyfile)
    os.utime(other / "train" / "a" / "0.png", (0, 0))
    assert fingerprints(one) == fingerprints(other)


def test_a_change_in_the_middle_of_a_large_file_is_found(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"\0" * (3 * 2**20))
    split = Split(torch.zeros(1, dtype=torch.int64), lambda index: index, files=[file])
    before = split.fingerprint()
    with file.open("r+b") as stream:
        stream.seek(3 * 2**20 - 9)
        stream.write(b"changed")
    assert split.fingerprint() != before


def test_values_and_labels_in_memory_have_a_fingerprint():
    x, y = torch.rand(6, 1, 2, 2), torch.arange(6) % 2
    other = x.clone()
    other[3, 0, 1, 1] += 1e-6

    def fingerprint(x, y):
        source = Source("mine", Split.of(x, y), Split.of(x, y), ("a", "b"), top=1.0)
        return prepare(source, batch_size=4).test.fingerprint()

    assert fingerprint(x, y) == fingerprint(x.clone(), y)
    assert len({fingerprint(x, y), fingerprint(other, y), fingerprint(x, 1 - y)}) == 3
