"""Membrane voltage over time: a few neurons of a layer, or neuron models side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from sigprop_snn.arguments import axes, number
from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.arrays import (
    Array,
    ArrayInput,
    checked,
    checked_pairs,
    checked_spikes,
    flatten_time,
    same_shape,
)
from sigprop_snn.plots.style import (
    GREY,
    INK,
    LABEL_SIZE,
    PALETTE,
    axes_for,
    check_colour,
    dress,
    layer_colours,
    note,
    set_title,
    stack,
    time_axis,
    time_scale,
)

_LABEL_SPACE = 0.3  # fraction of a lane's height that two tick labels need


def voltage_traces(
    voltage: ArrayInput,
    spikes: ArrayInput | None = None,
    threshold: float = 1.0,
    neurons: int | Sequence[int] = 5,
    *,
    ax: Axes | None = None,
    title: str | None = None,
    step_ms: float | None = None,
    colour: str = PALETTE[0],
) -> list[Axes]:
    """Draw the membrane voltage of a few neurons, with threshold and spikes, a lane for each.

    Args:
        voltage: `[T, N]` or `[T, ...]`, before the reset.
        spikes: spikes of the same shape; None draws no spikes.
        threshold: the threshold.
        neurons: the indices of the neurons in `[N]`, or their number. A number chooses the neurons
            that spike first, from the busiest to the quietest.
        ax: an Axes to replace by the lanes; None makes a figure.
        title: title of the picture; None gives a general one.
        step_ms: length of a time step in ms; None counts steps.
        colour: colour of the traces.

    Returns:
        The lanes from the top.

    Raises:
        SigpropError: if an input is empty, holds NaN or has a wrong shape, or an index is out of
            range.
    """
    given = checked("voltage", voltage, "[T, N] or [T, ...]", 1)
    volts = flatten_time(given)
    marks: Array | None = None
    if spikes is not None:
        same_shape("spikes", checked("spikes", spikes, "the shape of voltage", 1), "voltage", given)
        marks = checked_spikes("spikes", spikes)
    _check_threshold(threshold)
    check_colour(colour)
    chosen = _choose(volts, marks, neurons)
    scale = time_scale(step_ms)
    host = axes_for(ax, (6.4, 0.75 * len(chosen) + 0.9))
    set_title(host, "membrane voltage" if title is None else title, pad=12)
    lanes = stack(host, [1.0] * len(chosen), gap=0.22)
    for lane, neuron in zip(lanes, chosen, strict=True):
        dress(lane)
        fired = None if marks is None else marks[:, neuron]
        _draw_lane(lane, volts[:, neuron], fired, threshold, colour, scale)
        _name_lane(lane, _neuron_name(neuron, given.shape[1:]), INK)
        _name_threshold(lane, threshold)
    _time_below(lanes, len(volts), step_ms)
    _name_scale(lanes[0])
    return lanes


def neuron_comparison(
    traces: Mapping[str, tuple[ArrayInput, ArrayInput]],
    current: ArrayInput,
    *,
    threshold: float | None = None,
    ax: Axes | None = None,
    title: str | None = None,
    step_ms: float | None = None,
) -> list[Axes]:
    """Compare neuron models under one current: the current on top, then a lane for each model.

    Args:
        traces: voltage `[T]` and spikes `[T]` for the name of each model.
        current: the input current `[T]`.
        threshold: a threshold that the models share; None draws none.
        ax: an Axes to replace by the lanes; None makes a figure.
        title: title of the picture.
        step_ms: length of a time step in ms; None counts steps.

    Returns:
        The lane of the current, then those of the models.

    Raises:
        SigpropError: if an input is empty, holds NaN or has a wrong shape.
    """
    flow = checked("current", current, "[T]", 1, 1)
    pairs = checked_pairs("traces", traces, ("voltage", "spikes"), "current", flow, "[T]")
    if threshold is not None:
        _check_threshold(threshold)
    scale = time_scale(step_ms)
    host = axes_for(ax, (6.8, 0.85 * len(pairs) + 1.7))
    set_title(host, title, pad=12)
    lanes = stack(host, [0.7] + [1.0] * len(pairs), gap=0.24, width=0.9)
    _draw_current(lanes[0], flow, scale)
    colours = layer_colours(pairs)
    for lane, (name, (volts, spikes)) in zip(lanes[1:], pairs.items(), strict=True):
        dress(lane)
        _draw_lane(lane, volts, spikes, threshold, colours[name], scale)
        _name_lane(lane, name, colours[name])
        count = int((spikes > 0).sum())
        note(lane, f"{count:,} spike{'' if count == 1 else 's'}", (1.015, 0.86))
        if threshold is not None:
            _name_threshold(lane, threshold)
    _time_below(lanes, flow.size, step_ms)
    _name_scale(lanes[1])
    return lanes


def _check_threshold(threshold: float) -> None:
    number("threshold", threshold)


def _choose(volts: Array, spikes: Array | None, neurons: int | Sequence[int]) -> list[int]:
    count = volts.shape[1]
    if not isinstance(neurons, int | np.integer):
        chosen = list(axes("neurons", neurons))
        for neuron in chosen:
            if not 0 <= neuron < count:
                raise SigpropError(
                    f"neurons holds {neuron}; expected indices from 0 to {count - 1}"
                )
        if not chosen:
            raise SigpropError("neurons is empty; expected at least one index")
        return chosen
    if neurons < 1:
        raise SigpropError(f"neurons is {neurons}; expected at least 1")
    wanted = min(neurons, count)
    peak = volts.max(axis=0)
    busy = np.zeros(count) if spikes is None else (spikes > 0).sum(axis=0)
    order = np.lexsort((-peak, -busy))
    spiking = int((busy > 0).sum())
    if spiking <= wanted:
        return [int(n) for n in order[:wanted]]
    # Evenly spaced ranks include quiet neurons as well as busy ones.
    return [int(order[rank]) for rank in np.linspace(0, spiking - 1, wanted).round().astype(int)]


def _draw_current(lane: Axes, current: Array, scale: float) -> None:
    dress(lane)
    time = np.arange(current.size) * scale
    lane.fill_between(time, current, step="mid", color=GREY, alpha=0.25, linewidth=0)
    lane.step(time, current, where="mid", color=GREY, linewidth=1.0, label="current")
    lane.set_yticks(sorted({0.0, float(f"{current.max():.2g}")}))
    lane.margins(y=0.15)
    _name_lane(lane, "current", GREY)


def _draw_lane(
    lane: Axes,
    volts: Array,
    spikes: Array | None,
    threshold: float | None,
    colour: str,
    scale: float,
) -> None:
    """Draw one trace with its threshold, and its spikes as ticks above."""
    lane.plot(
        np.arange(volts.size) * scale,
        volts,
        color=colour,
        linewidth=1.2,
        marker="o" if volts.size <= 40 else None,
        markersize=2.4,
        label="voltage",
    )
    low, high = min(float(volts.min()), 0.0), float(volts.max())
    wanted = [0.0, low, high]
    if threshold is not None:
        lane.axhline(
            threshold, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), label="threshold", zorder=1
        )
        low, high = min(low, threshold), max(high, threshold)
        wanted = [float(threshold), *wanted]
    span = (high - low) or 1.0
    lane.set_ylim(low - 0.1 * span, high + 0.42 * span)
    ticks = _apart([float(f"{value:.2g}") for value in wanted], _LABEL_SPACE * span)
    lane.set_yticks(ticks, [f"{tick:g}".replace("-", "−") for tick in ticks])
    if spikes is not None:
        when = np.flatnonzero(spikes > 0) * scale
        bottom, top = high + 0.16 * span, high + 0.38 * span
        marks = lane.vlines(when, bottom, top, color=INK, linewidth=1.3, label="spikes")
        marks.set_gid("spikes")


def _apart(values: Sequence[float], least: float) -> list[float]:
    """Return the values that are `least` apart from those before them, in rising order."""
    kept: list[float] = []
    for value in values:
        if all(abs(value - other) >= least for other in kept):
            kept.append(value)
    return sorted(kept)


def _name_lane(lane: Axes, name: str, colour: str) -> None:
    lane.set_ylabel(
        name, rotation=0, ha="right", va="center", fontsize=LABEL_SIZE, color=colour, labelpad=8
    )


def _neuron_name(neuron: int, shape: tuple[int, ...]) -> str:
    """Return the name of a neuron by its index; of a feature map by map and position."""
    if len(shape) == 3:
        channel, y, x = (int(place) for place in np.unravel_index(neuron, shape))
        return f"map {channel}\ny {y}, x {x}"
    return f"neuron {neuron:,}"


def _name_threshold(lane: Axes, threshold: float) -> None:
    """Name the dashed line at the right of a lane."""
    transform = lane.get_yaxis_transform()
    note(lane, f"threshold {threshold:g}", (1.015, threshold), coords=transform, colour=GREY)


def _name_scale(lane: Axes) -> None:
    """Name the numbers on the vertical axes, above the first lane of voltages."""
    note(lane, "voltage", (0.0, 1.0), shift=(-3, 1), colour=GREY, ha="right", va="bottom")


def _time_below(lanes: Sequence[Axes], steps: int, step_ms: float | None) -> None:
    """Show the time axis below the last lane only."""
    for lane in lanes:
        last = lane is lanes[-1]
        time_axis(lane, steps, step_ms, named=last)
        if not last:
            lane.spines["bottom"].set_visible(False)
            lane.tick_params(axis="x", which="both", length=0)
