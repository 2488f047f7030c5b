"""The look of all pictures: colours, sizes, and functions that format an Axes.

Every setting is made on the Axes itself, so `rcParams` do not change. `axes_for` decides where a
picture that gets no Axes is drawn.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, TypeAlias

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LinearSegmentedColormap, is_color_like
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from sigprop_snn.arguments import instance, positive, refused, whole
from sigprop_snn.errors import SigpropError

INK = "#222222"
GREY = "#767676"
FAINT = "#D4D4D4"
PAPER = "white"
READOUT = "#882255"

# No colour below is that of a layer. Events are of the input, which is grey.
ON = "#222222"
OFF = "#9A9A9A"
POSITIVE = "#01665E"
NEGATIVE = "#8C510A"

# Okabe and Ito's colours without yellow, which is too pale for lines on paper, then darker
# colours by Paul Tol for deep networks.
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#332288",
    "#999933",
    "#117733",
    "#AA4499",
)

LOCAL, BACKWARD = PALETTE[0], PALETTE[1]
"""The colours of rules without and with a backward pass, where no layer is drawn."""

TITLE_SIZE = 10.0
LABEL_SIZE = 9.0
SMALL_SIZE = 8.0

DASHED = (0, (4, 2))

INPUT_NAMES = frozenset({"input"})
READOUT_NAMES = frozenset({"readout", "output"})

EndLabel: TypeAlias = tuple[float, str, str]
"""The label of a line's right end: its height in data, its text, its colour."""

_LONGEST_NAME = 28

DIVERGING = LinearSegmentedColormap.from_list("sigprop_diverging", [NEGATIVE, PAPER, POSITIVE])
GREYS = LinearSegmentedColormap.from_list("sigprop_greys", [PAPER, INK])


def tint(colour: str) -> LinearSegmentedColormap:
    """Return a colour map from white to `colour`."""
    return LinearSegmentedColormap.from_list("sigprop_tint", [PAPER, colour])


def plain(name: str) -> str:
    """Return a name as text for a picture: shortened if long, dollar signs escaped."""
    cut = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    return cut.replace("$", r"\$")


def layer_colours(names: Iterable[str]) -> dict[str, str]:
    """Return the colour that each layer has in all pictures.

    The input is grey and the readout wine red. The other layers take the palette in order, with or
    without input and readout in the list.

    Args:
        names: layer names from input to readout.

    Returns:
        A colour for each name.
    """
    colours: dict[str, str] = {}
    depth = 0
    instance("names", names, Iterable, "names of layers")
    for name in names:
        if name in INPUT_NAMES:
            colours[name] = GREY
        elif name in READOUT_NAMES:
            colours[name] = READOUT
        elif name not in colours:
            colours[name] = PALETTE[depth % len(PALETTE)]
            depth += 1
    return colours


_HEADLESS: ContextVar[bool] = ContextVar("headless", default=False)


@contextmanager
def headless() -> Iterator[None]:
    """Draw outside of pyplot in the `with` block: for files, which no backend may disturb."""
    token = _HEADLESS.set(True)
    try:
        yield
    finally:
        _HEADLESS.reset(token)


