"""Feature maps and weights as images."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize

from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.arrays import ArrayInput, checked, thin_step, thinned_count, with_remark
from sigprop_snn.plots.style import (
    DIVERGING,
    GREY,
    LABEL_SIZE,
    PALETTE,
    SMALL_SIZE,
    check_colour,
    dress_colour_bar,
    figure_of,
    grid_host,
    grid_panels,
    set_title,
    time_scale,
    tint,
)


def rate_maps(
    spikes: ArrayInput,
    *,
    columns: int = 8,
    max_channels: int = 32,
    step_ms: float | None = None,
    title: str | None = None,
    colour: str = PALETTE[0],
    ax: Axes | None = None,
) -> list[Axes]:
    """Draw the spike rate of every channel of a convolutional layer as a map.

    Args:
        spikes: `[T, C, H, W]` of one sample, or a mean over samples.
        columns: maps in a row.
        max_channels: of more channels only every k-th is drawn, and the title says so.
        step_ms: length of a time step in ms, for rates in Hz; None gives % of steps.
        title: title of the picture.
        colour: colour of the layer.
        ax: an Axes to replace by the maps; None makes a figure.

    Returns:
        An Axes for each map drawn.

    Raises:
        SigpropError: if the input is empty, holds NaN or negative numbers, or has a wrong shape.
    """
    array = checked("spikes", spikes, "[T, C, H, W]", 4, 4)
    if array.min() < 0:
        raise SigpropError(f"spikes holds {array.min()}; expected spikes from 0")
    unit = 100.0 if step_ms is None else 1000.0 / time_scale(step_ms)
    rates = array.mean(axis=0, dtype=np.float64) * unit
    channels, high, wide = rates.shape
    step = thin_step(channels, max_channels, "max_channels")
    check_colour(colour)
    drawn = range(0, channels, step)
    host = grid_host(ax, len(drawn), columns, high / wide, side=0.9)
    panels = grid_panels(host, len(drawn), columns, width=0.94)
    top = float(rates.max()) or 1.0
    for panel, channel in zip(panels, drawn, strict=True):
        panel.imshow(rates[channel], cmap=tint(colour), vmin=0.0, vmax=top, interpolation="nearest")
        mean = float(rates[channel].mean())
        text = "silent" if mean == 0 else f"{mean:.2g}" if mean < 100 else f"{mean:,.0f}"
        panel.set_title(f"{channel}: {text}", fontsize=SMALL_SIZE - 0.5, color=GREY, pad=2)
    name = "spike rate (% of steps)" if step_ms is None else "spike rate (Hz)"
    _colour_bar(host, tint(colour), 0.0, top, name)
    words = thinned_count(channels, step, "channels") + ", each with its mean"
    set_title(host, with_remark(title, words), pad=6)
    return panels


def weights_as_pictures(
    weights: ArrayInput,
    *,
    columns: int = 8,
    max_pictures: int = 64,
    title: str | None = None,
    ax: Axes | None = None,
) -> list[Axes]:
    """Draw weights, or contexts, as images on one scale that is symmetric around zero.

    Three channels make one colour image around grey. Two channels are side by side, off and on.
    Other numbers of channels are averaged, and the title says so.

    Args:
        weights: `[N, H, W]` or `[N, C, H, W]`.
        columns: images in a row.
        max_pictures: of more images only every k-th is drawn, and the title says so.
        title: title of the picture.
        ax: an Axes to replace by the images; None makes a figure.

    Returns:
        An Axes for each image drawn.

    Raises:
        SigpropError: if an input is empty, holds NaN or has a wrong shape.
    """
    array = checked("weights", weights, "[N, H, W] or [N, C, H, W]", 3, 4).astype(np.float64)
    if array.ndim == 3:
        array = array[:, None]
    count, channels, high, wide = array.shape
    step = thin_step(count, max_pictures, "max_pictures")
    drawn = range(0, count, step)
    words = thinned_count(count, step, "images")
    if channels == 2:
        gap = np.full((count, high, max(1, wide // 12)), np.nan)
        array = np.concatenate([array[:, 0], gap, array[:, 1]], axis=2)[:, None]
        words += ", off and on side by side"
    elif channels not in (1, 3):
        array = array.mean(axis=1, keepdims=True)
        words += f", mean of {channels:,} channels"
    aspect = array.shape[2] / array.shape[3]
    host = grid_host(ax, len(drawn), columns, aspect, head=0.08, side=0.9)
    colour = channels == 3
    panels = grid_panels(host, len(drawn), columns, width=1.0 if colour else 0.94, head=0.08)
    reach = float(np.nanmax(np.abs(array[::step]))) or 1.0
    for panel, place in zip(panels, drawn, strict=True):
        if colour:
            panel.imshow(
                0.5 + 0.5 * array[place].transpose(1, 2, 0) / reach, interpolation="nearest"
            )
        else:
            panel.imshow(
                array[place, 0], cmap=DIVERGING, vmin=-reach, vmax=reach, interpolation="nearest"
            )
    if colour:
        words += f", grey is 0, full colour ±{reach:.2g}"
    else:
        _colour_bar(host, DIVERGING, -reach, reach, "weight")
    set_title(host, with_remark(title, words), pad=6)
    return panels


def _colour_bar(host: Axes, cmap: Colormap, low: float, high: float, name: str) -> None:
    """Draw a colour bar at the right of a grid."""
    bar = host.inset_axes((0.965, 0.0, 0.012, 0.8 if host.bbox.height < 200 else 0.5))
    scale = figure_of(host).colorbar(ScalarMappable(Normalize(low, high), cmap), cax=bar)
    ticks = [low, 0.0, high] if low < 0 else [0.0, high]
    labels = [f"{tick:.2g}" if abs(tick) < 100 else f"{tick:,.0f}" for tick in ticks]
    scale.set_ticks(ticks, labels=[label.replace("-", "−") for label in labels])
    dress_colour_bar(scale, name, size=LABEL_SIZE - 0.5)
