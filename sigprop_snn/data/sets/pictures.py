"""Pictures in any mode of Pillow, as people see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from sigprop_snn.errors import SigpropError

_ORIENTATION = 0x0112  # the EXIF tag
_BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 258, 262, 0  # TIFF tags
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}


def as_people_see(picture: Image.Image) -> Image.Image:
    """Return a picture in RGB: turned as its EXIF orientation says, in front of white.

    Grey levels of more than 8 bits are scaled: 12 bits from 0 to 4,095, 16 and 32 bits from 0 to
    65,535, floats from 0 to 1. Transparent parts show a white page. Colours of LAB are those under
    daylight (D50).

    Raises:
        SigpropError: if grey levels are out of range.
    """
    picture.load()  # turns a TIFF file
    turn = _TURNS.get(orientation(picture))
    colour = _in_front_of_white(picture)
    return colour if turn is None else colour.transpose(turn)


def upright_size(picture: Image.Image) -> tuple[int, int]:
    """Return width and height after turning, from the file's header alone."""
    # Pillow gives the size of a TIFF file after turning. For PNG without EXIF in the header it
    # would decode the picture to look for EXIF at the end.
    in_header = picture.format != "TIFF" and "exif" in picture.info
    turned = in_header and orientation(picture) >= 5
    return picture.size[::-1] if turned else picture.size


def orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 is upright."""
    try:
        value = picture.getexif().get(_ORIENTATION, 1)
    # Damaged EXIF raises many errors; other programs then show the picture as it is stored.
    except Exception:
        return 1
    return value if value in _TURNS else 1


def _in_front_of_white(picture: Image.Image) -> Image.Image:
    mode = picture.mode
    if mode == "F" or mode.startswith("I"):
        return _grey(picture)
    if mode == "LAB":
        return _from_lab(picture)
    if mode in _PREMULTIPLIED:
        picture = picture.convert(_PREMULTIPLIED[mode])
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    if mode == "1":  # Pillow ignores the transparent level of pictures of one bit
        level = picture.info["transparency"]
        picture = picture.convert("L")
        picture.info["transparency"] = 255 if level else 0
    seen = picture.convert("RGBA")
    page = Image.new("RGBA", seen.size, "white")
    return Image.alpha_composite(page, seen).convert("RGB")


def _grey(picture: Image.Image) -> Image.Image:
    """Scale grey levels of more than 8 bits; `convert` would clip them to 255."""
    largest = 1 if picture.mode == "F" else 65_535
    levels: NDArray[Any] = np.asarray(picture).astype(np.float64)
    tags: Mapping[int, Any] = picture.tag_v2 if isinstance(picture, TiffImageFile) else {}
    if tags.get(_BITS) == (12,):
        largest = 4_095
    if not ((levels >= 0) & (levels <= largest)).all():
        raise SigpropError(
            f"its grey levels range from {levels.min():g} to {levels.max():g} in mode "
            f"{picture.mode}; expected 0 to {largest}"
        )
    scaled = np.rint(levels * (255 / largest))
    if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow turns only levels of 8 bits round
        scaled = 255 - scaled
    transparent = picture.info.get("transparency")
    if isinstance(transparent, int):
        scaled[levels == transparent] = 255
    return Image.fromarray(scaled.astype(np.uint8)).convert("RGB")


def _from_lab(picture: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(lab, rgb, "LAB", "RGB")
    seen = ImageCms.applyTransform(picture, transform)
    assert seen is not None  # None only for changes in place
    return seen
