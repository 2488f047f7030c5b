"""A network on one sample: input, every layer and readout over one time axis."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes

from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.arrays import (
    Array,
    ArrayInput,
    by_name,
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
    READOUT,
    READOUT_NAMES,
    SMALL_SIZE,
    EndLabel,
    axes_for,
    dress,
    label_ends,
    layer_colours,
    note,
    plain,
    set_title,
    stack,
    ticks,
    time_axis,
    time_scale,
    undress,
)

_MARGIN = 0.14  # fraction of the picture's width at the right of the strips
_MARGIN_PLOT = 0.5 * _MARGIN / (1 - _MARGIN)  # of a strip's width: the plot beside a strip
_GAP = 0.14
_BARS = 40
_TINY = SMALL_SIZE - 0.5


@dataclass(frozen=True)
class _Strip:
    """One layer of the picture.

    Attributes:
        name: name of the layer.
        values: `[T, N]`.
        shape: `[T, ...]`.
        kind: what the values are.
        readout: whether it is the readout.
        colour: colour of the layer.
        pitch: k, if every k-th neuron is drawn.
    """

    name: str
    values: Array
    shape: tuple[int, ...]
    kind: Literal["spikes", "events", "current", "voltage"]
    readout: bool
    colour: str
    pitch: int


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
    """Draw how one sample passes through a network, a strip for each layer.

    Spikes are ticks; beside them are the spike rate (in % of neurons and steps, or in Hz) and its
    profile over the neurons. A first entry that is constant in time or has fractions is an input
    current, drawn as an image. A first entry `[T, 2, H, W]` is events, off and on in two colours.
    A last entry `[T, C]` with fractions is the readout's membrane voltage, a trace for each class.

    Args:
        layers: `[T, ...]` for every layer, from the input to the readout, all with the same T.
        label: the sample's class, marked in the readout.
        classes: names of the classes.
        winner: the predicted class. None takes the class with the highest mean over time, or no
            class if several share it.
        step_ms: length of a time step in ms; None counts steps.
        max_neurons: of a larger layer only every k-th neuron is drawn, and its label says so.
        title: title of the picture.
        ax: an Axes to replace by the strips; None makes a figure.

    Returns:
        The strips from the input down, one Axes for each entry of `layers`.

    Raises:
        SigpropError: if an entry is empty, holds NaN or has a wrong shape, entries differ in T, or
            a class is out of range.
    """
    strips = _strips(layers, max_neurons)
    scale = time_scale(step_ms)
    heights = _heights(strips)
    host = axes_for(ax, (7.4, min(sum(heights) + _GAP * len(heights) + 0.7, 12.0)))
    set_title(host, title, size=LABEL_SIZE + 1, pad=13)
    panels = stack(host, heights, gap=_GAP, width=1.0 - _MARGIN)
    with_rate = [strip for strip in strips if _has_rate(strip)]
    highest = max((float(_profile(strip).max()) for strip in with_rate), default=0.0) or 1.0
    for strip, panel in zip(strips, panels, strict=True):
        dress(panel)
        last = panel is panels[-1]
        time_axis(panel, len(strip.values), step_ms, named=last)
        if not last:
            panel.tick_params(axis="x", length=0)
        _name(panel, strip)
        if strip.kind == "voltage":
            panel.yaxis.set_major_locator(ticks(3, least=2))
            _draw_voltage(panel, strip, scale)
        else:
            count = strip.values.shape[1]
            neuron_axis(panel, count)
            panel.set_yticks(sorted({0, count - 1}), [f"{n:,}" for n in sorted({0, count - 1})])
            panel.tick_params(axis="y", labelsize=_TINY - 1, length=2)
            draw = _draw_current if strip.kind == "current" else _draw_events_and_spikes
            draw(panel, strip, scale)
            if _has_rate(strip):
                _draw_rate(panel, strip, highest, step_ms, last=strip is with_rate[-1])
        if strip.readout:
            _mark_classes(panel, strip, label, classes, winner)
    _name_rates(panels, strips, step_ms)
    return panels


def _strips(layers: Mapping[str, ArrayInput], max_neurons: int) -> list[_Strip]:
    by_name("layers", layers, "arrays [T, ...]")
    if not layers:
        raise SigpropError("layers is empty; expected a name and an array [T, ...] per layer")
    colours = layer_colours(layers)
    strips: list[_Strip] = []
    for place, (name, values) in enumerate(layers.items()):
        array = checked(f"layers[{name!r}]", values, "[T, ...] of one sample", 1)
        if strips and array.shape[0] != strips[0].shape[0]:
            raise SigpropError(
                f"layers[{name!r}] has shape {list(array.shape)}; expected "
                f"{strips[0].shape[0]} steps first, as in layers[{strips[0].name!r}]"
            )
        flat = flatten_time(array)
        last = place == len(layers) - 1 and place > 0
        readout = last and (name in READOUT_NAMES or (array.ndim == 2 and not is_whole(flat)))
        kind = _kind(array, flat, first=place == 0, readout=readout)
        pitch = 1 if kind == "voltage" else thin_step(flat.shape[1], max_neurons, "max_neurons")
        strips.append(_Strip(name, flat, array.shape, kind, readout, colours[name], pitch))
    return strips


def _kind(
    array: Array, flat: Array, *, first: bool, readout: bool
) -> Literal["spikes", "events", "current", "voltage"]:
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
    """Return the height of each strip in inches; a thousand neurons take about twice ten."""
    heights = [
        1.35
        if strip.kind == "voltage"
        else min(0.35 + 0.3 * math.log10(strip.values.shape[1] + 1), 1.5)
        for strip in strips
    ]
    shrink = min(1.0, 10.0 / (sum(heights) + _GAP * len(heights)))
    return [height * shrink for height in heights]


def _name(panel: Axes, strip: _Strip) -> None:
    """Write name and size to the left of a strip."""
    indent = -38
    shape = " × ".join(f"{n:,}" for n in strip.shape[1:]) or "1"
    unit = "classes" if strip.readout else "values" if strip.kind == "current" else "neurons"
    if strip.kind == "events":
        unit = "pixels"
    size = shape if len(strip.shape) > 2 else f"{shape} {unit}"
    if strip.kind == "voltage":
        size = f"voltage of\n{size}"
    if strip.pitch > 1:
        size += f"\nevery {ordinal(strip.pitch)} drawn"
    note(
        panel, plain(strip.name), (0.0, 0.5), shift=(indent, 1.5), size=LABEL_SIZE,
        colour=strip.colour, ha="right", va="bottom", fontweight="bold",
    )  # fmt: skip
    note(
        panel, size, (0.0, 0.5), shift=(indent, -0.5), size=_TINY, colour=GREY, ha="right",
        va="top", linespacing=1.1,
    )  # fmt: skip


def _margin(panel: Axes) -> Axes:
    """Return a small Axes at the right of a strip."""
    margin = panel.inset_axes((1.015, 0.0, _MARGIN_PLOT, 1.0))
    undress(margin)
    margin.set_facecolor("none")
    for spine in margin.spines.values():
        spine.set_visible(False)
    return margin


def _margin_text(panel: Axes, text: str, colour: str) -> None:
    note(panel, text, (1.02 + _MARGIN_PLOT, 0.5), colour=colour, linespacing=1.2, zorder=6)


def _name_rates(panels: Sequence[Axes], strips: Sequence[_Strip], step_ms: float | None) -> None:
    """Name the numbers at the right, above the first strip of spikes."""
    unit = "Hz" if step_ms is not None else "%"
    for panel, strip in zip(panels, strips, strict=True):
        if strip.kind in ("spikes", "events") and not strip.readout:
            note(
                panel, f"spike rate ({unit})", (1.015, 1.0), shift=(0, 1), size=_TINY,
                colour=GREY, va="bottom",
            )  # fmt: skip
            return


def _draw_events_and_spikes(panel: Axes, strip: _Strip, scale: float) -> None:
    values = strip.values
    if strip.kind == "spikes":
        draw_spikes(panel, values, strip.pitch, strip.colour, scale)
        return
    if (values < 0).any():
        on, off = values > 0, values < 0
    else:
        second = np.arange(values.shape[1]) >= values.shape[1] // 2
        on, off = (values > 0) & second, (values > 0) & ~second
    for word, height, marks, colour in (("on", 0.93, on, ON), ("off", 0.07, off, OFF)):
        draw_spikes(panel, marks, strip.pitch, colour, scale, gid=f"{word} spikes")
        note(panel, word, (0.0, height), shift=(-18, 0), size=_TINY, colour=colour, ha="right")


def _has_rate(strip: _Strip) -> bool:
    return strip.kind in ("spikes", "events") and not strip.readout


def _profile(strip: _Strip) -> Array:
    """Return the spike rate of groups of neighbouring neurons, per step."""
    rate = np.abs(strip.values).mean(axis=0, dtype=np.float64)
    return np.array([part.mean() for part in np.array_split(rate, min(_BARS, rate.size))])


def _draw_rate(
    panel: Axes, strip: _Strip, highest: float, step_ms: float | None, *, last: bool
) -> None:
    """Draw the mean spike rate, and its profile over the neurons, at the right of a strip.

    All profiles have one scale from 0 to `highest`; the last one shows it.
    """
    count, bars = strip.values.shape[1], _profile(strip)
    edges = np.linspace(-0.5, count - 0.5, bars.size + 1)
    margin = _margin(panel)
    colour = GREY if strip.kind == "events" else strip.colour
    margin.barh(
        edges[:-1], bars, np.diff(edges), align="edge", color=colour, alpha=0.45, linewidth=0
    )
    margin.axvline(0, color=FAINT, linewidth=0.7)
    margin.set_ylim(panel.get_ylim())
    margin.set_xlim(0, highest)
    unit = 1000 / step_ms if step_ms is not None else 100
    if last:
        margin.set_xticks([0, highest], ["0", _short(highest * unit)])
        margin.tick_params(axis="x", labelsize=_TINY - 1, length=2, pad=1)
    mean = float(np.abs(strip.values).mean(dtype=np.float64)) * unit
    _margin_text(panel, _short(mean) if mean else "silent", INK)


def _short(rate: float) -> str:
    return f"{rate:.2g}" if rate < 1 else f"{rate:.1f}" if rate < 100 else f"{rate:,.0f}"


def _draw_current(panel: Axes, strip: _Strip, scale: float) -> None:
    values = strip.values.astype(np.float32, copy=False)
    steps, count = values.shape
    low, high = float(values.min()), float(values.max())
    reach = max(abs(low), abs(high)) or 1.0
    panel.imshow(
        values[:, :: strip.pitch].T,
        aspect="auto",
        cmap=DIVERGING if low < 0 else GREYS,
        vmin=-reach if low < 0 else 0.0,
        vmax=reach,
        interpolation="nearest",
        extent=(-0.5 * scale, (steps - 0.5) * scale, -0.5, count - 0.5),
        origin="lower",
    )
    if len(strip.shape) == 4 and strip.shape[1] in (1, 3):
        picture = strip.values.reshape(strip.shape).mean(axis=0).transpose(1, 2, 0)
        span = float(picture.max() - picture.min()) or 1.0
        margin = _margin(panel)
        margin.imshow((picture - picture.min()) / span, cmap=GREYS, vmin=0, vmax=1)
        margin.set_anchor("W")
        note(panel, "mean", (1.02 + _MARGIN_PLOT, 0.5), size=_TINY, colour=GREY)
    form = ".2f" if 0.1 <= reach < 1000 else ".2g"
    words = f"current {low:{form}} to {high:{form}}".replace("-", "−")
    if low < 0:
        words += ", below 0 brown, above 0 green"
    note(panel, words, (0.0, 1.0), shift=(0, 2), size=_TINY, colour=GREY, va="bottom")


def _draw_voltage(panel: Axes, strip: _Strip, scale: float) -> None:
    steps, count = strip.values.shape
    time = np.arange(steps) * scale
    for neuron in range(count):
        panel.plot(
            time,
            strip.values[:, neuron],
            color=FAINT,
            linewidth=0.9,
            marker="." if steps == 1 else None,
            label=f"_class {neuron}",
            zorder=2,
        )


def _mark_classes(
    panel: Axes, strip: _Strip, label: int | None, classes: Sequence[str] | None, winner: int | None
) -> None:
    """Mark the winning class, and the sample's class if it is another."""
    count = strip.values.shape[1]
    _check_classes(count, classes, {"label": label, "winner": winner})
    names = [str(name) for name in (classes if classes is not None else range(count))]
    if winner is None:
        score = strip.values.mean(axis=0, dtype=np.float64)
        best = np.flatnonzero(score == score.max())
        winner = int(best[0]) if best.size == 1 else None
    ends: list[EndLabel] = []
    if winner is not None:
        words = "predicted" if label != winner else "predicted, true"
        ends.append(_mark_class(panel, strip, winner, f"{names[winner]}: {words}", READOUT))
    if label is not None and label != winner:
        ends.append(_mark_class(panel, strip, label, f"{names[label]}: true", INK))
    if winner is None:
        known = "" if label is None else f"\ntrue: {plain(names[label])}"
        _margin_text(panel, f"tie, no class\npredicted{known}", GREY)
    else:
        if strip.kind == "voltage":  # room below the numbers of the rates, which are above labels
            low, high = panel.get_ylim()
            panel.set_ylim(low, high + 0.15 * (high - low))
        label_ends(panel, ends)


def _mark_class(panel: Axes, strip: _Strip, place: int, text: str, colour: str) -> EndLabel:
    """Mark one class, and return its label."""
    if strip.kind == "voltage":
        style = "--" if colour == INK else "-"
        panel.lines[place].set(color=colour, linewidth=1.8, linestyle=style, zorder=4)
        return float(strip.values[-1, place]), text, colour
    panel.axhspan(place - 0.5, place + 0.5, color=colour, alpha=0.18, linewidth=0, zorder=0)
    return float(place), text, colour


def _check_classes(
    count: int, names: Sequence[str] | None, places: Mapping[str, int | None]
) -> None:
    for argument, place in places.items():
        if place is not None and not 0 <= place < count:
            raise SigpropError(f"{argument} is {place}; expected a class from 0 to {count - 1}")
    if names is not None and len(names) != count:
        raise SigpropError(f"classes holds {len(names)} names; expected {count}")
