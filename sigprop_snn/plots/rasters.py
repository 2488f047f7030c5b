"""The spikes of one layer as a raster."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.ticker import StrMethodFormatter

from sigprop_snn.plots.arrays import Array, ArrayInput, checked_spikes, thin_step, thinned_count
from sigprop_snn.plots.style import (
    INK,
    NEGATIVE,
    axes_for,
    check_colour,
    dress,
    ticks,
    time_axis,
    time_scale,
)


def raster(
    spikes: ArrayInput,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    step_ms: float | None = None,
    max_neurons: int = 500,
    colour: str = INK,
) -> Axes:
    """Draw the spikes of one layer for one sample.

    Args:
        spikes: `[T, N]` or `[T, ...]`, flattened after time; 0 and 1 or whole counts. A count above
            0 is one mark. Negative spikes have a second colour.
        ax: where to draw; None makes a figure.
        title: title of the picture.
        step_ms: length of a time step in ms; None counts steps.
        max_neurons: of a larger layer only every k-th neuron is drawn, and the axis says so.
        colour: colour of the marks.

    Returns:
        The Axes drawn on.

    Raises:
        SigpropError: if the input is empty, holds NaN or fractions, or has a wrong shape.
    """
    flat = checked_spikes("spikes", spikes)
    check_colour(colour)
    steps, count = flat.shape
    pitch = thin_step(count, max_neurons, "max_neurons")
    scale = time_scale(step_ms)
    rows = min(count, max_neurons)
    ax = axes_for(ax, (6.4, float(np.clip(1.2 + 0.5 * np.log2(rows + 1), 1.8, 4.6))))
    dress(
        ax,
        title=title,
        y_label="neuron" if pitch == 1 else "neuron\n" + thinned_count(count, pitch, "neurons"),
    )
    draw_spikes(ax, flat, pitch, colour, scale)
    if (flat < 0).any():
        draw_spikes(ax, -flat, pitch, NEGATIVE, scale, gid="negative spikes")
    neuron_axis(ax, count)
    ax.yaxis.set_major_locator(ticks(6, whole=True))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    time_axis(ax, steps, step_ms)
    return ax


def neuron_axis(ax: Axes, count: int) -> None:
    """Set the vertical limits for `count` neurons with the first at the bottom."""
    ax.set_ylim(-0.5, count - 0.5)


def draw_spikes(
    ax: Axes, spikes: Array, pitch: int, colour: str, scale: float, *, gid: str = "spikes"
) -> PolyCollection:
    """Add one mark for every positive value `[T, N]` of every `pitch`-th neuron.

    A time step has the length `scale` on the axis. The marks have the group id `gid`.
    """
    # A short vertical tick, a 400th of the axis wide, and never wider than its step.
    half_w = 0.5 * scale * min(spikes.shape[0] / 400, 0.7)
    half_h = 0.4 * pitch
    step, row = np.nonzero(spikes[:, ::pitch] > 0)
    x, y = step * scale, row * pitch + 0.5 * (pitch - 1)
    signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
    corners = [np.stack([x + a * half_w, y + b * half_h], axis=-1) for a, b in signs]
    # A thin outline keeps a mark visible if its row is lower than a pixel.
    marks = PolyCollection(
        list(np.stack(corners, axis=1)),
        facecolors=colour,
        edgecolors=colour,
        linewidths=0.35,
        gid=gid,
    )
    ax.add_collection(marks, autolim=False)
    return marks