def new_figure(size: tuple[float, float]) -> Figure:
    """Return an empty figure of `size` inches.

    It is a figure of pyplot where a person expects to see it: in a notebook, and in a program that
    has imported pyplot. Otherwise, and within `headless`, it needs no display and no backend.
    """
    pyplot = _pyplot()
    if pyplot is not None:
        shown: Figure = pyplot.figure(figsize=size, layout="constrained", facecolor=PAPER)
        return shown
    figure = Figure(figsize=size, layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def axes_for(ax: Axes | None, size: tuple[float, float], projection: str | None = None) -> Axes:
    """Return `ax`, or an empty Axes of pyplot's current figure, or that of a new figure.

    The current figure is used as `plt.gca()` would, if pyplot has one whose current Axes is empty.
    So `plt.subplot(1, 2, 1)` says where to draw, and no picture lands on another.

    Args:
        ax: the Axes, or None.
        size: width and height of a new figure in inches.
        projection: the projection that the picture needs, or None.

    Raises:
        SigpropError: if `ax` is no Axes, or has another projection than the picture needs.
    """
    if ax is not None:
        instance("ax", ax, Axes, "an Axes of matplotlib")
        if projection is not None and ax.name != projection:
            raise SigpropError(f"ax has the projection {ax.name!r}; expected {projection!r}")
        if projection is None and ax.name == "3d":
            raise SigpropError("ax has the projection '3d'; expected axes of two dimensions")
        return ax
    pyplot = _pyplot()
    if pyplot is not None and pyplot.get_fignums():
        figure: Figure = pyplot.gcf()
        if not figure.axes:
            empty: Axes = figure.add_subplot(projection=projection)
            return empty
        current: Axes = pyplot.gca()
        same = current.name == (projection or "rectilinear")
        if same and current.axison and not current.has_data() and not current.child_axes:
            return current
    made: Axes = new_figure(size).add_subplot(projection=projection)
    return made


def _pyplot() -> Any:
    """Return pyplot if a person looks at its figures, else None."""
    if _HEADLESS.get():
        return None
    if "ipykernel" in sys.modules and "matplotlib.pyplot" not in sys.modules:
        with contextlib.suppress(ImportError, ValueError):  # a backend that is not installed
            importlib.import_module("matplotlib.pyplot")
    return sys.modules.get("matplotlib.pyplot")


def axes_row(
    count: int, *, size: tuple[float, float] | None = None, title: str | None = None
) -> list[Axes]:
    """Return empty Axes side by side on a new figure, to draw several pictures in one.

    Args:
        count: number of Axes.
        size: width and height of the figure in inches.
        title: title of the figure.

    Raises:
        SigpropError: if the count is not positive.
    """
    count = whole("count", count)
    if size is not None and (not isinstance(size, tuple) or len(size) != 2):
        raise refused("size", size, "a width and a height in inches")
    figure = new_figure(size if size is not None else (4.7 * count, 3.4))
    if title is not None:
        figure.suptitle(title, color=INK)
    return [figure.add_subplot(1, count, place + 1) for place in range(count)]


def figure_of(ax: Axes) -> Figure:
    """Return the figure that holds `ax`, not a subfigure of it."""
    figure = ax.get_figure()
    while isinstance(figure, SubFigure):
        figure = figure.figure
    if figure is None:
        raise SigpropError("ax belongs to no figure; expected an Axes of a figure")
    return figure


def dress(
    ax: Axes,
    *,
    title: str | None = None,
    x_label: str | None = None,
    y_label: str | None = None,
    grid: Literal["x", "y"] | None = None,
) -> None:
    """Give `ax` the common look, its title and its labels, and grid lines along one axis."""
    ax.set_facecolor(PAPER)
    ax.grid(False)
    if grid is not None:
        ax.grid(True, axis=grid, color=FAINT, linewidth=0.5, linestyle="-", alpha=0.7)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GREY)
        spine.set_linewidth(0.7)
    ax.tick_params(
        which="both", color=GREY, labelcolor=INK, labelsize=SMALL_SIZE, width=0.7, length=3
    )
    set_title(ax, title)
    if x_label is not None:
        ax.set_xlabel(x_label, fontsize=LABEL_SIZE, color=INK)
    if y_label is not None:
        ax.set_ylabel(y_label, fontsize=LABEL_SIZE, color=INK)


def undress(ax: Axes) -> None:
    """Remove the ticks of `ax` and give it a thin frame, for a picture in a grid."""
    dress(ax)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(True)
        spine.set_color(FAINT)


def set_title(ax: Axes, title: str | None, *, size: float = TITLE_SIZE, pad: float = 7) -> None:
    """Write the title at the upper left of `ax`, `pad` points above it; None writes nothing."""
    if title is not None:
        instance("title", title, str, "text")
        ax.set_title(title, loc="left", fontsize=size, color=INK, pad=pad)


