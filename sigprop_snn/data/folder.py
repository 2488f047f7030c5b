"""A person's own pictures, in one folder a class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sigprop_snn.data.source import DataNotFoundError, Request, Source, Split
from sigprop_snn.errors import SigpropError

SIDE = 32
"""Height and width that pictures of different sizes are brought to."""

LARGEST_SIDE = 96
"""Pictures that all have one size keep it up to this many pixels a side."""

_THREADS = 4
_Result = TypeVar("_Result")


def open_imagefolder(request: Request) -> Source:
    """Return colour pictures from `root/train/<class>/` and `root/test/<class>/`.

    Pictures keep their size where all have the same and it is at most 96 pixels a side; otherwise
    all are resized to 32x32.

    Raises:
        DataNotFoundError: if one of the two folders is absent.
        SigpropError: if there are no pictures, the two folders have different classes, or a
            picture can't be read.
    """
    halves = {split: request.root / split for split in ("train", "test")}
    missing = [half / "<class>" for half in halves.values() if not half.is_dir()]
    if missing:
        raise DataNotFoundError(
            "imagefolder", missing, "The data folder is the one that holds train and test."
        )
    train, test = (_image_folder(half) for half in halves.values())
    if train.classes != test.classes:
        odd = sorted(set(train.classes) ^ set(test.classes))
        raise SigpropError(
            f"the classes in {halves['train']} and {halves['test']} differ in {', '.join(odd)}; "
            "expected the same folders in both"
        )
    size = _common_size([Path(file) for file, _ in (*train.samples, *test.samples)])
    return Source(
        "imagefolder",
        _split(train.samples, size),
        _split(test.samples, size),
        tuple(train.classes),
        colour=True,
    )


def _image_folder(half: Path) -> Any:
    from torchvision.datasets import ImageFolder

    try:
        return ImageFolder(half)
    except FileNotFoundError as error:
        raise SigpropError(
            f"{half} can't be used ({error}); expected one folder of pictures a class"
        ) from error


def _split(samples: Sequence[tuple[str, int]], size: tuple[int, int]) -> Split:
    def pixels(picture: Image.Image) -> Tensor:
        resized = picture.convert("RGB").resize(size, Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(resized)).permute(2, 0, 1)

    def read(index: Tensor) -> Tensor:
        x = torch.empty((len(index), 3, size[1], size[0]), dtype=torch.uint8)

        def place(task: tuple[int, int]) -> None:
            row, number = task
            x[row] = _with_picture(Path(samples[number][0]), pixels)

        with ThreadPoolExecutor(_THREADS) as pool:
            # The list makes an error in a thread come out here.
            list(pool.map(place, enumerate(index.tolist())))
        return x

    labels = torch.tensor([label for _, label in samples])
    return Split(labels, read, sample_bytes=3 * size[0] * size[1])


def _common_size(files: Sequence[Path]) -> tuple[int, int]:
    first = _with_picture(files[0], lambda picture: picture.size)
    same = max(first) <= LARGEST_SIDE and all(
        _with_picture(file, lambda picture: picture.size) == first for file in files
    )
    return first if same else (SIDE, SIDE)


def _with_picture(file: Path, use: Callable[[Image.Image], _Result]) -> _Result:
    try:
        with Image.open(file) as picture:
            return use(picture)
    # Pillow reports damage by any of these, depending on the format.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SigpropError(
            f"the picture {file} can't be read ({error}); expected a whole image file"
        ) from error
