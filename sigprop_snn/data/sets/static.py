"""Data sets of pictures from scikit-learn and torchvision."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sigprop_snn.data.augment import Augment
from sigprop_snn.data.download import fetch
from sigprop_snn.data.source import Request, Source, Split
from sigprop_snn.errors import SigpropError

TEN_DIGITS = tuple("0123456789")
DIGITS_TEST = 360
FASHION = (
    "t-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
HIRAGANA = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
CIFAR10 = (
    "airplane", "automobile", "bird", "cat", "deer",
    "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


def digit_pictures(split: str) -> tuple[Tensor, Tensor]:
    """Return one split of the handwritten digits of scikit-learn. The split is always the same.

    Args:
        split: "train" (1,437 samples) or "test" (360).

    Returns:
        Pictures with values 0 to 16, uint8 `[N, 1, 8, 8]`, and labels, int64 `[N]`.

    Raises:
        SigpropError: if `split` is neither.
    """
    if split not in ("train", "test"):
        raise SigpropError(f"split is {split!r}; expected 'train' or 'test'")
    train_x, test_x, train_y, test_y = _split_digits()
    x, y = (train_x, train_y) if split == "train" else (test_x, test_y)
    return torch.tensor(x, dtype=torch.uint8).view(-1, 1, 8, 8), torch.tensor(y, dtype=torch.long)


@functools.cache
def _split_digits() -> tuple[Any, ...]:
    # Imported only when used, because it takes a second or more; so are the other data libraries.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pictures, labels = load_digits(return_X_y=True)
    parts = train_test_split(
        pictures, labels, test_size=DIGITS_TEST, stratify=labels, random_state=0
    )
    return tuple(parts)


def open_digits(request: Request) -> Source:
    """Return scikit-learn's 8x8 digits, which need no files."""
    train, test = (Split.of(*digit_pictures(split)) for split in ("train", "test"))
    return Source("digits", train, test, TEN_DIGITS, top=16.0)


def open_mnist(request: Request) -> Source:
    """Return MNIST from `root/MNIST/raw`, in torchvision's folder layout."""
    from torchvision.datasets import MNIST

    source = _open_idx("mnist", MNIST, request, TEN_DIGITS)
    # The digits are centred. With shifts of two pixels the voltage rule underfits.
    return replace(source, augment=Augment(shift=1))


def open_fashion_mnist(request: Request) -> Source:
    """Return Fashion-MNIST from `root/FashionMNIST/raw`, in torchvision's folder layout."""
    from torchvision.datasets import FashionMNIST

    return _open_idx("fashion-mnist", FashionMNIST, request, FASHION)


def open_kmnist(request: Request) -> Source:
    """Return Kuzushiji-MNIST from `root/KMNIST/raw`, in torchvision's folder layout."""
    from torchvision.datasets import KMNIST

    return _open_idx("kmnist", KMNIST, request, HIRAGANA)


def open_cifar10(request: Request) -> Source:
    """Return CIFAR-10 from `root/cifar-10-batches-py`, in torchvision's folder layout."""
    from torchvision.datasets import CIFAR10 as Pictures  # noqa: N811

    return _open_cifar("cifar10", Pictures, request, CIFAR10)


def open_cifar100(request: Request) -> Source:
    """Return CIFAR-100 from `root/cifar-100-python`, in torchvision's folder layout."""
    from torchvision.datasets import CIFAR100

    return _open_cifar("cifar100", CIFAR100, request, None)


def open_svhn(request: Request) -> Source:
    """Return SVHN from `train_32x32.mat` and `test_32x32.mat` in `root`.

    torchvision reads a file only if it has the checksum of the original, with scipy, which reads
    numbers and runs no code. Digits are never mirrored.
    """
    from torchvision.datasets import SVHN

    root = request.root
    names = ("train", "test")
    missing = [root / SVHN.split_list[name][1] for name in names]
    missing = [file for file in missing if not file.is_file()]
    if missing:
        urls = " and ".join(SVHN.split_list[name][0] for name in names)
        advice = f"Put {urls} in {root}."

        def both(folder: Path) -> None:
            for name in names:
                SVHN(folder, split=name, download=True)

        fetch("svhn", root, missing, advice, both if request.download else None)
    splits = []
    for name in names:
        file = root / SVHN.split_list[name][1]
        try:
            found = SVHN(root, split=name)
        except Exception as error:
            raise SigpropError(
                f"the SVHN file {file} can't be used ({error}); expected the original file with "
                "its checksum. Remove it to download it again"
            ) from error
        splits.append(Split.of(torch.from_numpy(found.data), torch.from_numpy(found.labels)))
    return Source("svhn", splits[0], splits[1], TEN_DIGITS, colour=True, mirror=False)


def _open_cifar(
    name: str, dataset: Any, request: Request, classes: tuple[str, ...] | None
) -> Source:
    """Open CIFAR-10 or CIFAR-100.

    The files are pickles. torchvision opens them only if they have the checksums of the originals,
    so they can't contain other code.
    """
    root = request.root
    folder = root / dataset.base_folder
    names = [name for name, _ in (*dataset.train_list, *dataset.test_list)]
    files = [folder / name for name in (*names, dataset.meta["filename"])]
    missing = [file for file in files if not file.is_file()]
    if missing:
        advice = (
            f"Unpack {dataset.url} in {root}, or use 'imagefolder' for pictures in one folder for "
            "each class."
        )
        fetch(name, root, missing, advice, _torchvision(dataset) if request.download else None)
    splits = []
    for train in (True, False):
        try:
            found = dataset(root, train=train)
        except Exception as error:
            raise SigpropError(
                f"the {dataset.__name__} files in {folder} can't be used ({error}); expected the "
                "original files with their checksums. Remove the folder to download it again"
            ) from error
        x = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
        splits.append(Split.of(x, torch.tensor(found.targets)))
    return Source(name, splits[0], splits[1], classes or tuple(found.classes), colour=True)


def _open_idx(name: str, dataset: Any, request: Request, classes: tuple[str, ...]) -> Source:
    root = request.root
    folder = root / dataset.__name__ / "raw"
    files = [folder / Path(file).stem for file, _ in dataset.resources]
    missing = [file for file in files if not file.is_file()]
    if missing:
        advice = f"Unpack the four files of {dataset.mirrors[0]} into {folder}."
        fetch(name, root, missing, advice, _torchvision(dataset) if request.download else None)
    splits = []
    for train in (True, False):
        try:
            found = dataset(root, train=train)
            x, y = found.data, found.targets
        # Damage makes torchvision fail in many ways, and none of its errors names the file.
        except Exception as error:
            raise SigpropError(
                f"the {'train' if train else 't10k'} files in {folder} can't be read "
                f"({type(error).__name__}: {error}); expected uncompressed idx files. Remove them "
                "to download them again"
            ) from error
        if tuple(x.shape) != (len(y), 28, 28):
            raise SigpropError(
                f"the {'train' if train else 't10k'} pictures in {folder} have shape "
                f"{tuple(x.shape)}; expected ({len(y)}, 28, 28), one for each label"
            )
        splits.append(Split.of(x.unsqueeze(1), y))
    return Source(name, splits[0], splits[1], classes)


def _torchvision(dataset: Any) -> Any:
    return lambda folder: dataset(folder, download=True)
