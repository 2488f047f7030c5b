"""Accuracy and loss of every layer over the epochs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.arrays import Array, number, records
from sigprop_snn.plots.style import (
    INK,
    TITLE_SIZE,
    EndLabel,
    axes_for,
    draw_line,
    dress,
    figure_of,
    label_ends,
    layer_colours,
    set_title,
    ticks,
)

_Place = tuple[float, float, float, float]

_EACH = 3.0  # inches that a panel and its labels need


def learning_curves(
    history: Sequence[Mapping[str, Any]], *, ax: Axes | None = None, title: str | None = None
) -> list[Axes]:
    """Draw the network's accuracy over the epochs, and accuracy, loss and spike rate of each layer.

    Args:
        history: a record for each epoch as in `metrics.jsonl`: `epoch`, `train_accuracy`,
            `test_accuracy`, `loss` and `layers`, a list of `name`, `accuracy`, `loss` and
            `spike_rate`. Accuracies and rates are fractions. A value that is missing or None is a
            gap.
        ax: an Axes to replace by the panels: side by side, or one below the other where it is
            narrow. None makes a figure.
        title: title of the picture.

    Returns:
        The panels of the accuracy and of the loss, and that of the spike rate if any is known.

    Raises:
        SigpropError: if the history is empty, or holds NaN or a value that isn't a number.
    """
    records("history", history)
    if len(history) == 0:
        raise SigpropError("history is empty; expected a record for at least one epoch")
    epochs = np.array(
        [number(f"history[{i}]['epoch']", r.get("epoch"), i) for i, r in enumerate(history)]
    )
    layers = _layers(history)
    names = dict.fromkeys(name for by_name in layers for name in by_name)
    rates = {name: 100 * _layer_series(layers, name, "spike_rate") for name in names}
    rated = any(np.isfinite(series).any() for series in rates.values())
    count = 3 if rated else 2
    host = axes_for(ax, (10.8 if rated else 8.6, 3.4))
    host.set_axis_off()
    set_title(host, title, size=TITLE_SIZE + 1, pad=22)
    panels = [_Panel(host.inset_axes(place), epochs) for place in _places(host, count)]
    accuracy, loss = panels[:2]
    dress(accuracy.ax, title="accuracy (%)", x_label="epoch", grid="y")
    dress(loss.ax, title="loss", x_label="epoch", grid="y")
    for name, colour in layer_colours(names).items():
        accuracy.add(100 * _layer_series(layers, name, "accuracy"), name, colour, ".1f", width=1.2)
        loss.add(_layer_series(layers, name, "loss"), name, colour, ".3g", width=1.2)
        if rated:
            panels[2].add(rates[name], name, colour, ".2g", width=1.2)
    accuracy.add(100 * _series(history, "test_accuracy"), "network, test", INK, ".1f", width=2.0)
    accuracy.add(
        100 * _series(history, "train_accuracy"),
        "network, train",
        INK,
        ".1f",
        width=1.4,
        dashed=True,
    )
    if not names:
        loss.add(_series(history, "loss"), "network", INK, ".3g", width=1.6)
    if rated:
        dress(panels[2].ax, title="spike rate (%)", x_label="epoch", grid="y")
        panels[2].ax.set_ylim(bottom=0)
    _scale_accuracy(accuracy.ax)
    _scale_loss(loss.ax)
    for panel in panels:
        label_ends(panel.ax, panel.ends)
    return [panel.ax for panel in panels]


class _Panel:
    """A panel over the epochs, and the labels of its lines."""

    def __init__(self, ax: Axes, epochs: Array) -> None:
        self.ax, self.epochs = ax, epochs
        self.ends: list[EndLabel] = []
        first, last = float(epochs.min()), float(epochs.max())
        pad = 0.5 if first == last else 0.03 * (last - first)
        ax.set_xlim(first - pad, last + pad)
        ax.xaxis.set_major_locator(ticks(8, whole=True))
        ax.yaxis.set_major_locator(ticks(6))

    def add(self, values: Array, label: str, colour: str, form: str, **style: Any) -> None:
        """Draw a line, unless none of its values is known."""
        known = values[np.isfinite(values)]
        if known.size:
            draw_line(self.ax, self.epochs, values, label, colour, most_markers=12, **style)
            self.ends.append((float(known[-1]), f"{label}  {known[-1]:{form}}", colour))


def _places(host: Axes, count: int) -> list[_Place]:
    """Return the places of panels in their host, with space for labels at their right."""
    figure = figure_of(host)
    figure.draw_without_rendering()
    if host.bbox.width / figure.dpi >= _EACH * count:
        wide = 1 / (count + 0.35 * (count - 1))
        return [(1.35 * wide * place, 0.0, 0.85 * wide, 1.0) for place in range(count)]
    high = 1 / (count + 0.4 * (count - 1))
    return [(0.0, 1.4 * high * (count - 1 - place), 0.70, high) for place in range(count)]


def _series(history: Sequence[Mapping[str, Any]], key: str) -> Array:
    return np.array([number(f"history[{i}][{key!r}]", r.get(key)) for i, r in enumerate(history)])


def _layers(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Mapping[str, Any]]]:
    """Return the records of the layers by name, for each epoch."""
    found = []
    for place, record in enumerate(history):
        layers = record.get("layers") or ()
        if not isinstance(layers, Sequence):
            raise SigpropError(f"history[{place}]['layers'] is {layers!r}; expected a list")
        by_name = {}
        for layer in layers:
            if not isinstance(layer, Mapping) or "name" not in layer:
                raise SigpropError(
                    f"history[{place}]['layers'] holds {layer!r}; expected a record with 'name'"
                )
            by_name[str(layer["name"])] = layer
        found.append(by_name)
    return found


def _layer_series(layers: Sequence[Mapping[str, Mapping[str, Any]]], name: str, key: str) -> Array:
    return np.array(
        [
            number(f"history[{i}]['layers'][{name!r}][{key!r}]", by_name.get(name, {}).get(key))
            for i, by_name in enumerate(layers)
        ]
    )


def _scale_accuracy(panel: Axes) -> None:
    """Show a range of at least 4 % of accuracy, and little above 100 %."""
    low, high = panel.get_ylim()
    lack = max(0.0, 4.0 - (high - low)) / 2
    panel.set_ylim(max(low - lack, -1.0), min(high + lack, 101.0))


def _scale_loss(panel: Axes) -> None:
    """Take a logarithmic axis if the losses span more than a factor of 20."""
    values = np.concatenate([np.asarray(line.get_ydata()) for line in panel.lines] or [np.ones(1)])
    values = values[np.isfinite(values)]
    if values.size and values.min() > 0 and values.max() / values.min() > 20:
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_formatter(NullFormatter())
    panel.set_ylim(panel.get_ylim())
