"""Learning rules side by side: their accuracy, their costs and their needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.arrays import Array, number, records
from sigprop_snn.plots.style import (
    BACKWARD,
    FAINT,
    GREY,
    INK,
    LOCAL,
    SMALL_SIZE,
    TITLE_SIZE,
    axes_for,
    dress,
    note,
    plain,
    set_title,
    slant,
    ticks,
)

# The title of each cost, and the text for a rule without a value.
_COSTS = {
    "seconds": ("seconds per epoch", "not measured"),
    "memory_mb": ("memory per step (MiB)", "not measured"),
    "operations": ("operations per sample", "not measured"),
    "spikes": ("spikes per sample", "none"),
}
_NEEDS = {
    "backward_pass": "backward pass",
    "symmetric_weights": "transposed weights",
    "feedback_weights": "feedback weights",
    "stored_activations": "stored activity",
}
# In inches: the proportions do not depend on the number of panels.
_ACCURACY_WIDE, _COST_WIDE, _NEEDS_WIDE, _GAP = 3.0, 1.5, 1.5, 0.3


def rule_spectrum(
    rows: Sequence[Mapping[str, Any]], *, ax: Axes | None = None, title: str | None = None
) -> list[Axes]:
    """Compare learning rules: accuracy, costs and needs.

    Rules with a backward pass through the layers have another colour.

    Args:
        rows: for each rule `rule` (its name), `accuracy` (the mean, a fraction) and, if known,
            `accuracy_std`, `seconds` (for an epoch), `memory_mb` (peak of a learning step),
            `operations` and `spikes` (for a sample), and the needs: `backward_pass`,
            `symmetric_weights`, `feedback_weights` and `stored_activations`.
        ax: an Axes to replace by the panels; None makes a figure.
        title: title of the picture.

    Returns:
        The panel of the accuracy, a panel for each cost that any row has, and the panel of the
        needs if any row has one.

    Raises:
        SigpropError: if there is no row, or a row has no rule or no accuracy, or a value that is
            not a finite number.
    """
    records("rows", rows)
    if len(rows) == 0:
        raise SigpropError("rows is empty; expected a row for at least one rule")
    for place, row in enumerate(rows):
        for key in ("rule", "accuracy"):
            if row.get(key) is None:
                raise SigpropError(f"rows[{place}] has no {key!r}; expected 'rule' and 'accuracy'")
    costs = {key: series for key in _COSTS if np.isfinite(series := _column(rows, key)).any()}
    needs = any(key in row for row in rows for key in _NEEDS)
    widths = [_ACCURACY_WIDE, *[_COST_WIDE] * len(costs), *[_NEEDS_WIDE] * needs]
    total = sum(widths) + _GAP * (len(widths) - 1)
    host = axes_for(ax, (total + 1.3, 0.31 * len(rows) + (1.6 if needs else 1.1)))
    host.set_axis_off()
    set_title(host, title, size=TITLE_SIZE + 1, pad=42)
    for word, shift, colour in (
        ("forward pass only", 0, LOCAL),
        ("with a backward pass", 110, BACKWARD),
    ):
        note(host, f"● {word}", (0.0, 1.0), shift=(shift, 25), colour=colour, va="bottom")
    panels: list[Axes] = []
    left = 0.0
    for width in widths:
        panels.append(host.inset_axes((left / total, 0.0, width / total, 1.0)))
        left += width + _GAP
    colours = [BACKWARD if row.get("backward_pass") else LOCAL for row in rows]
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
    """Return a value of every row, NaN if it is not known."""
    return np.array([number(f"rows[{i}][{key!r}]", row.get(key)) for i, row in enumerate(rows)])


def _accuracies(panel: Axes, rows: Sequence[Mapping[str, Any]], colours: Sequence[str]) -> None:
    accuracy = 100 * _column(rows, "accuracy")
    deviation = 100 * np.nan_to_num(_column(rows, "accuracy_std"))
    dress(panel, title="accuracy (%)", grid="x")
    for place, colour in enumerate(colours):
        panel.errorbar(
            accuracy[place], place, xerr=deviation[place] or None, fmt="o", color=colour,
            markersize=5, linewidth=1.3, capsize=2.5,
        )  # fmt: skip
        spread_text = f" ± {deviation[place]:.1f}" if deviation[place] else ""
        note(
            panel, f"{accuracy[place]:.1f}{spread_text}", (accuracy[place], place), coords="data",
            shift=(0, 4), size=SMALL_SIZE - 0.5, ha="center", va="bottom",
        )  # fmt: skip
    low, high = float((accuracy - deviation).min()), float((accuracy + deviation).max())
    pad = max(0.18 * (high - low), 0.5)
    panel.set_xlim(low - pad, high + pad)
    panel.xaxis.set_major_locator(ticks(5))


def _bars(panel: Axes, title: str, unknown: str, series: Array, colours: Sequence[str]) -> None:
    dress(panel, title=title)
    panel.barh(np.arange(len(series)), np.nan_to_num(series), 0.55, color=colours, alpha=0.8)
    for place, value in enumerate(series):
        known = bool(np.isfinite(value))
        note(
            panel, _short(value) if known else unknown, (value if known else 0.0, place),
            coords="data", shift=(3, 0), size=SMALL_SIZE - 0.5, colour=INK if known else GREY,
        )  # fmt: skip
    panel.set_xlim(0, float(np.nanmax(series)) * 1.45 or 1.0)
    panel.set_xticks([])
    panel.spines["bottom"].set_visible(False)


def _marks(panel: Axes, rows: Sequence[Mapping[str, Any]], colours: Sequence[str]) -> None:
    """Draw a disc for everything that a rule needs, and a faint dot for the rest."""
    dress(panel, title="needs")
    for place, row in enumerate(rows):
        for column, key in enumerate(_NEEDS):
            need = row.get(key)
            if need is None:
                continue
            size, colour = (7.0, colours[place]) if need else (2.5, FAINT)
            panel.plot(column, place, "o", markersize=size, color=colour)
            if isinstance(need, str) and need:
                at = (column, place)
                note(panel, need, at, coords="data", shift=(7, 0), size=SMALL_SIZE - 0.5)
    panel.set_xlim(-0.5, len(_NEEDS) + 0.4)  # the last column has text
    panel.set_xticks(range(len(_NEEDS)), list(_NEEDS.values()), rotation=40, ha="right")
    slant(panel.get_xticklabels())
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
