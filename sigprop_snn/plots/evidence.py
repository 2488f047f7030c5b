"""What the layers learn, over training: angles, alignment and separability."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.arrays import Array, ArrayInput, as_array, by_name, checked
from sigprop_snn.plots.style import (
    DASHED,
    GREY,
    INK,
    SMALL_SIZE,
    EndLabel,
    axes_for,
    draw_line,
    dress,
    label_ends,
    layer_colours,
    note,
    plain,
    ticks,
)


def update_angles(
    seen: ArrayInput,
    degrees: Mapping[str, ArrayInput],
    *,
    title: str | None = "angle to backpropagation's gradient (degrees)",
    ax: Axes | None = None,
) -> Axes:
    """Draw each layer's angle to backpropagation's gradient over training.

    Args:
        seen: number of samples learned from at each point, `[P]`.
        degrees: the angle of each layer at each point, `[P]`; NaN is a gap.
        title: title of the picture.
        ax: where to draw; None makes a figure.

    Returns:
        The Axes drawn on.

    Raises:
        SigpropError: if an input is empty or has a wrong shape.
    """
    ax, ends = _lines(seen, degrees, "{:.0f}°", title, ax)
    highest = float(ax.dataLim.intervaly[1])
    ax.axhline(90, color=GREY, linewidth=1.0, linestyle=DASHED, zorder=1)
    note(
        ax, "unrelated directions", (0.99, 90), coords=("axes fraction", "data"), shift=(0, 3),
        size=SMALL_SIZE - 0.5, colour=GREY, ha="right", va="baseline",
    )  # fmt: skip
    ax.set_ylim(0, 180 if highest > 110 else 100)
    ax.set_yticks(range(0, 181 if highest > 110 else 91, 30))
    label_ends(ax, ends)
    return ax


def stream_alignment(
    seen: ArrayInput,
    same: Mapping[str, ArrayInput],
    other: Mapping[str, ArrayInput],
    *,
    title: str | None = "cosine of sample and context",
    ax: Axes | None = None,
) -> Axes:
    """Draw the cosine of samples with the context of their class and with the other contexts.

    Args:
        seen: number of samples learned from at each point, `[P]`.
        same: the mean cosine with the context of the sample's class, for each layer, `[P]`; NaN is
            a gap.
        other: the mean cosine with the contexts of the other classes, for each layer, `[P]`.
        title: title of the picture.
        ax: where to draw; None makes a figure.

    Returns:
        The Axes drawn on.

    Raises:
        SigpropError: if an input is empty or has a wrong shape, or the two differ in their layers.
    """
    by_name("same", same, "numbers [P]")
    by_name("other", other, "numbers [P]")
    if set(same) != set(other):
        raise SigpropError(
            f"same has the layers {sorted(same)}, other {sorted(other)}; expected equal layers"
        )
    ax, ends = _lines(seen, same, "{:.2f}", title, ax)
    points = checked("seen", seen, "[P]", 1, 1)
    for name, colour in layer_colours(same).items():
        cosines = _checked_series(f"other[{name!r}]", other[name], len(points))
        draw_line(ax, points, cosines, f"{name}, other classes", colour, width=1.4, dashed=True)
    low, high = ax.dataLim.intervaly
    ax.set_ylim(min(0.0, float(low) - 0.02), max(float(high) + 0.05, 0.5))
    ax.legend(
        handles=[
            Line2D([], [], color=INK, linewidth=1.6, label="same class"),
            Line2D([], [], color=INK, linewidth=1.4, linestyle=DASHED, label="other classes"),
        ],
        frameon=False,
        fontsize=SMALL_SIZE - 0.5,
        loc="best",
    )
    label_ends(ax, ends)
    return ax


def separability(
    seen: ArrayInput,
    accuracy: Mapping[str, ArrayInput],
    *,
    title: str | None = "linear probe on the spike counts (%)",
    ax: Axes | None = None,
) -> Axes:
    """Draw how well a linear probe separates the classes in each layer, over training.

    Args:
        seen: number of samples learned from at each point, `[P]`.
        accuracy: the fraction of held-out samples that the probe classifies correctly, for each
            layer, `[P]`; NaN is a gap.
        title: title of the picture.
        ax: where to draw; None makes a figure.

    Returns:
        The Axes drawn on.

    Raises:
        SigpropError: if an input is empty or has a wrong shape.
    """
    by_name("accuracy", accuracy, "numbers [P]")
    percent = {
        name: 100 * as_array(f"accuracy[{name!r}]", values) for name, values in accuracy.items()
    }
    ax, ends = _lines(seen, percent, "{:.1f}", title, ax)
    low, high = ax.dataLim.intervaly
    pad = max(0.08 * float(high - low), 1.0)
    ax.set_ylim(float(low) - pad, min(float(high) + pad, 101.0))
    label_ends(ax, ends)
    return ax


def _lines(
    seen: ArrayInput,
    layers: Mapping[str, ArrayInput],
    form: str,
    title: str | None,
    ax: Axes | None,
) -> tuple[Axes, list[EndLabel]]:
    """Draw a line for each layer; return the labels of their ends."""
    by_name("the layers to draw", layers, "numbers [P]")
    if not layers:
        raise SigpropError("there is no layer to draw; expected values for at least one")
    points = checked("seen", seen, "[P]", 1, 1)
    ax = axes_for(ax, (4.6, 3.2))
    dress(ax, title=title, x_label="training samples seen", grid="y")
    ends = []
    for name, colour in layer_colours(layers).items():
        series = _checked_series(f"values of {name!r}", layers[name], len(points))
        draw_line(ax, points, series, name, colour)
        last = float(series[np.isfinite(series)][-1])
        ends.append((last, f"{plain(name)}  {form.format(last)}", colour))
    ax.xaxis.set_major_locator(ticks(5))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    return ax, ends


def _checked_series(name: str, values: ArrayInput, count: int) -> Array:
    """Return the values of a layer; NaN is a gap."""
    series = as_array(name, values)
    if series.shape != (count,):
        raise SigpropError(
            f"{name} has shape {list(series.shape)}; expected [{count}], a value for each point of "
            "'seen'"
        )
    if np.isinf(series).any() or np.isnan(series).all():
        raise SigpropError(f"{name} holds no finite number or an infinity; expected numbers")
    return series
