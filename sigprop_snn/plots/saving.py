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
from sigprop_snn.arguments import positive
from sigprop_snn.errors import SigpropError
from sigprop_snn.files import write_atomically
from sigprop_snn.plots.style import figure_of

DPI = 150
FORMATS = ("png", "svg", "pdf")


def save(
    picture: Figure | Axes | Iterable[Axes], path: str | os.PathLike[str], *, dpi: float = DPI
) -> Path:
    """Write the figure of `picture` as PNG, SVG or PDF. A failure leaves no half-written file.

    Text in an SVG or PDF stays text. The same figure gives the same file.

    Args:
        picture: a figure, an Axes, or the list of Axes that a picture returned.
        path: the file to write; its name ends in `.png`, `.svg` or `.pdf`. Missing folders are
            made.
        dpi: dots per inch of a PNG, and of the images in an SVG or PDF.

    Returns:
        The path written.

    Raises:
        SigpropError: if the picture has no figure, the name has another ending, or the file can't
            be written.
    """
    figure = figure_of_picture(picture)
    target = as_path("path", path)
    form = target.suffix.lower().removeprefix(".")
    if form not in FORMATS:
        endings = ", ".join(f"'.{name}'" for name in FORMATS)
        raise SigpropError(f"path is {str(target)!r}; expected a name that ends in {endings}")
    dpi = positive("dpi", dpi)
    dates = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}

    def write(part: Path) -> None:
        with matplotlib.rc_context(
            {"svg.hashsalt": "sigprop_snn", "svg.fonttype": "none", "pdf.fonttype": 42}
        ):
            figure.savefig(
                part, format=form, dpi=dpi, bbox_inches="tight", pad_inches=0.1,
                metadata=dates[form],
            )  # fmt: skip

    return write_atomically(target, write, make_folders=True)


def write_file(path: str | os.PathLike[str], ending: str, write: Callable[[Path], object]) -> Path:
    """Write a file with `write_atomically`, after a check of the ending of its name."""
    target = as_path("path", path)
    if target.suffix.lower() != ending:
        raise SigpropError(f"path is {str(target)!r}; expected a name that ends in {ending!r}")
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
        SigpropError: if there is no Axes.
    """
    if isinstance(picture, Figure):
        return picture
    first: object = picture
    if not isinstance(picture, Axes) and isinstance(picture, Iterable):
        first = next(iter(np.ravel(np.array(list(picture), dtype=object))), None)
    if not isinstance(first, Axes):
        raise SigpropError(
            f"picture is {type(picture).__name__} without an Axes; "
            "expected a Figure, an Axes or a list of Axes"
        )
    return figure_of(first)
