"""Writes pictures to files."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sigprop_snn.arguments import path as as_path
from sigprop_snn.errors import SigpropError
from sigprop_snn.files import write_atomically
from sigprop_snn.plots.style import figure_of

DPI = 150


def save(picture: Figure | Axes | Iterable[Axes], path: str | os.PathLike[str]) -> Path:
    """Write the figure of `picture` as a PNG of 150 dpi. A failure leaves no half-written file.

    Args:
        picture: A figure, an Axes, or the list of Axes that a picture returned.
        path: The file to write; its name ends in `.png`. Missing folders are made.

    Returns:
        The path written.

    Raises:
        SigpropError: If the picture has no figure, the name has another ending, or the file can't
            be written.
    """
    figure = figure_of_picture(picture)
    return write_file(
        path,
        ".png",
        lambda part: figure.savefig(
            part, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.1
        ),
    )


def write_file(path: str | os.PathLike[str], ending: str, write: Callable[[Path], object]) -> Path:
    """Write a file with `write_atomically`, after a check of the ending of its name."""
    target = as_path("path", path)
    if target.suffix.lower() != ending:
        raise SigpropError(f"path is {str(target)!r}; expected a name that ends in {ending!r}.")
    return write_atomically(target, write, make_folders=True)


def rendered(figure: Figure, form: Literal["svg", "png"], dpi: float) -> bytes:
    """Return the file of a figure on a transparent ground; the same figure gives the same bytes."""
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "sigprop_snn", "svg.fonttype": "path"}):
        figure.savefig(
            file,
            format=form,
            dpi=dpi,
            transparent=True,
            bbox_inches="tight",
            pad_inches=0.05,
            metadata={"Date": None} if form == "svg" else None,
        )
    return file.getvalue()


def figure_of_picture(picture: Figure | Axes | Iterable[Axes]) -> Figure:
    """Return the figure of what a picture returned.

    Raises:
        SigpropError: If there is no Axes.
    """
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
