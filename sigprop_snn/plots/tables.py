"""Matrices as heat maps: the similarity of the two streams, and the confusion of classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm

from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.arrays import Array, ArrayInput, checked, is_whole
from sigprop_snn.plots.style import (
    DIVERGING,
    GREY,
    INK,
    LABEL_SIZE,
    ON,
    PAPER,
    SMALL_SIZE,
    axes_for,
    dress,
    figure_of,
    plain,
    tint,
)

_NUMBERS = 20


def similarity(
    matrix: ArrayInput,
    *,
    labels: ArrayInput | None = None,
    classes: Sequence[str] | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how similar samples (or class means) are to the context of each class.

    Args:
        matrix: ``[B, C]``; a row for each sample or class, a column for each context.
        labels: The class of each row ``[B]``. The rows are then sorted by class, and a frame marks
            where each class meets its own context.
        classes: Names of the classes.
        title: Title of the picture.
        ax: Where to draw; None makes a figure.

    Returns:
        The Axes drawn on.

    Raises:
        SigpropError: On an empty, NaN or wrongly shaped input, or a label out of range.
    """
    values = checked(matrix, "matrix", "[B, C]", 2, 2).astype(np.float64)
    count, wide = values.shape
    names = _class_names(classes, wide)
    ax = axes_for(ax, (min(2.0 + 0.42 * wide, 7.0), min(1.2 + 0.36 * max(count, 4), 5.4)))
    dress(ax, title=title, x_label="context of class")
    order: Array = np.arange(count)
    if labels is not None:
        given = _checked_labels(labels, count, wide)
        order = np.argsort(given, kind="stable")
    reach = float(np.abs(values).max()) or 1.0
    reach = 1.0 if reach <= 1.0 else reach
    picture = ax.imshow(
        values[order],
        cmap=DIVERGING,
        vmin=-reach,
        vmax=reach,
        aspect="auto",
        interpolation="nearest",
    )
    _class_ticks(ax, names, rows=False)
    if labels is not None:
        _frame_classes(ax, given[order], names)
        ax.set_ylabel("class of sample", fontsize=LABEL_SIZE, color=INK)
    elif count == wide:
        _class_ticks(ax, names, rows=True)
        ax.set_ylabel("class", fontsize=LABEL_SIZE, color=INK)
    else:
        ax.set_ylabel("sample", fontsize=LABEL_SIZE, color=INK)
    if count <= 12 and wide <= 12:
        _write(ax, values[order], "{:.2f}", np.abs(values[order]) > 0.6 * reach)
    _plain_frame(ax)
    bar = figure_of(ax).colorbar(picture, ax=ax, shrink=0.8, aspect=25, pad=0.03)
    bar.outline.set_visible(False)
    bar.set_ticks([-reach, 0.0, reach])
    bar.ax.tick_params(labelsize=SMALL_SIZE, color=GREY, labelcolor=INK, width=0.7, length=3)
    bar.set_label("similarity", fontsize=LABEL_SIZE, color=INK)
    return ax


def confusion(
    matrix: ArrayInput,
    classes: Sequence[str] | None = None,
    *,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a confusion matrix; the depth of colour is the share of the true class.

    Args:
        matrix: Counts ``[C, C]``; rows are true classes, columns predicted ones.
        classes: Names of the classes.
        title: Title of the picture; None says the accuracy.
        ax: Where to draw; None makes a figure.

    Returns:
        The Axes drawn on.

    Raises:
        SigpropError: On an empty, NaN, negative, fractional or wrongly shaped input.
    """
    counts = checked(matrix, "matrix", "[C, C] counts", 2, 2)
    shape = list(counts.shape)
    if shape[0] != shape[1]:
        raise SigpropError(f"matrix has shape {shape}; expected [C, C] counts.")
    if counts.min() < 0 or not is_whole(counts):
        raise SigpropError(f"matrix with shape {shape} must hold counts; expected whole, from 0.")
    wide = shape[0]
    names = _class_names(classes, wide)
    total = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(total, 1)
    side = min(1.4 + 0.42 * wide, 7.2)
    ax = axes_for(ax, (side + 0.2, side))
    every = max(int(counts.sum()), 1)
    right = int(np.trace(counts))
    words = f"{100 * right / every:.1f} % of {int(counts.sum()):,} right"
    dress(
        ax,
        title=words if title is None else f"{title} ({words})",
        x_label="predicted class",
        y_label="true class",
    )
    # The root lets rare errors be seen beside a strong diagonal.
    ax.imshow(share, cmap=tint(ON), norm=PowerNorm(0.5, 0.0, 1.0), interpolation="nearest")
    _class_ticks(ax, names, rows=False)
    _class_ticks(ax, names, rows=True)
    if wide <= _NUMBERS:
        _write(ax, counts, "{:,.0f}", np.sqrt(share) > 0.6, blank=0.0)
    _plain_frame(ax)
    return ax


def _class_names(classes: Sequence[str] | None, count: int) -> list[str]:
    if classes is None:
        return [str(place) for place in range(count)]
    if len(classes) != count:
        raise SigpropError(f"classes holds {len(classes)} names; expected {count}.")
    return [plain(str(name)) for name in classes]


def _checked_labels(labels: ArrayInput, count: int, classes: int) -> Array:
    given = checked(labels, "labels", "[B]", 1, 1)
    if given.size != count:
        raise SigpropError(f"labels has shape {list(given.shape)}; expected [{count}], one a row.")
    if not is_whole(given) or given.min() < 0 or given.max() >= classes:
        raise SigpropError(
            f"labels go from {given.min()} to {given.max()}; expected 0 to {classes - 1}."
        )
    whole: Array = given.astype(np.int64)
    return whole


def _class_ticks(ax: Axes, names: Sequence[str], *, rows: bool) -> None:
    """Name the classes; of many, every k-th."""
    step = max(1, -(-len(names) // 25))
    places = list(range(0, len(names), step))
    shown = [names[place] for place in places]
    if rows:
        ax.set_yticks(places, shown)
    else:
        long = max(len(name) for name in shown) > 3
        ax.set_xticks(places, shown, rotation=45 if long else 0, ha="right" if long else "center")
        if long:
            for label in ax.get_xticklabels():
                label.set_rotation_mode("anchor")


def _frame_classes(ax: Axes, labels: Array, names: Sequence[str]) -> None:
    """Frame the block where the rows of a class meet its own context, and name it."""
    centres, shown = [], []
    for place in np.unique(labels):
        rows = np.flatnonzero(labels == place)
        first, last = rows[0] - 0.5, rows[-1] + 0.5
        x = [place - 0.5, place + 0.5, place + 0.5, place - 0.5, place - 0.5]
        ax.plot(x, [first, first, last, last, first], color=INK, linewidth=0.9, label="_own")
        centres.append((first + last) / 2)
        shown.append(names[int(place)])
    if len(shown) <= 25:
        ax.set_yticks(centres, shown)
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_ylim(len(labels) - 0.5, -0.5)


def _write(ax: Axes, values: Array, form: str, dark: Array, *, blank: float | None = None) -> None:
    size = SMALL_SIZE if values.shape[1] <= 12 else SMALL_SIZE - 2
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            if values[row, column] != blank:
                ax.text(
                    column,
                    row,
                    form.format(values[row, column]).replace("-", "−"),
                    ha="center",
                    va="center",
                    fontsize=size,
                    color=PAPER if dark[row, column] else INK,
                )


def _plain_frame(ax: Axes) -> None:
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(length=0)
