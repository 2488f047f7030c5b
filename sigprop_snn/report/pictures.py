"""Pictures that stand inside of a page: drawn for a wide screen and for a narrow one."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sigprop_snn.plots.style import figure_of
from sigprop_snn.report.html import Html, element

# A picture of many marks is smaller, and faster to show, as pixels.
_MOST_SVG = 200_000
_DPI = 192
_NARROW = 4.3  # inches; at the width of a phone the text then has about the size it has here

Draw = Callable[[Axes | None], object]
"""Draws on an Axes, or on a figure of its own for None; returns the Axes drawn on."""


def picture(draw: Draw, alt: str, caption: str, *, narrow_height: float | None = None) -> Html:
    """Return a figure with its caption.

    Args:
        draw: draws the picture.
        alt: what it shows, for those who don't see it.
        caption: what to look at.
        narrow_height: inches of the picture for a narrow screen; that of the wide one if not
            given.
    """
    wide = _drawn_on(draw(None))
    narrow = Figure(
        figsize=(_NARROW, narrow_height or float(wide.get_figheight())), layout="constrained"
    )
    FigureCanvasAgg(narrow)
    draw(narrow.add_subplot())
    shown = element(
        "picture",
        element("source", media="(max-width: 40rem)", srcset=_inlined(narrow)),
        element("img", src=_inlined(wide), alt=alt, class_="drawn"),
    )
    return element("figure", shown, element("figcaption", caption))


def _drawn_on(axes: object) -> Figure:
    first = axes if isinstance(axes, Axes) else np.ravel(np.array(axes, dtype=object))[0]
    assert isinstance(first, Axes)
    return figure_of(first)


def _inlined(figure: Figure) -> str:
    """Return a figure as the address of its own content."""
    svg = _written(figure, "svg")
    if len(svg) <= _MOST_SVG:
        return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
    png = _written(figure, "png")
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _written(figure: Figure, form: str) -> bytes:
    file = io.BytesIO()
    # The page's own paper shows through, in the dark as in the light.
    with matplotlib.rc_context({"svg.hashsalt": "sigprop_snn", "svg.fonttype": "path"}):
        figure.savefig(
            file,
            format=form,
            dpi=_DPI,
            transparent=True,
            bbox_inches="tight",
            pad_inches=0.05,
            metadata={"Date": None} if form == "svg" else None,
        )
    return file.getvalue()
