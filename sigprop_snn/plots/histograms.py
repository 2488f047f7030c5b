"""The distribution of the membrane voltages of every layer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.arrays import Array, ArrayInput, by_name, check_pair, checked
from sigprop_snn.plots.style import (
    DASHED,
    GREY,
    INK,
    LABEL_SIZE,
    axes_for,
    dress,
    layer_colours,
    note,
    plain,
    set_title,
    stack,
    ticks,
)


def voltage_histogram(
    layers: Mapping[str, tuple[ArrayInput, ArrayInput]],
    *,
    ax: Axes | None = None,
    title: str | None = None,
) -> list[Axes]:
    """Draw the distribution of each layer's membrane voltages, relative to the threshold.

    Voltages above the threshold are darker, with their percentage as text. Each layer has a
    vertical scale for itself.

    Args:
        layers: for each layer the borders of the bins `[N + 1]`, rising, with the threshold at 0,
            and the number of voltages in each bin `[N]`.
        ax: an Axes to replace by the strips; None makes a figure.
        title: title of the picture; None gives a general one.

    Returns:
        A strip for each layer, from the top.

    Raises:
        SigpropError: if an input is empty, holds NaN or has a wrong shape, or borders don't rise.
    """
    by_name("layers", layers, "edges and counts")
    if not layers:
        raise SigpropError("layers is empty; expected edges and counts for at least one layer")
    for name, bins in layers.items():
        check_pair(f"layers[{name!r}]", bins, "edges [N + 1] and counts [N]")
    read = {name: _checked_bins(name, *bins) for name, bins in layers.items()}
    colours = layer_colours(layers)
    host = axes_for(ax, (6.4, 0.95 * len(layers) + 0.9))
    set_title(
        host, "membrane voltages relative to the threshold" if title is None else title, pad=12
    )
    strips = stack(host, [1.0] * len(layers), gap=0.3)
    low = min(float(edges[0]) for edges, _ in read.values())
    high = max(float(edges[-1]) for edges, _ in read.values())
    strips[0].set_xlim(low, high)
    for strip, (name, (edges, counts)) in zip(strips, read.items(), strict=True):
        last = strip is strips[-1]
        dress(strip, x_label="voltage − threshold" if last else None)
        _draw_bins(strip, edges, counts, colours[name])
        strip.xaxis.set_major_locator(ticks(8))
        strip.tick_params(axis="x", labelbottom=last)
        above = 100 * float(counts[edges[:-1] >= 0].sum()) / max(float(counts.sum()), 1.0)
        note(strip, plain(name), (0.0, 0.98), size=LABEL_SIZE, colour=colours[name], va="top")
        note(strip, f"{above:.2g} % above", (1.0, 0.98), colour=GREY, ha="right", va="top")
    return strips


def _draw_bins(strip: Axes, edges: Array, counts: Array, colour: str) -> None:
    density = counts / np.diff(edges)
    for shade, part in ((0.35, edges[:-1] < 0), (0.9, edges[:-1] >= 0)):
        strip.stairs(np.where(part, density, np.nan), edges, fill=True, color=colour, alpha=shade)
    strip.axvline(0.0, color=INK, linewidth=0.8, linestyle=DASHED)
    strip.set_ylim(0, 1.08 * (float(density.max()) or 1.0))
    strip.set_yticks([])
    strip.spines["left"].set_visible(False)


def _checked_bins(name: str, edges: ArrayInput, counts: ArrayInput) -> tuple[Array, Array]:
    borders = checked(f"edges of layers[{name!r}]", edges, "[N + 1]", 1, 1).astype(np.float64)
    heights = checked(f"counts of layers[{name!r}]", counts, "[N]", 1, 1).astype(np.float64)
    if len(borders) != len(heights) + 1 or (np.diff(borders) <= 0).any() or (heights < 0).any():
        raise SigpropError(
            f"layers[{name!r}] has {len(borders)} borders and {len(heights)} counts; expected one "
            "border more than counts, borders that rise, and counts from 0"
        )
    return borders, heights
