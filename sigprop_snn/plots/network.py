"""A whole network at work on one sample: input, every layer and readout, one time axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.arrays import (
    Array,
    ArrayInput,
    checked,
    flatten_time,
    is_whole,
    ordinal,
    thin_step,
)
from sigprop_snn.plots.rasters import draw_spikes, neuron_axis
from sigprop_snn.plots.style import (
    DIVERGING,
    FAINT,
    GREY,
    GREYS,
    INK,
    LABEL_SIZE,
    OFF,
    ON,
    PALETTE,
    READOUT_NAMES,
    SMALL_SIZE,
    axes_for,
    dress,
    label_ends,
    layer_colours,
    plain,
    stack,
    ticks,
    time_axis,
    time_scale,
    undress,
)

_MARGIN = 0.14
_BARS = 40


@dataclass(frozen=True)
class _Strip:
    """One layer of the stack; ``kind`` is spikes, events, current or voltage."""

    name: str
    values: Array
    shape: tuple[int, ...]
    kind: str
    readout: bool
    colour: str


def network_raster(
    layers: Mapping[str, ArrayInput],
    *,
    label: int | None = None,
    classes: Sequence[str] | None = None,
    winner: int | None = None,
    step_ms: float | None = None,
    max_neurons: int = 500,
    title: str | None = None,
    ax: Axes | None = None,
) -> list[Axes]:
    """Draw one sample on its way through a network, a strip for each layer.

    Spikes are ticks, with the spike rate (in % of neurons and steps, or in Hz) and its profile over
    the neurons in the margin. A
    first entry that is constant in time or has fractions is an input current and drawn as an
    intensity image; one of shape ``[T, 2, H, W]`` is events, off and on in two colours. A last
    entry ``[T, C]`` with fractions is the readout's membrane voltage, drawn as a trace for each
    class.

    Args:
        layers: ``[T, ...]`` for every layer, from the input to the readout, all of one T.
        label: The sample's class, marked in the readout.
        classes: Names of the classes.
        winner: The predicted class. None takes the class with the highest mean over time, or
            none where several share it.
        step_ms: Length of a time step in ms; None counts steps.
        max_neurons: A larger layer is thinned to every k-th neuron, as its label then says.
        title: Title of the picture.
        ax: An Axes whose place the strips take; None makes a figure.

    Returns:
        The strips from the input down, one Axes for each entry of ``layers``.

    Raises:
        SigpropError: On an empty, NaN or wrongly shaped entry, or entries that differ in T.
    """
    strips = _strips(layers)
    steps = strips[0].values.shape[0]
    scale = time_scale(step_ms)
    heights = _heights(strips)
    host = axes_for(ax, (7.4, min(sum(heights) + 0.14 * len(heights) + 0.7, 12.0)))
    if title is not None:
        host.set_title(title, loc="left", fontsize=LABEL_SIZE + 1, color=INK, pad=13)
    panels = stack(host, heights, gap=0.14, width=1.0 - _MARGIN)
    for strip, panel in zip(strips, panels, strict=True):
        dress(panel)
        last = panel is panels[-1]
        time_axis(panel, steps, step_ms, named=last)
        if not last:
            panel.tick_params(axis="x", length=0)
        if strip.kind == "voltage":
            panel.yaxis.set_major_locator(ticks(3))
        else:
            neuron_axis(panel, strip.values.shape[1])
            panel.set_yticks([])
        pitch = 1
        if strip.kind != "voltage":
            pitch = thin_step(strip.values.shape[1], max_neurons, "max_neurons")
        _name(panel, strip, pitch)
        if strip.kind == "current":
            _draw_current(panel, strip, pitch, scale)
        elif strip.kind == "voltage":
            _draw_voltage(panel, strip, scale)
        else:
            _draw_strip_spikes(panel, strip, pitch, scale, step_ms)
        if strip.readout:
            _mark_classes(panel, strip, label, classes, winner)
    _head(panels, strips, step_ms)
    return panels


def _strips(layers: Mapping[str, ArrayInput]) -> list[_Strip]:
    if not layers:
        raise SigpropError("layers is empty; expected a name and an array [T, ...] per layer.")
    colours = layer_colours(layers)
    strips: list[_Strip] = []
    for place, (name, values) in enumerate(layers.items()):
        array = checked(values, f"layers[{name!r}]", "[T, ...] of one sample", 1)
        if strips and array.shape[0] != strips[0].shape[0]:
            raise SigpropError(
                f"layers[{name!r}] has shape {list(array.shape)}; expected "
                f"{strips[0].shape[0]} steps first, as in layers[{strips[0].name!r}]."
            )
        flat = flatten_time(array)
        last = place == len(layers) - 1 and place > 0
        readout = last and (name in READOUT_NAMES or (array.ndim == 2 and not is_whole(flat)))
        kind = _kind(array, flat, first=place == 0, readout=readout)
        strips.append(_Strip(name, flat, array.shape, kind, readout, colours[name]))
    return strips


def _kind(array: Array, flat: Array, *, first: bool, readout: bool) -> str:
    whole = is_whole(flat)
    if readout and not whole:
        return "voltage"
    constant = flat.shape[0] > 1 and bool((flat == flat[:1]).all()) and bool((flat != 0).any())
    if not whole or (first and constant):
        return "current"
    if first and ((array.ndim == 4 and array.shape[1] == 2) or bool((flat < 0).any())):
        return "events"
    return "spikes"


def _heights(strips: Sequence[_Strip]) -> list[float]:
    """Inches for each strip: a layer of a thousand neurons is about twice one of ten."""
    heights = []
    for strip in strips:
        if strip.kind == "voltage":
            heights.append(1.35)
        else:
            heights.append(min(0.35 + 0.3 * math.log10(strip.values.shape[1] + 1), 1.5))
    shrink = min(1.0, 10.0 / (sum(heights) + 0.14 * len(heights)))
    return [height * shrink for height in heights]


def _name(panel: Axes, strip: _Strip, pitch: int) -> None:
    """Write name and size to the left of a strip."""
    indent = -38 if strip.kind == "voltage" else -7
    shape = " × ".join(f"{n:,}" for n in strip.shape[1:]) or "1"
    unit = "classes" if strip.readout else "values" if strip.kind == "current" else "neurons"
    if strip.kind == "events":
        unit = "pixels"
    size = shape if len(strip.shape) > 2 else f"{shape} {unit}"
    if strip.kind == "voltage":
        size = f"voltage of\n{size}"
    if pitch > 1:
        size += f"\nevery {ordinal(pitch)} drawn"
    panel.annotate(
        plain(strip.name),
        (0.0, 0.5),
        xycoords="axes fraction",
        xytext=(indent, 1.5),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=LABEL_SIZE,
        fontweight="bold",
        color=strip.colour,
    )
    panel.annotate(
        size,
        (0.0, 0.5),
        xycoords="axes fraction",
        xytext=(indent, -0.5),
        textcoords="offset points",
        ha="right",
        va="top",
        fontsize=SMALL_SIZE - 0.5,
        color=GREY,
        linespacing=1.1,
    )


def _margin(panel: Axes) -> Axes:
    """Return a small Axes in the margin beside a strip; the strip is 1 wide."""
    margin = panel.inset_axes((1.015, 0.0, _MARGIN / (1 - _MARGIN) * 0.5, 1.0))
    undress(margin)
    margin.set_facecolor("none")
    for spine in margin.spines.values():
        spine.set_visible(False)
    return margin


def _head(panels: Sequence[Axes], strips: Sequence[_Strip], step_ms: float | None) -> None:
    """Say once, above the first margin with spikes, what stands there."""
    unit = "Hz" if step_ms is not None else "%"
    for panel, strip in zip(panels, strips, strict=True):
        if strip.kind in ("spikes", "events") and not strip.readout:
            panel.annotate(
                f"spike rate ({unit})",
                (1.015, 1.0),
                xycoords="axes fraction",
                xytext=(0, 1),
                textcoords="offset points",
                ha="left",
                va="bottom",
                fontsize=SMALL_SIZE - 0.5,
                color=GREY,
            )
            return


def _margin_text(panel: Axes, text: str, colour: str) -> None:
    panel.text(
        1.02 + _MARGIN / (1 - _MARGIN) * 0.5,
        0.5,
        text,
        transform=panel.transAxes,
        ha="left",
        va="center",
        fontsize=SMALL_SIZE,
        color=colour,
        linespacing=1.2,
        zorder=6,
    )


def _draw_strip_spikes(
    panel: Axes, strip: _Strip, pitch: int, scale: float, step_ms: float | None
) -> None:
    values = strip.values
    if strip.kind == "events":
        if (values < 0).any():
            on, off = values > 0, values < 0
        else:
            half = values.shape[1] // 2
            index = np.arange(values.shape[1])
            on, off = (values > 0) & (index >= half), (values > 0) & (index < half)
        draw_spikes(panel, on, pitch, ON, scale, gid="on spikes")
        draw_spikes(panel, off, pitch, OFF, scale, gid="off spikes")
        for word, height, colour in (("off", 0.93, OFF), ("on", 0.07, ON)):
            panel.annotate(
                word,
                (0.0, height),
                xycoords="axes fraction",
                xytext=(-7, 0),
                textcoords="offset points",
                fontsize=SMALL_SIZE - 0.5,
                color=colour,
                ha="right",
                va="center",
            )
    else:
        draw_spikes(panel, values, pitch, strip.colour, scale)
    if strip.readout:
        return
    rate = np.abs(values).mean(axis=0, dtype=np.float64)
    bars = np.array([part.mean() for part in np.array_split(rate, min(_BARS, rate.size))])
    edges = np.linspace(-0.5, rate.size - 0.5, bars.size + 1)
    margin = _margin(panel)
    margin.barh(
        edges[:-1],
        bars,
        height=np.diff(edges),
        align="edge",
        color=GREY if strip.kind == "events" else strip.colour,
        alpha=0.45,
        linewidth=0,
    )
    margin.axvline(0, color=FAINT, linewidth=0.7)
    margin.set_ylim(panel.get_ylim())
    margin.set_xlim(0, float(bars.max()) or 1.0)
    mean = float(rate.mean())
    shown = mean * 1000 / step_ms if step_ms is not None else 100 * mean
    text = f"{shown:.2g}" if shown < 1 else f"{shown:.1f}" if shown < 100 else f"{shown:,.0f}"
    _margin_text(panel, "silent" if mean == 0 else text, INK)


def _draw_current(panel: Axes, strip: _Strip, pitch: int, scale: float) -> None:
    values = strip.values.astype(np.float32, copy=False)
    steps, count = values.shape
    low, high = float(values.min()), float(values.max())
    reach = max(abs(low), abs(high)) or 1.0
    panel.imshow(
        values[:, ::pitch].T,
        aspect="auto",
        cmap=DIVERGING if low < 0 else GREYS,
        vmin=-reach if low < 0 else 0.0,
        vmax=reach,
        interpolation="nearest",
        extent=(-0.5 * scale, (steps - 0.5) * scale, count - 0.5, -0.5),
    )
    if strip.kind == "current" and len(strip.shape) == 4 and strip.shape[1] in (1, 3):
        picture = strip.values.reshape(strip.shape).mean(axis=0).transpose(1, 2, 0)
        span = float(picture.max() - picture.min()) or 1.0
        margin = _margin(panel)
        margin.imshow((picture - picture.min()) / span, cmap=GREYS, vmin=0, vmax=1)
        margin.set_anchor("W")
    else:
        form = ".2f" if 0.1 <= reach < 1000 else ".2g"
        _margin_text(panel, f"current\n{low:{form}} to {high:{form}}".replace("-", "−"), GREY)


def _draw_voltage(panel: Axes, strip: _Strip, scale: float) -> None:
    steps, count = strip.values.shape
    marker = "." if steps == 1 else None
    for neuron in range(count):
        panel.plot(
            np.arange(steps) * scale,
            strip.values[:, neuron],
            color=FAINT,
            linewidth=0.9,
            marker=marker,
            label=f"_class {neuron}",
            zorder=2,
        )


def _mark_classes(
    panel: Axes,
    strip: _Strip,
    label: int | None,
    classes: Sequence[str] | None,
    winner: int | None,
) -> None:
    """Mark the winning class, and the true one where they differ."""
    count = strip.values.shape[1]
    for name, place in (("label", label), ("winner", winner)):
        if place is not None and not 0 <= place < count:
            raise SigpropError(f"{name} is {place}; expected a class from 0 to {count - 1}.")
    if classes is not None and len(classes) != count:
        raise SigpropError(f"classes holds {len(classes)} names; expected {count}.")
    score = strip.values.mean(axis=0, dtype=np.float64)
    best = np.flatnonzero(score == score.max())
    if winner is None and best.size == 1:
        winner = int(best[0])
    marks: list[tuple[int, str, str]] = []
    if winner is not None:
        word = "wins" if label is None else "wins, right" if label == winner else "wins, wrong"
        wrong = label is not None and label != winner
        marks.append((winner, word, OFF if wrong else PALETTE[2]))
    if label is not None and label != winner:
        marks.append((label, "is the label", INK))
    ends: list[tuple[float, str, str]] = []
    for place, word, colour in marks:
        name = str(place) if classes is None else str(classes[place])
        if strip.kind == "voltage":
            line = panel.lines[place]
            line.set(color=colour, linewidth=1.8, zorder=4)
            ends.append((float(strip.values[-1, place]), f"{name} {word}", colour))
        else:
            panel.axhspan(place - 0.5, place + 0.5, color=colour, alpha=0.18, linewidth=0, zorder=0)
            ends.append((float(place), f"{name} {word}", colour))
    if winner is None:
        named = str(label) if classes is None or label is None else plain(str(classes[label]))
        said = "" if label is None else f"\nlabel {named}"
        _margin_text(panel, f"tie, no winner{said}", GREY)
    else:
        label_ends(panel, ends)
