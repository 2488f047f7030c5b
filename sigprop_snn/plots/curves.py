"""How learning went, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.arrays import Array
from sigprop_snn.plots.style import (
    INK,
    PAPER,
    TITLE_SIZE,
    axes_for,
    dress,
    figure_of,
    label_ends,
    layer_colours,
    ticks,
)

_Place = tuple[float, float, float, float]

_SIDE_BY_SIDE = 6.0  # inches that two panels and their labels need


def learning_curves(
    history: Sequence[Mapping[str, Any]], *, ax: Axes | None = None, title: str | None = None
) -> list[Axes]:
    """Draw accuracy and loss of every layer over the epochs, and the network's accuracy.

    Args:
        history: A record for each epoch as in ``metrics.jsonl``: ``epoch``, ``train_accuracy``,
            ``test_accuracy``, ``loss`` and ``layers``, a list of ``name``, ``accuracy`` and
            ``loss``. Accuracies are fractions. A value that is missing or None is a gap.
        ax: An Axes whose place the two panels take, side by side or, where it is narrow, one
            below the other; None makes a figure.
        title: Title of the picture.

    Returns:
        The panel of the accuracy and that of the loss.

    Raises:
        SigpropError: If the history is empty, or holds NaN or what isn't a number.
    """
    if len(history) == 0:
        raise SigpropError("history is empty; expected a record for at least one epoch.")
    epochs = np.array([_number(r, "epoch", i, "", float(i)) for i, r in enumerate(history)])
    names = _layer_names(history)
    colours = layer_colours(names)
    host = axes_for(ax, (8.6, 3.4))
    host.set_axis_off()
    if title is not None:
        host.set_title(title, loc="left", fontsize=TITLE_SIZE + 1, color=INK, pad=22)
    panels = [host.inset_axes(place) for place in _two_places(host)]
    dress(panels[0], title="accuracy (%)", x_label="epoch", grid="y")
    dress(panels[1], title="loss", x_label="epoch", grid="y")
    ends: tuple[list[tuple[float, str, str]], list[tuple[float, str, str]]] = ([], [])
    for name in names:
        colour = colours[name]
        accuracy = 100 * _layer_series(history, name, "accuracy")
        loss = _layer_series(history, name, "loss")
        _line(panels[0], epochs, accuracy, name, colour, 1.2, "-")
        _line(panels[1], epochs, loss, name, colour, 1.2, "-")
        _end(ends[0], accuracy, name, colour, 1)
        _end(ends[1], loss, name, colour, 3)
    for key, label, width, style in (
        ("test_accuracy", "network, test", 2.0, "-"),
        ("train_accuracy", "network, train", 1.4, (0, (4, 2))),
    ):
        series = 100 * _series(history, key)
        _line(panels[0], epochs, series, label, INK, width, style)
        _end(ends[0], series, label, INK, 1)
    if not names:
        loss = _series(history, "loss")
        _line(panels[1], epochs, loss, "network", INK, 1.6, "-")
        _end(ends[1], loss, "network", INK, 3)
    for panel in panels:
        _epoch_axis(panel, epochs)
    _scale_accuracy(panels[0])
    _scale_loss(panels[1])
    for panel, labels in zip(panels, ends, strict=True):
        label_ends(panel, labels)
    return panels


def _two_places(host: Axes) -> tuple[_Place, _Place]:
    """Return the places of two panels in their host, with room for labels at their right ends."""
    figure = figure_of(host)
    figure.draw_without_rendering()
    if host.bbox.width / figure.dpi >= _SIDE_BY_SIDE:
        return (0.0, 0.0, 0.37, 1.0), (0.60, 0.0, 0.37, 1.0)
    return (0.0, 0.58, 0.70, 0.42), (0.0, 0.0, 0.70, 0.42)


def _number(record: Mapping[str, Any], key: str, place: int, where: str, missing: float) -> float:
    value = record.get(key)
    if value is None:
        return missing
    spot = f"history[{place}]{where}[{key!r}]"
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise SigpropError(f"{spot} is {value!r}; expected a number.") from error
    if not np.isfinite(number):
        raise SigpropError(f"{spot} is {number}; expected a finite number.")
    return number


def _series(records: Sequence[Mapping[str, Any]], key: str) -> Array:
    return np.array([_number(r, key, i, "", np.nan) for i, r in enumerate(records)])


def _layer_names(history: Sequence[Mapping[str, Any]]) -> list[str]:
    names: dict[str, None] = {}
    for place, record in enumerate(history):
        for layer in record.get("layers") or ():
            if "name" not in layer:
                raise SigpropError(f"history[{place}]['layers'] holds a layer without 'name'.")
            names[str(layer["name"])] = None
    return list(names)


def _layer_series(history: Sequence[Mapping[str, Any]], name: str, key: str) -> Array:
    values = np.full(len(history), np.nan)
    for place, record in enumerate(history):
        for layer in record.get("layers") or ():
            if str(layer["name"]) == name:
                values[place] = _number(layer, key, place, f"['layers'][{name!r}]", np.nan)
    return values


def _line(
    panel: Axes,
    epochs: Array,
    values: Array,
    label: str,
    colour: str,
    width: float,
    style: str | tuple[float, tuple[float, ...]],
) -> None:
    if np.isfinite(values).any():
        panel.plot(
            epochs,
            values,
            color=colour,
            linewidth=width,
            linestyle=style,
            marker="o" if len(epochs) <= 12 else None,
            markersize=3.4,
            # Hollow markers keep apart what one colour and one epoch would make the same.
            markerfacecolor=colour if style == "-" else PAPER,
            label=label,
        )


def _end(
    ends: list[tuple[float, str, str]], values: Array, name: str, colour: str, digits: int
) -> None:
    known = values[np.isfinite(values)]
    if known.size:
        ends.append((float(known[-1]), f"{name}  {known[-1]:.{digits}f}", colour))


def _epoch_axis(panel: Axes, epochs: Array) -> None:
    first, last = float(epochs.min()), float(epochs.max())
    pad = 0.5 if first == last else 0.03 * (last - first)
    panel.set_xlim(first - pad, last + pad)
    panel.xaxis.set_major_locator(ticks(8, whole=True))
    panel.yaxis.set_major_locator(ticks(6))


def _scale_accuracy(panel: Axes) -> None:
    """Show at least four points of accuracy, and nothing much above 100 %."""
    low, high = panel.get_ylim()
    lack = max(0.0, 4.0 - (high - low)) / 2
    panel.set_ylim(max(low - lack, -1.0), min(high + lack, 101.0))


def _scale_loss(panel: Axes) -> None:
    """Take a logarithmic axis where the losses span more than a factor of 20."""
    values = np.concatenate([np.asarray(line.get_ydata()) for line in panel.lines] or [np.ones(1)])
    values = values[np.isfinite(values)]
    if values.size and values.min() > 0 and values.max() / values.min() > 20:
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        panel.yaxis.set_minor_formatter(NullFormatter())
    panel.set_ylim(panel.get_ylim())
