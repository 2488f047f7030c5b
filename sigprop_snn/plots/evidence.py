"""What the layers learn, over training: angles, alignment and separability."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.arrays import Array, ArrayInput, as_array, checked
from sigprop_snn.plots.style import (
    GREY,
    INK,
    PAPER,
    SMALL_SIZE,
    axes_for,
    dress,
    label_ends,
    layer_colours,
    plain,
    ticks,
)

_SIZE = (4.6, 3.2)


def update_angles(
    seen: ArrayInput,
    degrees: Mapping[str, ArrayInput],
    *,
    title: str | None = "angle to backpropagation's gradient (degrees)",
    ax: Axes | None = None,
) -> Axes:
    """Draw each layer's angle to backpropagation's gradient over training.

    Args:
        seen: How many samples were learned from at each point, ``[P]``.
        degrees: By layer, the angle at each point, ``[P]``; NaN is a gap, here and below.
        title: Title of the picture.
        ax: Where to draw; None makes a figure.

    Returns:
        The Axes drawn on.

    Raises:
        SigpropError: On an empty or wrongly shaped input.
    """
    ax, ends = _lines(seen, degrees, "{:.0f}°", title, ax)
    highest = float(ax.dataLim.intervaly[1])
    ax.axhline(90, color=GREY, linewidth=1.0, linestyle=(0, (4, 2)), zorder=1)
    ax.annotate(
        "unrelated directions",
        (0.99, 90),
        xycoords=("axes fraction", "data"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        fontsize=SMALL_SIZE - 0.5,
        color=GREY,
    )
    ax.set_ylim(0, 180 if highest > 110 else 100)
    ax.set_yticks(range(0, 181 if highest > 110 else 91, 30))
    label_ends(ax, ends)
    return ax


def stream_alignment(
    seen: ArrayInput,
    own: Mapping[str, ArrayInput],
    other: Mapping[str, ArrayInput],
    *,
    title: str | None = "cosine of sample and context",
    ax: Axes | None = None,
) -> Axes:
    """Draw how near samples come to their own context and to the others, over training.

    Args:
        seen: How many samples were learned from at each point, ``[P]``.
        own: By layer, the mean cosine with the own class's context at each point, ``[P]``.
        other: The same for the contexts of other classes.
        title: Title of the picture.
        ax: Where to draw; None makes a figure.

    Returns:
        The Axes drawn on.

    Raises:
        SigpropError: On an empty or wrongly shaped input, or other layers in the two.
    """
    if set(own) != set(other):
        raise SigpropError(
            f"own has the layers {sorted(own)}, other {sorted(other)}; expected the same."
        )
    ax, ends = _lines(seen, own, "{:.2f}", title, ax)
    places = checked(seen, "seen", "[P]", 1, 1)
    colours = layer_colours(own)
    for name, values in other.items():
        heights = _along(values, f"other[{name!r}]", len(places))
        ax.plot(
            places,
            heights,
            color=colours[name],
            linewidth=1.4,
            linestyle=(0, (4, 2)),
            marker=_marker(len(places)),
            markersize=3.4,
            markerfacecolor=PAPER,
            label=f"{name}, other classes",
        )
    low, high = ax.dataLim.intervaly
    ax.set_ylim(min(0.0, float(low) - 0.02), max(float(high) + 0.05, 0.5))
    ax.legend(
        handles=[
            Line2D([], [], color=INK, linewidth=1.6, label="own class"),
            Line2D([], [], color=INK, linewidth=1.4, linestyle=(0, (4, 2)), label="other classes"),
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
    """Draw how well a linear probe tells the classes apart in each layer, over training.

    Args:
        seen: How many samples were learned from at each point, ``[P]``.
        accuracy: By layer, the share of held-out samples that are right at each point, ``[P]``.
        title: Title of the picture.
        ax: Where to draw; None makes a figure.

    Returns:
        The Axes drawn on.

    Raises:
        SigpropError: On an empty or wrongly shaped input.
    """
    percent = {
        name: 100 * as_array(values, f"accuracy[{name!r}]") for name, values in accuracy.items()
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
) -> tuple[Axes, list[tuple[float, str, str]]]:
    """Draw a line for each layer; return the labels that its end takes once the limits stand."""
    if not layers:
        raise SigpropError("there is no layer to draw; expected values for at least one.")
    places = checked(seen, "seen", "[P]", 1, 1)
    ax = axes_for(ax, _SIZE)
    dress(ax, title=title, x_label="training samples seen", grid="y")
    ends = []
    for name, colour in layer_colours(layers).items():
        heights = _along(layers[name], f"values of {name!r}", len(places))
        ax.plot(
            places,
            heights,
            color=colour,
            linewidth=1.6,
            marker=_marker(len(places)),
            markersize=3.4,
            label=name,
        )
        last = float(heights[np.isfinite(heights)][-1])
        ends.append((last, f"{plain(name)}  {form.format(last)}", colour))
    ax.xaxis.set_major_locator(ticks(5))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    return ax, ends


def _along(values: ArrayInput, name: str, count: int) -> Array:
    """Return a layer's values; NaN is a gap."""
    heights = as_array(values, name)
    if heights.shape != (count,):
        raise SigpropError(
            f"{name} has shape {list(heights.shape)}; expected [{count}], one a point of 'seen'."
        )
    if np.isinf(heights).any() or np.isnan(heights).all():
        raise SigpropError(f"{name} holds no finite number or an infinity; expected numbers.")
    return heights


def _marker(count: int) -> str | None:
    return "o" if count <= 20 else None
