"""Surrogate functions side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from sigprop_snn.plots.arrays import ArrayInput, checked, checked_pairs
from sigprop_snn.plots.style import (
    FAINT,
    GREY,
    LABEL_SIZE,
    PALETTE,
    TITLE_SIZE,
    axes_for,
    dress,
    note,
    set_title,
    ticks,
)


def surrogate_comparison(
    functions: Mapping[str, tuple[ArrayInput, ArrayInput]],
    u: ArrayInput,
    *,
    ax: Axes | None = None,
    title: str | None = None,
) -> list[Axes]:
    """Draw the primitive f(u) and the derivative df(u) of surrogate functions, with the spike.

    Args:
        functions: values of f and df, each `[K]`, for the name of each function.
        u: the points of these values `[K]`: membrane voltage minus threshold, rising.
        ax: an Axes to replace by the two panels; None makes a figure.
        title: title of the picture.

    Returns:
        The panel of the primitives and that of the derivatives.

    Raises:
        SigpropError: if an input is empty, holds NaN or has a wrong shape.
    """
    points = checked("u", u, "[K]", 1, 1)
    pairs = checked_pairs("functions", functions, ("f", "df"), "u", points, "[K]")
    host = axes_for(ax, (7.4, 3.0))
    host.set_axis_off()
    set_title(host, title, size=TITLE_SIZE + 1, pad=22)
    primitives = host.inset_axes((0.0, 0.0, 0.44, 1.0))
    derivatives = host.inset_axes((0.56, 0.0, 0.44, 1.0))
    for panel, name in ((primitives, "primitive f(u)"), (derivatives, "derivative df(u)")):
        dress(panel, title=name, x_label="u = voltage − threshold")
        panel.axvline(0, color=FAINT, linewidth=0.8, zorder=0)
        panel.set_xlim(float(np.min(points)), float(np.max(points)))
        panel.yaxis.set_major_locator(ticks(5))
        panel.xaxis.set_major_locator(ticks(7))
    primitives.plot(points, points >= 0, color=GREY, linewidth=1.0, linestyle=":", label="spike")
    _name_line(primitives, "spike", 0, GREY)
    for place, (name, (f, df)) in enumerate(pairs.items()):
        colour = PALETTE[place % len(PALETTE)]
        primitives.plot(points, f, color=colour, linewidth=1.6, label=name)
        derivatives.plot(points, df, color=colour, linewidth=1.6, label=name)
        _name_line(primitives, name, place + 1, colour)
    return [primitives, derivatives]


def _name_line(panel: Axes, name: str, row: int, colour: str) -> None:
    """Write a name in the upper left corner, which rising functions leave free."""
    shift = (0, -row * 1.35 * LABEL_SIZE)
    note(panel, name, (0.04, 0.96), shift=shift, size=LABEL_SIZE, colour=colour, va="top")