def note(
    ax: Axes,
    text: str,
    at: tuple[float, float],
    *,
    shift: tuple[float, float] = (0, 0),
    coords: Any = "axes fraction",
    size: float = SMALL_SIZE,
    colour: str = INK,
    ha: str = "left",
    va: str = "center",
    **style: Any,
) -> None:
    """Write a short text `shift` points from a place; `coords` as in `Axes.annotate`."""
    ax.annotate(
        text, at, xycoords=coords, xytext=shift, textcoords="offset points", fontsize=size,
        color=colour, ha=ha, va=va, **style,
    )  # fmt: skip


def check_colour(colour: object) -> None:
    """Raise a SigpropError unless something is a colour of matplotlib."""
    if not is_color_like(colour):
        raise refused("colour", colour, "a colour of matplotlib, such as '#0072B2'")


def ticks(count: int, *, whole: bool = False, least: int = 1) -> MaxNLocator:
    """Return a locator of about `count` round ticks, and of at least `least`."""
    return MaxNLocator(nbins=count, integer=whole, steps=[1, 2, 2.5, 5, 10], min_n_ticks=least)


def slant(labels: Iterable[Any]) -> None:
    """Let slanted tick labels end at their tick."""
    for label in labels:
        label.set_rotation_mode("anchor")


def dress_colour_bar(bar: Colorbar, name: str, *, size: float = LABEL_SIZE) -> None:
    """Give a colour bar the common look and its name."""
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=SMALL_SIZE, color=GREY, labelcolor=INK, width=0.7, length=3)
    bar.set_label(name, fontsize=size, color=INK)


def time_axis(ax: Axes, steps: int, step_ms: float | None, *, named: bool = True) -> None:
    """Set limits, ticks and name of a time axis of `steps` steps, in steps or in ms."""
    scale = time_scale(step_ms)
    ax.set_xlim(-0.5 * scale, (steps - 0.5) * scale)
    ax.xaxis.set_major_locator(ticks(10, whole=step_ms is None))
    if named:
        label = "time (step)" if step_ms is None else "time (ms)"
        ax.set_xlabel(label, fontsize=LABEL_SIZE, color=INK)
    else:
        ax.tick_params(axis="x", which="both", labelbottom=False)


def time_scale(step_ms: float | None) -> float:
    """Return the length of a step on the time axis: `step_ms`, checked, or 1 if it is None."""
    if step_ms is None:
        return 1.0
    return positive("step_ms", step_ms)


def stack(host: Axes, heights: Sequence[float], *, gap: float, width: float = 1.0) -> list[Axes]:
    """Replace `host` by panels with one horizontal axis, one below the other; its title stays.

    Args:
        host: the Axes to replace.
        heights: relative heights, from the top.
        gap: space between two panels, in the unit of `heights`.
        width: fraction of the host's width that the panels take, from the left.
    """
    host.set_axis_off()
    total = sum(heights) + gap * (len(heights) - 1)
    panels: list[Axes] = []
    top = total
    for height in heights:
        top -= height
        bounds = (0.0, top / total, width, height / total)
        panels.append(host.inset_axes(bounds, sharex=panels[0] if panels else None))
        top -= gap
    return panels


