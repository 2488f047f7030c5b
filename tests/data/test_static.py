from __future__ import annotations

import hashlib
import pickle
import struct

import numpy as np
import pytest
import torch
from scipy.io import loadmat, savemat
from torchvision import datasets

from sigprop_snn.data import DATASETS, DataNotFoundError, load
from sigprop_snn.data.sets.static import digit_pictures
from sigprop_snn.errors import SigpropError, UnknownNameError


def write_idx(file, array):
    file.parent.mkdir(parents=True, exist_ok=True)
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    file.write_bytes(head + array.astype(np.uint8).tobytes())


def write_mnist(root, folder="MNIST", train=40, test=20):
    raw = root / folder / "raw"
    random = np.random.default_rng(0)
    for name, count in (("train", train), ("t10k", test)):
        write_idx(raw / f"{name}-images-idx3-ubyte", random.integers(0, 256, (count, 28, 28)))
        write_idx(raw / f"{name}-labels-idx1-ubyte", np.arange(count) % 10)
    return raw


@pytest.fixture
def write_cifar(monkeypatch):
    """Write batches in CIFAR's layout and give torchvision their checksums."""

    def write(root, kind=datasets.CIFAR10, classes=10):
        folder = root / kind.base_folder
        folder.mkdir(parents=True)
        random = np.random.default_rng(0)
        sums = {}

        def dump(name, content):
            body = pickle.dumps(content)
            (folder / name).write_bytes(body)
            sums[name] = hashlib.md5(body).hexdigest()

        label, count = ("labels", 20) if classes == 10 else ("fine_labels", 200)
        names = [name for name, _ in (*kind.train_list, *kind.test_list)]
        for name in names:
            pixels = random.integers(0, 256, (count, 3072)).astype(np.uint8)
            dump(name, {"data": pixels, label: [i % classes for i in range(count)]})
        meta = kind.meta["filename"]
        dump(meta, {kind.meta["key"]: [f"class {i}" for i in range(classes)]})
        monkeypatch.setattr(kind, "train_list", [[n, sums[n]] for n in names[:-1]])
        monkeypatch.setattr(kind, "test_list", [[names[-1], sums[names[-1]]]])
        monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": sums[meta]})
        return folder

    return write


@pytest.fixture
def write_svhn(monkeypatch):
    """Write SVHN's two files and give torchvision their checksums."""

    def write(root, train=40, test=20):
        random = np.random.default_rng(1)
        known = dict(datasets.SVHN.split_list)
        for half, count in (("train", train), ("test", test)):
            url, name, _ = known[half]
            pixels = random.integers(0, 256, (32, 32, 3, count)).astype(np.uint8)
            # The files have labels 1 to 10; 10 is the digit 0.
            labels = (np.arange(count) % 10 + 1).astype(np.uint8)[:, None]
            savemat(root / name, {"X": pixels, "y": labels})
            known[half] = [url, name, hashlib.md5((root / name).read_bytes()).hexdigest()]
        monkeypatch.setattr(datasets.SVHN, "split_list", known)

    return write


@pytest.fixture
def no_network(monkeypatch):
    def refuse(self):
        raise OSError("the cable is out")

    monkeypatch.setattr(datasets.MNIST, "download", refuse)
    monkeypatch.setattr(datasets.CIFAR10, "download", refuse)
    monkeypatch.setattr(datasets.SVHN, "download", refuse)


def test_the_catalogue_names_every_data_set():
    assert set(DATASETS) == {
        "digits", "digit-events", "mnist", "fashion-mnist", "kmnist", "cifar10", "cifar100", "svhn",
        "imagefolder", "nmnist", "poker-dvs", "dvs-gesture", "cifar10-dvs", "shd", "ssc",
        "eventfolder",
    }  # fmt: skip


def test_an_unknown_name_gets_the_nearest_known_one():
    with pytest.raises(UnknownNameError, match=r"unknown data set 'mnits'\. Did you mean 'mnist'"):
        load("mnits")


def test_wrong_arguments_are_refused_before_anything_is_read(tmp_path):
    with pytest.raises(SigpropError, match="steps is 0"):
        load("mnist", root=tmp_path, steps=0)
    with pytest.raises(UnknownNameError, match="encoding 'rat'"):
        load("mnist", root=tmp_path, encoding="rat")


