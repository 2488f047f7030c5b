"""How learning rules compare: what they reach, what it costs, and what they need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.arrays import Array
from sigprop_snn.plots.style import (
    FAINT,
    GREY,
    INK,
    OFF,
    ON,
    SMALL_SIZE,
    TITLE_SIZE,
    axes_for,
    dress,
    plain,
    ticks,
)

# The title of each, and what stands where a row does not know it.
_COSTS = {
    "seconds": ("seconds an epoch", "not measured"),
    "memory_mb": ("memory a step (MiB)", "not measured"),
    "operations": ("operations a sample", "not measured"),
    "spikes": ("spikes a sample", "none"),
}
_NEEDS = {
    "backward_pass": "backward pass",
    "symmetric_weights": "transposed weights",
    "feedback_weights": "feedback weights",
    "stored_activations": "stored activity",
}
# In inches: the picture keeps its proportions however many panels there are.
_ACCURACY_WIDE, _COST_WIDE, _NEEDS_WIDE, _GAP = 3.0, 1.5, 1.5, 0.3


def rule_spectrum(
    rows: Sequence[Mapping[str, Any]], *, ax: Axes | None = None, title: str | None = None
) -> list[Axes]:
    """Compare learning rules: accuracy, what it costs, and what the rule needs.

    Rules that send an error back through the layers are drawn in another colour.

    Args:
        rows: For each rule ``rule`` (its name), ``accuracy`` (the mean, a fraction) and, where
            known, ``accuracy_std``, ``seconds`` (for an epoch), ``memory_mb`` (of a learning step,
            at its peak), ``operations`` and ``spikes`` (for a sample), and what it needs:
            ``backward_pass``, ``symmetric_weights``, ``feedback_weights`` and
            ``stored_activations``.
        ax: An Axes whose place the panels take; None makes a figure.
        title: Title of the picture.

    Returns:
        The panel of the accuracy, those of the costs that any row knows, and that of the needs if
        any row knows them.

    Raises:
        SigpropError: If there is no row, or one without a rule or an accuracy.
    """
    if len(rows) == 0:
        raise SigpropError("rows is empty; expected a row for at least one rule.")
    for place, row in enumerate(rows):
        for key in ("rule", "accuracy"):
            if row.get(key) is None:
                raise SigpropError(f"rows[{place}] has no {key!r}; expected 'rule' and 'accuracy'.")
    costs = {key: series for key in _COSTS if np.isfinite(series := _column(rows, key)).any()}
    needs = any(key in row for row in rows for key in _NEEDS)
    widths = [_ACCURACY_WIDE, *[_COST_WIDE] * len(costs), *[_NEEDS_WIDE] * needs]
    total = sum(widths) + _GAP * (len(widths) - 1)
    host = axes_for(ax, (total + 1.3, 0.31 * len(rows) + (1.6 if needs else 1.1)))
    host.set_axis_off()
    if title is not None:
        host.set_title(title, loc="left", fontsize=TITLE_SIZE + 1, color=INK, pad=22)
    panels: list[Axes] = []
    left = 0.0
    for width in widths:
        panels.append(host.inset_axes((left / total, 0.0, width / total, 1.0)))
        left += width + _GAP
    colours = [OFF if row.get("backward_pass") else ON for row in rows]
    _accuracies(panels[0], rows, colours)
    for panel, (key, series) in zip(panels[1:], costs.items(), strict=False):
        _bars(panel, *_COSTS[key], series, colours)
    if needs:
        _marks(panels[-1], rows, colours)
    for panel in panels:
        _name_rules(panel, [plain(str(row["rule"])) for row in rows], named=panel is panels[0])
    panels[0].spines["left"].set_visible(False)
    return panels


def _column(rows: Sequence[Mapping[str, Any]], key: str) -> Array:
    """Return a value of every row, NaN where it is not known."""
    values = np.full(len(rows), np.nan)
    for place, row in enumerate(rows):
        value = row.get(key)
        if value is None:
            continue
        spot = f"rows[{place}][{key!r}]"
        try:
            values[place] = float(value)
        except (TypeError, ValueError) as error:
            raise SigpropError(
                f"rows[{place}][{key!r}] is {value!r}; expected a number."
            ) from error
        if not np.isfinite(values[place]):
            raise SigpropError(f"{spot} is {value}; expected a finite number.")
    return values


def _accuracies(panel: Axes, rows: Sequence[Mapping[str, Any]], colours: Sequence[str]) -> None:
    accuracy = 100 * _column(rows, "accuracy")
    deviation = 100 * np.nan_to_num(_column(rows, "accuracy_std"))
    dress(panel, title="accuracy (%)", grid="x")
    for place, colour in enumerate(colours):
        panel.errorbar(
            accuracy[place],
            place,
            xerr=deviation[place] or None,
            fmt="o",
            color=colour,
            markersize=5,
            linewidth=1.3,
            capsize=2.5,
        )
        spread_text = f" ± {deviation[place]:.1f}" if deviation[place] else ""
        panel.annotate(
            f"{accuracy[place]:.1f}{spread_text}",
            (accuracy[place], place),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=SMALL_SIZE - 0.5,
            color=INK,
        )
    low, high = float((accuracy - deviation).min()), float((accuracy + deviation).max())
    pad = max(0.18 * (high - low), 0.5)
    panel.set_xlim(low - pad, high + pad)
    panel.xaxis.set_major_locator(ticks(5))


def _bars(panel: Axes, title: str, unknown: str, series: Array, colours: Sequence[str]) -> None:
    dress(panel, title=title)
    panel.barh(np.arange(len(series)), np.nan_to_num(series), 0.55, color=colours, alpha=0.8)
    for place, value in enumerate(series):
        known = bool(np.isfinite(value))
        panel.annotate(
            _short(value) if known else unknown,
            (value if known else 0.0, place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=SMALL_SIZE - 0.5,
            color=INK if known else GREY,
        )
    panel.set_xlim(0, float(np.nanmax(series)) * 1.45 or 1.0)
    panel.set_xticks([])
    panel.spines["bottom"].set_visible(False)


def _marks(panel: Axes, rows: Sequence[Mapping[str, Any]], colours: Sequence[str]) -> None:
    """Draw a disc where a rule needs something, and a faint dot where it does not."""
    dress(panel, title="needs")
    for place, row in enumerate(rows):
        for column, key in enumerate(_NEEDS):
            need = row.get(key)
            if need is None:
                continue
            panel.plot(
                column,
                place,
                "o",
                markersize=7 if need else 2.5,
                color=colours[place] if need else FAINT,
            )
            if isinstance(need, str) and need:
                panel.annotate(
                    need,
                    (column, place),
                    xytext=(7, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=SMALL_SIZE - 0.5,
                    color=INK,
                )
    panel.set_xlim(-0.5, len(_NEEDS) + 0.4)  # the last column has words
    panel.set_xticks(range(len(_NEEDS)), list(_NEEDS.values()), rotation=40, ha="right")
    for label in panel.get_xticklabels():
        label.set_rotation_mode("anchor")
    panel.tick_params(axis="x", length=0)
    for spine in panel.spines.values():
        spine.set_visible(False)


def _name_rules(panel: Axes, names: Sequence[str], *, named: bool) -> None:
    panel.set_ylim(len(names) - 0.4, -0.7)
    panel.set_yticks(range(len(names)))
    panel.set_yticklabels(names if named else [])
    panel.tick_params(axis="y", length=0)


def _short(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:.3g} M"
    return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"