def grid_rows(count: int, columns: int) -> tuple[int, int]:
    """Return rows and columns for `count` panels, at most `columns` wide."""
    columns = whole("columns", columns)
    wide = min(count, columns)
    return -(-count // wide), wide


def grid_host(
    ax: Axes | None, count: int, columns: int, aspect: float, *, head: float = 0.2, side: float = 0
) -> Axes:
    """Return `ax`, or the Axes of a new figure for a grid of pictures.

    `aspect` is a picture's height divided by its width; `head` and `side` are inches of text above
    each picture and at the right of the grid.
    """
    rows, across = grid_rows(count, columns)
    cell = 8.0 / max(across, 4)
    height = (0.94 * cell * min(aspect, 2.0) + head) * rows + 0.4
    return axes_for(ax, (cell * across + side, height))


def grid_panels(
    host: Axes, count: int, columns: int, *, width: float = 1.0, head: float = 0.2
) -> list[Axes]:
    """Replace `host` by a grid of panels, with `head` inches of space above each.

    The grid takes a fraction `width` of the host. The panels are in reading order.
    """
    host.set_axis_off()
    rows, wide = grid_rows(count, columns)
    cell_w, cell_h = width / wide, 1.0 / rows
    figure = figure_of(host)
    figure.draw_without_rendering()
    free = min(head * figure.dpi * rows / max(host.bbox.height, 1.0), 0.5)
    panels: list[Axes] = []
    for place in range(count):
        row, column = divmod(place, wide)
        bounds = (
            column * cell_w + 0.03 * cell_w,
            1.0 - (row + 1) * cell_h,
            0.94 * cell_w,
            (1.0 - free) * cell_h,
        )
        panel = host.inset_axes(bounds)
        undress(panel)
        panels.append(panel)
    return panels


def draw_line(
    ax: Axes,
    x: Any,
    y: Any,
    label: str,
    colour: str,
    *,
    width: float = 1.6,
    dashed: bool = False,
    most_markers: int = 20,
) -> None:
    """Draw a line over points of training; a short one has markers, hollow if it is dashed."""
    ax.plot(
        x,
        y,
        color=colour,
        linewidth=width,
        linestyle=DASHED if dashed else "-",
        marker="o" if len(x) <= most_markers else None,
        markersize=3.4,
        # Hollow markers tell two lines of one colour apart when there is only one point.
        markerfacecolor=PAPER if dashed else colour,
        label=label,
    )


def label_ends(ax: Axes, ends: Sequence[EndLabel], *, size: float = 8.0) -> None:
    """Write labels at the right ends of lines, moved apart so that they don't overlap.

    Set the limits of `ax` before.

    Args:
        ax: the Axes that holds the lines.
        ends: a label for every line.
        size: size of the text in points.
    """
    if not ends:
        return
    figure = figure_of(ax)
    figure.draw_without_rendering()
    # A label needs 1.25 times its size in height; 72 points are one inch.
    need = 1.25 * size / 72 * figure.dpi / max(ax.bbox.height, 1.0)
    to_axes = ax.transData + ax.transAxes.inverted()
    x_right = ax.get_xlim()[1]
    order = sorted(range(len(ends)), key=lambda i: ends[i][0])
    wanted = [float(to_axes.transform((x_right, ends[i][0]))[1]) for i in order]
    placed = spread(wanted, need)
    for i, height, aim in zip(order, placed, wanted, strict=True):
        _, text, colour = ends[i]
        ax.plot(
            [1.005, 1.02],
            [aim, height],
            transform=ax.transAxes,
            color=colour,
            linewidth=0.6,
            clip_on=False,
            scalex=False,
            scaley=False,
            label="_leader",
        )
        ax.text(
            1.03, height, plain(text), transform=ax.transAxes, color=colour, fontsize=size,
            va="center", ha="left",
        )  # fmt: skip


def spread(wanted: Sequence[float], need: float) -> list[float]:
    """Move rising positions at least `need` apart, each crowded group around its mean.

    The positions stay between 0 and 1. If they don't fit, they exceed both ends equally.
    """

    def inside(centre: float, count: int) -> float:
        half = (count - 1) * need / 2
        return min(max(centre, half), 1.0 - half) if half < 0.5 else 0.5

    groups: list[tuple[float, int]] = []
    for aim in wanted:
        centre, count = inside(aim, 1), 1
        while groups:
            below, many = groups[-1]
            if centre - below >= need * (count + many) / 2:
                break
            groups.pop()
            centre = (centre * count + below * many) / (count + many)
            count += many
            centre = inside(centre, count)
        groups.append((centre, count))
    return [
        centre + (place - (count - 1) / 2) * need
        for centre, count in groups
        for place in range(count)
    ]