def test_digits_have_one_fixed_split_with_every_class_in_both():
    one, other = (load("digits", steps=3, seed=seed) for seed in (0, 1))
    assert (one.train.samples, one.test.samples, one.shape) == (1437, 360, (1, 8, 8))
    assert torch.equal(one.test.labels, other.test.labels)
    assert torch.equal(next(iter(one.test))[0], next(iter(other.test))[0])
    assert one.test.labels.bincount(minlength=10).min() >= 34
    assert one.train.labels.bincount(minlength=10).min() >= 139
    x = torch.cat([x for x, _ in one.train], dim=1)
    assert (x.min(), x.max()) == (0.0, 1.0)


def test_digits_in_both_splits_are_those_of_scikit_learn_once_each():
    from sklearn.datasets import load_digits

    parts = [digit_pictures(split) for split in ("train", "test")]
    ours = torch.cat([torch.cat([x.flatten(1).long(), y[:, None]], 1) for x, y in parts])
    pictures, labels = load_digits(return_X_y=True)
    theirs = np.concatenate([pictures, labels[:, None]], 1).astype(int).tolist()
    assert sorted(ours.tolist()) == sorted(theirs)
    with pytest.raises(SigpropError, match="split is 'val'"):
        digit_pictures("val")


@pytest.mark.parametrize(
    ("name", "folder"),
    [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST"), ("kmnist", "KMNIST")],
)
def test_idx_files_are_read_unchanged(tmp_path, no_network, name, folder):
    raw = write_mnist(tmp_path, folder)
    data = load(name, root=tmp_path, steps=2)
    assert (data.train.samples, data.test.samples, data.shape) == (40, 20, (1, 28, 28))
    x, y = next(iter(data.test))
    stored = np.frombuffer((raw / "t10k-images-idx3-ubyte").read_bytes()[16:], np.uint8)
    assert np.array_equal((x[0] * 255).round().numpy().ravel(), stored)
    assert y.tolist() == [i % 10 for i in range(20)]
    assert len(data.classes) == 10


@pytest.mark.parametrize("download", [True, False])
def test_missing_files_are_named_and_no_folder_is_left(tmp_path, no_network, download):
    root = tmp_path / "new" / "data"
    reason = "the cable is out" if download else "switched off"
    with pytest.raises(DataNotFoundError, match=reason) as caught:
        load("mnist", root=root, download=download)
    for name in ("train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        assert str(root / "MNIST" / "raw" / name) in str(caught.value)
    assert not (tmp_path / "new").exists()


def test_a_failed_download_keeps_existing_files(tmp_path, no_network):
    raw = write_mnist(tmp_path)
    (raw / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataNotFoundError) as caught:
        load("mnist", root=tmp_path)
    assert "t10k-labels" in str(caught.value)
    assert "train-labels" not in str(caught.value).split("Downloading")[0]
    assert [p.name for p in tmp_path.iterdir()] == ["MNIST"]
    assert len(list(raw.iterdir())) == 3


def test_a_download_lands_in_the_data_folder(tmp_path, monkeypatch):
    from pathlib import Path

    monkeypatch.setattr(datasets.MNIST, "download", lambda self: write_mnist(Path(self.root)))
    data = load("mnist", root=tmp_path / "data", steps=1)
    assert data.train.samples == 40
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["MNIST"]


@pytest.mark.parametrize("content", [b"", b"\0\0\x08\x03", b"not an idx file at all"])
def test_damaged_idx_files_are_named(tmp_path, no_network, content):
    raw = write_mnist(tmp_path)
    (raw / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(SigpropError, match=r"the train files in .*raw can't be read"):
        load("mnist", root=tmp_path)


def test_idx_pictures_without_labels_and_labels_out_of_range_are_refused(tmp_path):
    raw = write_mnist(tmp_path)
    write_idx(raw / "t10k-labels-idx1-ubyte", np.arange(19) % 10)
    with pytest.raises(SigpropError, match=r"\(20, 28, 28\); expected \(19, 28, 28\)"):
        load("mnist", root=tmp_path)
    write_idx(raw / "t10k-labels-idx1-ubyte", np.full(20, 10))
    with pytest.raises(SigpropError, match="test sample 0 of 'mnist' has label 10"):
        load("mnist", root=tmp_path)


def test_cifar10_is_read_from_torchvisions_layout(tmp_path, write_cifar, no_network):
    folder = write_cifar(tmp_path)
    data = load("cifar10", root=tmp_path, steps=2, encoding="rate", test_samples=10)
    assert (data.train.samples, data.test.samples, data.shape) == (100, 10, (3, 32, 32))
    assert data.classes[6] == "frog"
    x, _ = next(iter(load("cifar10", root=tmp_path, steps=1).test))
    with (folder / "test_batch").open("rb") as stream:
        stored = pickle.load(stream)["data"].reshape(20, 3, 32, 32)
    assert np.allclose(x[0].numpy(), (stored / 255 - 0.5) / 0.25, atol=1e-5)


def test_cifar10_files_that_are_not_the_originals_are_never_unpickled(tmp_path, write_cifar):
    folder = write_cifar(tmp_path)

    class Trap:
        def __reduce__(self):
            return (folder.joinpath("sprung").touch, ())

    (folder / "data_batch_1").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(SigpropError, match="expected the original files"):
        load("cifar10", root=tmp_path)
    assert not (folder / "sprung").exists()
    (folder / "data_batch_1").unlink()
    with pytest.raises(DataNotFoundError, match="data_batch_1\nDownloading is"):
        load("cifar10", root=tmp_path, download=False)


def test_cifar100_is_read_with_its_hundred_names(tmp_path, write_cifar, no_network):
    folder = write_cifar(tmp_path, datasets.CIFAR100, classes=100)
    data = load("cifar100", root=tmp_path, steps=1, encoding="rate", test_samples=100)
    assert (data.train.samples, data.test.samples, data.shape) == (200, 100, (3, 32, 32))
    assert data.classes == tuple(f"class {i}" for i in range(100))
    assert data.test.labels.bincount().tolist() == [1] * 100
    (folder / "train").unlink()
    with pytest.raises(DataNotFoundError, match="the cable is out") as caught:
        load("cifar100", root=tmp_path)
    assert str(folder / "train") in str(caught.value)


def test_cifar100_files_that_are_not_the_originals_are_never_unpickled(tmp_path, write_cifar):
    folder = write_cifar(tmp_path, datasets.CIFAR100, classes=100)

    class Trap:
        def __reduce__(self):
            return (folder.joinpath("sprung").touch, ())

    for name in ("train", "test", "meta"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(pickle.dumps(Trap()))
        with pytest.raises(SigpropError, match=r"CIFAR100 files .* expected the original files"):
            load("cifar100", root=tmp_path)
        (folder / name).write_bytes(whole)
    assert not (folder / "sprung").exists()


def test_svhn_labels_the_digit_zero_0(tmp_path, write_svhn, no_network):
    write_svhn(tmp_path)
    data = load("svhn", root=tmp_path, steps=1)
    assert (data.train.samples, data.test.samples, data.shape) == (40, 20, (3, 32, 32))
    x, y = next(iter(data.test))
    stored = loadmat(tmp_path / "test_32x32.mat")["X"].transpose(3, 2, 0, 1)
    assert np.allclose(x[0].numpy(), (stored / 255 - 0.5) / 0.25, atol=1e-5)
    assert y.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0] * 2


def test_house_numbers_are_shifted_and_never_mirrored(tmp_path, write_svhn):
    write_svhn(tmp_path, train=200)
    plain = load("svhn", root=tmp_path, steps=1, batch_size=200).train
    moved = load("svhn", root=tmp_path, steps=1, batch_size=200, augment=True).train
    (before, _), (after, _) = next(iter(plain)), next(iter(moved))
    # For every sample, the unchanged middle of the picture is found within two pixels.
    middle = before[0, ..., 8:24, 8:24]
    found = torch.zeros(200, dtype=torch.bool)
    for top in range(6, 11):
        for left in range(6, 11):
            there = after[0, ..., top : top + 16, left : left + 16]
            found |= (there == middle).flatten(1).all(1)
    assert found.all()


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0 MAT-file", b"\x80\x04N."])
def test_svhn_files_that_are_not_the_originals_are_refused(tmp_path, write_svhn, content):
    write_svhn(tmp_path)
    (tmp_path / "train_32x32.mat").write_bytes(content)
    with pytest.raises(SigpropError, match=r"SVHN file .*train_32x32\.mat can't be used"):
        load("svhn", root=tmp_path)


def test_missing_svhn_files_are_named(tmp_path, no_network, monkeypatch):
    with pytest.raises(DataNotFoundError, match="switched off") as caught:
        load("svhn", root=tmp_path, download=False)
    for name in ("train_32x32.mat", "test_32x32.mat"):
        assert str(tmp_path / name) in str(caught.value)
    with pytest.raises(DataNotFoundError, match="the cable is out"):
        load("svhn", root=tmp_path)
