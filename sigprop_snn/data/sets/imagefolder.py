"""A user's own pictures, one folder for each class."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sigprop_snn.data.parallel import in_parallel
from sigprop_snn.data.sets.class_folders import LabelledFiles, find_class_folders
from sigprop_snn.data.sets.pictures import as_people_see, upright_size
from sigprop_snn.data.source import Request, Source, Split
from sigprop_snn.errors import SigpropError

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

SIDE = 32
"""Height and width to which pictures of different sizes are resized."""

LARGEST_KEPT_SIDE = 96
"""Pictures keep the size that most of them have if no side is longer, in pixels."""

_Result = TypeVar("_Result")


def open_imagefolder(request: Request) -> Source:
    """Return colour pictures from `root/train/<class>/` and `root/test/<class>/`.

    If more than half of the pictures have the same size, of at most 96 pixels a side, the others
    are resized to it; otherwise all are resized to 32x32. `as_people_see` turns them and makes them
    colour pictures.

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
        resized = as_people_see(picture).resize(size, Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(resized)).permute(2, 0, 1)

    def read(index: Tensor) -> Tensor:
        x = torch.empty((len(index), 3, size[1], size[0]), dtype=torch.uint8)

        files = [samples.files[number] for number in index.tolist()]
        decode = partial(_with_picture, use=pixels)
        for row, picture in enumerate(in_parallel(decode, files, "reading pictures")):
            x[row] = picture
        return x

    return Split(
        torch.tensor(samples.labels),
        read,
        sample_bytes=3 * size[0] * size[1],
        files=samples.files,
    )


def _common_size(files: Sequence[Path]) -> tuple[int, int]:
    """Return the size that more than half of the pictures have, or 32x32."""
    measure = partial(_with_picture, use=upright_size)
    found = in_parallel(measure, files, "measuring pictures")
    sizes = dict(zip(files, found, strict=True))
    usual, count = Counter(sizes.values()).most_common(1)[0]
    if max(usual) > LARGEST_KEPT_SIDE or 2 * count <= len(files):
        return (SIDE, SIDE)
    odd = [file for file, size in sizes.items() if size != usual]
    if odd:
        width, height = sizes[odd[0]]
        warnings.warn(
            f"{len(odd)} of {len(files)} pictures are resized to {usual[0]}x{usual[1]}, the size "
            f"of the others, such as {odd[0]} with {width}x{height}",
            stacklevel=2,
        )
    return usual


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
