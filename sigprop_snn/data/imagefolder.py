"""A user's own pictures, one folder for each class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sigprop_snn.data.class_folders import LabelledFiles, find_class_folders
from sigprop_snn.data.source import Request, Source, Split
from sigprop_snn.errors import SigpropError

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

SIDE = 32
"""Height and width to which pictures of different sizes are resized."""

LARGEST_SIDE = 96
"""Pictures of one size keep their size if no side is longer, in pixels."""

_THREADS = 4
_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_Result = TypeVar("_Result")


def open_imagefolder(request: Request) -> Source:
    """Return colour pictures from `root/train/<class>/` and `root/test/<class>/`.

    Pictures keep their size if all have the same size of at most 96 pixels a side; otherwise all
    are resized to 32x32. They are turned as their EXIF orientation says. Grey pictures of 16 or 32
    bits are scaled from 0 to 65,535, pictures of floats from 0 to 1.

    Raises:
        DataNotFoundError: if `train` or `test` is missing.
        SigpropError: if there are no pictures, the two folders have different classes, or a
            picture can't be read.
    """
    classes, train, test = find_class_folders("imagefolder", request.root, SUFFIXES)
    size = _common_size([*train.files, *test.files])
    return Source(
        "imagefolder", _split(train, size), _split(test, size), tuple(classes), colour=True
    )


def _split(samples: LabelledFiles, size: tuple[int, int]) -> Split:
    def pixels(picture: Image.Image) -> Tensor:
        resized = _upright_colour(picture).resize(size, Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(resized)).permute(2, 0, 1)

    def read(index: Tensor) -> Tensor:
        x = torch.empty((len(index), 3, size[1], size[0]), dtype=torch.uint8)

        def read_one(row: int, number: int) -> None:
            x[row] = _with_picture(samples.files[number], pixels)

        with ThreadPoolExecutor(_THREADS) as pool:
            # `list` waits for every picture and raises the first error.
            list(pool.map(read_one, range(len(index)), index.tolist()))
        return x

    return Split(torch.tensor(samples.labels), read, sample_bytes=3 * size[0] * size[1])


def _common_size(files: Sequence[Path]) -> tuple[int, int]:
    first = _with_picture(files[0], _upright_size)
    same = max(first) <= LARGEST_SIDE and all(
        _with_picture(file, _upright_size) == first for file in files
    )
    return first if same else (SIDE, SIDE)


def _upright_size(picture: Image.Image) -> tuple[int, int]:
    """Return width and height after turning, from the file's header alone."""
    # Pillow gives the size of a TIFF file after turning. For PNG without EXIF in the header it
    # would decode the picture to look for EXIF at the end.
    in_header = picture.format != "TIFF" and "exif" in picture.info
    turned = in_header and _orientation(picture) >= 5
    return picture.size[::-1] if turned else picture.size


def _upright_colour(picture: Image.Image) -> Image.Image:
    picture.load()  # turns a TIFF file
    turn = _TURNS.get(_orientation(picture))
    colour = _as_8_bit(picture).convert("RGB")
    return colour if turn is None else colour.transpose(turn)


def _orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 is upright."""
    try:
        value = picture.getexif().get(_ORIENTATION, 1)
    # Damaged EXIF raises many errors; other programs then show the picture as it is stored.
    except Exception:
        return 1
    return value if value in _TURNS else 1


def _as_8_bit(picture: Image.Image) -> Image.Image:
    """Scale grey levels of more than 8 bits; `convert` would clip them to 255."""
    if picture.mode == "F":
        largest = 1
    elif picture.mode.startswith("I"):
        largest = 65_535
    else:
        return picture
    levels: NDArray[Any] = np.asarray(picture).astype(np.float64)
    if not ((levels >= 0) & (levels <= largest)).all():
        raise SigpropError(
            f"its grey levels range from {levels.min():g} to {levels.max():g} in mode "
            f"{picture.mode}; expected 0 to {largest}"
        )
    return Image.fromarray(np.rint(levels * (255 / largest)).astype(np.uint8))


def _with_picture(file: Path, use: Callable[[Image.Image], _Result]) -> _Result:
    try:
        with Image.open(file) as picture:
            return use(picture)
    except SigpropError as error:
        raise SigpropError(f"the picture {file} can't be used: {error}") from error
    # Pillow raises any of these for a damaged file, depending on the format.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SigpropError(
            f"the picture {file} can't be read ({error}); expected a complete image file"
        ) from error
