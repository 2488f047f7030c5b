"""Surrogate functions side by side."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.arrays import Array, ArrayInput, checked, same_shape
from sigprop_snn.plots.style import (
    FAINT,
    GREY,
    INK,
    LABEL_SIZE,
    PALETTE,
    SMALL_SIZE,
    TITLE_SIZE,
    axes_for,
    dress,
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
        functions: Values of f and of df ``[K]`` for the name of each function.
        u: Where they were taken ``[K]``: membrane voltage less threshold, rising.
        ax: An Axes whose place the two panels take; None makes a figure.
        title: Title of the picture.

    Returns:
        The panel of the primitives and that of the derivatives.

    Raises:
        SigpropError: On an empty, NaN or wrongly shaped input.
    """
    where = checked(u, "u", "[K]", 1, 1)
    if not functions:
        raise SigpropError("functions is empty; expected f [K] and df [K] per name.")
    pairs: dict[str, tuple[Array, Array]] = {}
    for name, (primitive, derivative) in functions.items():
        f = checked(primitive, f"f of functions[{name!r}]", "[K]", 1, 1)
        df = checked(derivative, f"df of functions[{name!r}]", "[K]", 1, 1)
        same_shape(f, f"f of functions[{name!r}]", where, "u")
        same_shape(df, f"df of functions[{name!r}]", where, "u")
        pairs[name] = f, df
    host = axes_for(ax, (7.4, 3.0))
    host.set_axis_off()
    if title is not None:
        host.set_title(title, loc="left", fontsize=TITLE_SIZE + 1, color=INK, pad=22)
    panels = [host.inset_axes((0.0, 0.0, 0.44, 1.0)), host.inset_axes((0.56, 0.0, 0.44, 1.0))]
    x_label = "u = voltage − threshold"
    dress(panels[0], title="primitive f(u)", x_label=x_label)
    dress(panels[1], title="derivative df(u)", x_label=x_label)
    panels[0].plot(where, where >= 0, color=GREY, linewidth=1.0, linestyle=":", label="spike")
    panels[0].text(
        0.04,
        0.96,
        "spike",
        transform=panels[0].transAxes,
        fontsize=LABEL_SIZE,
        color=GREY,
        va="top",
    )
    for place, (name, (f, df)) in enumerate(pairs.items()):
        colour = PALETTE[place % len(PALETTE)]
        panels[0].plot(where, f, color=colour, linewidth=1.6, label=name)
        panels[1].plot(where, df, color=colour, linewidth=1.6, label=name)
        # Rising functions leave the upper left of the panel free.
        panels[0].annotate(
            name,
            (0.04, 0.96),
            xycoords="axes fraction",
            xytext=(0, -(place + 1) * 1.35 * LABEL_SIZE),
            textcoords="offset points",
            fontsize=LABEL_SIZE,
            color=colour,
            va="top",
        )
    for panel in panels:
        panel.axvline(0, color=FAINT, linewidth=0.8, zorder=0)
        panel.set_xlim(float(np.min(where)), float(np.max(where)))
        panel.yaxis.set_major_locator(ticks(5))
        panel.xaxis.set_major_locator(ticks(7))
        panel.tick_params(labelsize=SMALL_SIZE)
    return panels
