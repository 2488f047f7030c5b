"""Membrane voltage over time: a few neurons of a layer, or neuron models side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.arrays import Array, ArrayInput, checked, checked_spikes, flatten_time
from sigprop_snn.plots.arrays import same_shape as check_same_shape
from sigprop_snn.plots.style import (
    GREY,
    INK,
    LABEL_SIZE,
    PALETTE,
    SMALL_SIZE,
    TITLE_SIZE,
    axes_for,
    dress,
    layer_colours,
    stack,
    time_axis,
    time_scale,
)

_APART = 0.22  # share of a lane's height that two labels need


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
        voltage: ``[T, N]`` or ``[T, ...]``, before the reset.
        spikes: Of the same shape; None draws no spikes.
        threshold: The threshold.
        neurons: Which neurons, by index past time; or how many, of which those that spike come
            first, from the busiest to the quietest.
        ax: An Axes whose place the lanes take; None makes a figure.
        title: Title of the picture; None says what is drawn.
        step_ms: Length of a time step in ms; None counts steps.
        colour: Colour of the traces.

    Returns:
        The lanes from the top.

    Raises:
        SigpropError: On an empty, NaN or wrongly shaped input, or a neuron that isn't there.
    """
    volts = flatten_time(checked(voltage, "voltage", "[T, N] or [T, ...]", 1))
    marks: Array | None = None
    if spikes is not None:
        check_same_shape(
            checked(spikes, "spikes", "the shape of voltage", 1),
            "spikes",
            checked(voltage, "voltage", "[T, N] or [T, ...]", 1),
            "voltage",
        )
        marks = checked_spikes(spikes, "spikes")
    _check_threshold(threshold)
    chosen = _choose(volts, marks, neurons)
    steps = volts.shape[0]
    host = axes_for(ax, (6.4, 0.75 * len(chosen) + 0.9))
    host.set_title(title or "membrane voltage", loc="left", fontsize=TITLE_SIZE, color=INK, pad=12)
    lanes = stack(host, [1.0] * len(chosen), gap=0.22)
    for lane, neuron in zip(lanes, chosen, strict=True):
        dress(lane)
        _lane(
            lane,
            volts[:, neuron],
            None if marks is None else marks[:, neuron],
            threshold,
            colour,
            time_scale(step_ms),
        )
        _lane_name(lane, f"neuron {neuron:,}", INK)
        last = lane is lanes[-1]
        time_axis(lane, steps, step_ms, named=last)
        _quiet_time(lane, last)
    _name_threshold(lanes[0], threshold)
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
        traces: Voltage ``[T]`` and spikes ``[T]`` for the name of each model.
        current: The input current ``[T]``.
        threshold: A threshold that the models share; None draws none.
        ax: An Axes whose place the lanes take; None makes a figure.
        title: Title of the picture.
        step_ms: Length of a time step in ms; None counts steps.

    Returns:
        The lane of the current, then those of the models.

    Raises:
        SigpropError: On an empty, NaN or wrongly shaped input.
    """
    drive = checked(current, "current", "[T]", 1, 1)
    if not traces:
        raise SigpropError("traces is empty; expected voltage [T] and spikes [T] per name.")
    if threshold is not None:
        _check_threshold(threshold)
    pairs: dict[str, tuple[Array, Array]] = {}
    for name, (voltage, spikes) in traces.items():
        volts = checked(voltage, f"voltage of traces[{name!r}]", "[T]", 1, 1)
        marks = checked(spikes, f"spikes of traces[{name!r}]", "[T]", 1, 1)
        check_same_shape(volts, f"voltage of traces[{name!r}]", drive, "current")
        check_same_shape(marks, f"spikes of traces[{name!r}]", drive, "current")
        pairs[name] = volts, marks
    scale, steps = time_scale(step_ms), drive.size
    host = axes_for(ax, (6.8, 0.85 * len(pairs) + 1.7))
    if title is not None:
        host.set_title(title, loc="left", fontsize=TITLE_SIZE, color=INK, pad=12)
    lanes = stack(host, [0.7] + [1.0] * len(pairs), gap=0.24, width=0.9)
    dress(lanes[0])
    time = np.arange(steps) * scale
    lanes[0].fill_between(time, drive, step="mid", color=GREY, alpha=0.25, linewidth=0)
    lanes[0].step(time, drive, where="mid", color=GREY, linewidth=1.0, label="current")
    lanes[0].set_yticks(sorted({0.0, float(f"{drive.max():.2g}")}))
    lanes[0].margins(y=0.15)
    _lane_name(lanes[0], "current", GREY)
    colours = layer_colours(pairs)
    for lane, (name, (volts, marks)) in zip(lanes[1:], pairs.items(), strict=True):
        dress(lane)
        _lane(lane, volts, marks, threshold, colours[name], scale)
        _lane_name(lane, name, colours[name])
        count = int((marks > 0).sum())
        lane.text(
            1.015,
            0.86,
            f"{count:,} spike{'' if count == 1 else 's'}",
            transform=lane.transAxes,
            va="center",
            fontsize=SMALL_SIZE,
            color=INK,
        )
    for lane in lanes:
        last = lane is lanes[-1]
        time_axis(lane, steps, step_ms, named=last)
        _quiet_time(lane, last)
    if threshold is not None:
        _name_threshold(lanes[1], threshold)
    return lanes


def _check_threshold(threshold: float) -> None:
    if not np.isfinite(threshold):
        raise SigpropError(f"threshold is {threshold}; expected a finite number.")


def _choose(volts: Array, spikes: Array | None, neurons: int | Sequence[int]) -> list[int]:
    count = volts.shape[1]
    if not isinstance(neurons, int):
        chosen = [int(n) for n in neurons]
        for neuron in chosen:
            if not 0 <= neuron < count:
                raise SigpropError(
                    f"neurons holds {neuron}; expected indices from 0 to {count - 1}."
                )
        if not chosen:
            raise SigpropError("neurons is empty; expected at least one index.")
        return chosen
    if neurons < 1:
        raise SigpropError(f"neurons is {neurons}; expected at least 1.")
    wanted = min(neurons, count)
    peak = volts.max(axis=0)
    busy = np.zeros(count) if spikes is None else (spikes > 0).sum(axis=0)
    order = np.lexsort((-peak, -busy))
    spiking = int((busy > 0).sum())
    if spiking <= wanted:
        return [int(n) for n in order[:wanted]]
    # Evenly spaced ranks show the quiet neurons beside the busy ones.
    return [int(order[rank]) for rank in np.linspace(0, spiking - 1, wanted).round().astype(int)]


def _lane(
    lane: Axes,
    volts: Array,
    spikes: Array | None,
    threshold: float | None,
    colour: str,
    scale: float,
) -> None:
    """Draw one trace with its threshold, and its spikes as ticks above."""
    time = np.arange(volts.size) * scale
    few = volts.size <= 40
    lane.plot(
        time,
        volts,
        color=colour,
        linewidth=1.2,
        marker="o" if few else None,
        markersize=2.4,
        label="voltage",
    )
    low, high = min(float(volts.min()), 0.0), float(volts.max())
    if threshold is not None:
        lane.axhline(
            threshold, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), label="threshold", zorder=1
        )
        low, high = min(low, threshold), max(high, threshold)
    span = (high - low) or 1.0
    lane.set_ylim(low - 0.1 * span, high + 0.42 * span)
    ticks = [0.0] if threshold is None else sorted({0.0, float(threshold)})
    if threshold is not None and abs(threshold) < _APART * span:
        ticks = [float(threshold)]  # the two would be written over each other
    lane.set_yticks(ticks)
    lane.set_yticklabels([f"{tick:g}" for tick in ticks])
    if spikes is not None:
        when = np.flatnonzero(spikes > 0) * scale
        marks = lane.vlines(
            when, high + 0.16 * span, high + 0.38 * span, color=INK, linewidth=1.3, label="spikes"
        )
        marks.set_gid("spikes")


def _lane_name(lane: Axes, name: str, colour: str) -> None:
    lane.set_ylabel(
        name,
        rotation=0,
        ha="right",
        va="center",
        fontsize=LABEL_SIZE,
        color=colour,
        labelpad=8,
    )


def _name_threshold(lane: Axes, threshold: float) -> None:
    """Name the dashed line once, at the right of the first lane."""
    lane.annotate(
        "threshold",
        (1.015, threshold),
        xycoords=lane.get_yaxis_transform(),
        ha="left",
        va="center",
        fontsize=SMALL_SIZE,
        color=GREY,
    )


def _quiet_time(lane: Axes, last: bool) -> None:
    """Keep the time axis to the last lane alone."""
    if not last:
        lane.spines["bottom"].set_visible(False)
        lane.tick_params(axis="x", which="both", length=0)
