"""Writing a picture so that a failure leaves no half file."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.style import figure_of

DPI = 150


def save(picture: Figure | Axes | Iterable[Axes], path: str | os.PathLike[str]) -> Path:
    """Write the figure of ``picture`` as a PNG of 150 dpi, whole or not at all.

    Args:
        picture: A figure, an Axes, or the list of Axes that a stack returned.
        path: Where to write, ending in ``.png``; missing folders are made.

    Returns:
        The path written.

    Raises:
        SigpropError: If the picture has no figure, the ending is another, or nothing can be
            written there.
    """
    figure = _figure_of(picture)
    return write_whole(
        path,
        ".png",
        lambda part: figure.savefig(
            part, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.1
        ),
    )


def write_whole(path: str | os.PathLike[str], ending: str, write: Callable[[Path], object]) -> Path:
    """Let ``write`` fill a temporary file beside ``path``, then move it there."""
    target = Path(path)
    if target.suffix.lower() != ending:
        raise SigpropError(f"path is {str(target)!r}; expected a name that ends in {ending!r}.")
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        part.replace(target)
    except OSError as error:
        raise SigpropError(f"path {str(target)!r} can't be written: {error}.") from error
    finally:
        if part.parent.is_dir():
            part.unlink(missing_ok=True)
    return target


def _figure_of(picture: Figure | Axes | Iterable[Axes]) -> Figure:
    if isinstance(picture, Figure):
        return picture
    first: object = picture
    if not isinstance(picture, Axes) and isinstance(picture, Iterable):
        first = next(iter(np.ravel(np.array(list(picture), dtype=object))), None)
    if not isinstance(first, Axes):
        raise SigpropError(
            f"picture is {type(picture).__name__} without an Axes; "
            "expected a Figure, an Axes or a list of Axes."
        )
    return figure_of(first)
