"""Matrices as heat maps: similarity of samples and contexts, and confusion of classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm

from sigprop_snn.arguments import instance
from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.arrays import Array, ArrayInput, checked, is_whole, with_remark
from sigprop_snn.plots.style import (
    DIVERGING,
    INK,
    PALETTE,
    PAPER,
    SMALL_SIZE,
    axes_for,
    dress,
    dress_colour_bar,
    figure_of,
    plain,
    slant,
    tint,
)

_MOST_NUMBERS = 20  # classes up to which a confusion matrix shows its counts


def similarity(
    matrix: ArrayInput,
    *,
    labels: ArrayInput | None = None,
    classes: Sequence[str] | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the similarity of samples, or class means, to the context of each class.

    Args:
        matrix: `[B, C]`; a row for each sample or class, a column for each context.
        labels: the class of each row `[B]`. The rows are then sorted by class, and frames mark the
            similarity of each class to its context.
        classes: names of the classes.
        title: title of the picture.
        ax: where to draw; None makes a figure.

    Returns:
        The Axes drawn on.

    Raises:
        SigpropError: if an input is empty, holds NaN or has a wrong shape, or a label is out of
            range.
    """
    values = checked("matrix", matrix, "[B, C]", 2, 2).astype(np.float64)
    count, wide = values.shape
    names = _class_names(classes, wide)
    ax = axes_for(ax, (min(2.0 + 0.42 * wide, 7.0), min(1.2 + 0.36 * max(count, 4), 5.4)))
    of_rows = "class of sample" if labels is not None else "class" if count == wide else "sample"
    dress(ax, title=title, x_label="context of class", y_label=of_rows)
    if labels is not None:
        given = _checked_labels(labels, count, wide)
        order = np.argsort(given, kind="stable")
        values, given = values[order], given[order]
    reach = max(1.0, float(np.abs(values).max()))
    picture = ax.imshow(
        values, cmap=DIVERGING, vmin=-reach, vmax=reach, aspect="auto", interpolation="nearest"
    )
    _class_ticks(ax, names, rows=False)
    if labels is not None:
        _frame_classes(ax, given, names)
    elif count == wide:
        _class_ticks(ax, names, rows=True)
    if count <= 12 and wide <= 12:
        _write(ax, values, "{:.2f}", np.abs(values) > 0.6 * reach)
    _plain_frame(ax)
    bar = figure_of(ax).colorbar(picture, ax=ax, shrink=0.8, aspect=25, pad=0.03)
    bar.set_ticks([-reach, 0.0, reach])
    dress_colour_bar(bar, "similarity")
    return ax


def confusion(
    matrix: ArrayInput,
    classes: Sequence[str] | None = None,
    *,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a confusion matrix; the colour shows the fraction of the true class.

    Args:
        matrix: counts `[C, C]`; rows are true classes, columns predicted classes.
        classes: names of the classes.
        title: title of the picture; the accuracy follows it.
        ax: where to draw; None makes a figure.

    Returns:
        The Axes drawn on.

    Raises:
        SigpropError: if the input is empty, holds NaN, negative numbers or fractions, or has a
            wrong shape.
    """
    counts = checked("matrix", matrix, "[C, C] counts", 2, 2)
    shape = list(counts.shape)
    if shape[0] != shape[1]:
        raise SigpropError(f"matrix has shape {shape}; expected [C, C] counts")
    if counts.min() < 0 or not is_whole(counts):
        raise SigpropError(f"matrix with shape {shape} must hold counts; expected whole, from 0")
    wide = shape[0]
    names = _class_names(classes, wide)
    total = counts.sum(axis=1, keepdims=True)
    share = counts / np.maximum(total, 1)
    side = min(1.4 + 0.42 * wide, 7.2)
    ax = axes_for(ax, (side + 0.2, side))
    samples, right = int(counts.sum()), int(np.trace(counts))
    words = f"{100 * right / max(samples, 1):.1f} % of {samples:,} right"
    dress(ax, title=with_remark(title, words), x_label="predicted class", y_label="true class")
    # The root makes rare errors visible next to a strong diagonal.
    ax.imshow(share, cmap=tint(PALETTE[0]), norm=PowerNorm(0.5, 0.0, 1.0), interpolation="nearest")
    _class_ticks(ax, names, rows=False)
    _class_ticks(ax, names, rows=True)
    if wide <= _MOST_NUMBERS:
        _write(ax, counts, "{:,.0f}", np.sqrt(share) > 0.6, blank=0.0)
    _plain_frame(ax)
    return ax


def _class_names(classes: Sequence[str] | None, count: int) -> list[str]:
    if classes is None:
        return [str(place) for place in range(count)]
    instance("classes", classes, Sequence, "names of the classes")
    if len(classes) != count:
        raise SigpropError(f"classes holds {len(classes)} names; expected {count}")
    return [plain(str(name)) for name in classes]


def _checked_labels(labels: ArrayInput, count: int, classes: int) -> Array:
    given = checked("labels", labels, "[B]", 1, 1)
    if given.size != count:
        raise SigpropError(f"labels has shape {list(given.shape)}; expected [{count}]")
    if not is_whole(given) or given.min() < 0 or given.max() >= classes:
        raise SigpropError(
            f"labels go from {given.min()} to {given.max()}; expected 0 to {classes - 1}"
        )
    whole: Array = given.astype(np.int64)
    return whole


def _class_ticks(ax: Axes, names: Sequence[str], *, rows: bool) -> None:
    """Write the names of the classes, or of every k-th of many."""
    step = max(1, -(-len(names) // 25))
    places = list(range(0, len(names), step))
    written = [names[place] for place in places]
    if rows:
        ax.set_yticks(places, written)
    elif max(len(name) for name in written) > 3:
        ax.set_xticks(places, written, rotation=45, ha="right")
        slant(ax.get_xticklabels())
    else:
        ax.set_xticks(places, written)


def _frame_classes(ax: Axes, labels: Array, names: Sequence[str]) -> None:
    """Frame the block of each class and its context, and name the rows of the class."""
    centres, written = [], []
    for place in np.unique(labels):
        rows = np.flatnonzero(labels == place)
        first, last = rows[0] - 0.5, rows[-1] + 0.5
        x = [place - 0.5, place + 0.5, place + 0.5, place - 0.5, place - 0.5]
        ax.plot(x, [first, first, last, last, first], color=INK, linewidth=0.9, label="_frame")
        centres.append((first + last) / 2)
        written.append(names[int(place)])
    if len(written) <= 25:
        ax.set_yticks(centres, written)
    ax.set_xlim(-0.5, len(names) - 0.5)
    ax.set_ylim(len(labels) - 0.5, -0.5)


def _write(ax: Axes, values: Array, form: str, dark: Array, *, blank: float | None = None) -> None:
    size = SMALL_SIZE if values.shape[1] <= 12 else SMALL_SIZE - 2
    for (row, column), value in np.ndenumerate(values):
        if value != blank:
            text = form.format(value).replace("-", "−")
            colour = PAPER if dark[row, column] else INK
            ax.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)


def _plain_frame(ax: Axes) -> None:
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.tick_params(length=0)
