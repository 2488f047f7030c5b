"""Where the membrane voltages of every layer lie."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.arrays import Array, ArrayInput, checked
from sigprop_snn.plots.style import (
    GREY,
    INK,
    LABEL_SIZE,
    SMALL_SIZE,
    TITLE_SIZE,
    axes_for,
    dress,
    layer_colours,
    plain,
    stack,
    ticks,
)


def voltage_histogram(
    layers: Mapping[str, tuple[ArrayInput, ArrayInput]],
    *,
    ax: Axes | None = None,
    title: str | None = None,
) -> list[Axes]:
    """Draw how often the membrane voltages of each layer lie where, counted from the threshold.

    What lies above the threshold, and fires, is filled darker; its share stands beside it. The
    heights are those of the voltages' density, on a scale of each layer's own.

    Args:
        layers: For each layer the borders of the bins ``[N + 1]``, rising, 0 being the threshold,
            and how many voltages fell into each ``[N]``.
        ax: An Axes whose place the strips take; None makes a figure.
        title: Title of the picture; None says what is drawn.

    Returns:
        A strip for each layer, from the top.

    Raises:
        SigpropError: On an empty, NaN or wrongly shaped input, or borders that don't rise.
    """
    if not layers:
        raise SigpropError("layers is empty; expected edges and counts for at least one layer.")
    read = {name: _checked_bins(name, *bins) for name, bins in layers.items()}
    colours = layer_colours(layers)
    host = axes_for(ax, (6.4, 0.95 * len(layers) + 0.9))
    words = title or "membrane voltages, from the threshold"
    host.set_title(words, loc="left", fontsize=TITLE_SIZE, color=INK, pad=12)
    strips = stack(host, [1.0] * len(layers), gap=0.3)
    low = min(float(edges[0]) for edges, _ in read.values())
    high = max(float(edges[-1]) for edges, _ in read.values())
    for strip, (name, (edges, counts)) in zip(strips, read.items(), strict=True):
        last = strip is strips[-1]
        dress(strip, x_label="voltage above the threshold" if last else None)
        density = counts / np.diff(edges)
        height = float(density.max()) or 1.0
        for shade, part in ((0.35, edges[:-1] < 0), (0.9, edges[:-1] >= 0)):
            strip.stairs(
                np.where(part, density, np.nan), edges, fill=True, color=colours[name], alpha=shade
            )
        strip.axvline(0.0, color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
        strip.set_xlim(low, high)
        strip.set_ylim(0, 1.08 * height)
        strip.set_yticks([])
        strip.spines["left"].set_visible(False)
        strip.xaxis.set_major_locator(ticks(8))
        strip.tick_params(axis="x", labelbottom=last)
        _name(strip, name, colours[name], edges, counts)
    return strips


def _name(strip: Axes, name: str, colour: str, edges: Array, counts: Array) -> None:
    above = 100 * float(counts[edges[:-1] >= 0].sum()) / max(float(counts.sum()), 1.0)
    strip.text(
        0.0, 0.98, plain(name), transform=strip.transAxes, color=colour, fontsize=LABEL_SIZE,
        va="top", ha="left",
    )  # fmt: skip
    strip.text(
        1.0, 0.98, f"{above:.2g} % above", transform=strip.transAxes, color=GREY,
        fontsize=SMALL_SIZE, va="top", ha="right",
    )  # fmt: skip


def _checked_bins(name: str, edges: ArrayInput, counts: ArrayInput) -> tuple[Array, Array]:
    borders = checked(edges, f"edges of layers[{name!r}]", "[N + 1]", 1, 1).astype(np.float64)
    heights = checked(counts, f"counts of layers[{name!r}]", "[N]", 1, 1).astype(np.float64)
    if len(borders) != len(heights) + 1 or (np.diff(borders) <= 0).any() or (heights < 0).any():
        raise SigpropError(
            f"layers[{name!r}] has {len(borders)} borders and {len(heights)} counts; expected one "
            "border more than counts, borders that rise, and counts from 0."
        )
    return borders, heights
