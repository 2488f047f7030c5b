"""One look for every picture: palette, sizes, and the helpers that dress an Axes.

Every setting is put on the Axes that is drawn, so that nobody's ``rcParams`` change. A picture
without an Axes of the caller's gets a figure of its own outside of pyplot, which needs no display
and leaves no open figure behind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from sigprop_snn.errors import SigpropError

INK = "#222222"
GREY = "#767676"
FAINT = "#D4D4D4"
PAPER = "white"
ON = "#0072B2"
OFF = "#D55E00"
READOUT = "#882255"

# Okabe and Ito's colours without yellow, which is too pale for lines on paper, then darker
# ones of Paul Tol's for deep networks.
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

TITLE_SIZE = 10.0
LABEL_SIZE = 9.0
SMALL_SIZE = 8.0

INPUT_NAMES = frozenset({"input"})
READOUT_NAMES = frozenset({"readout", "output"})

_LONGEST_NAME = 28

DIVERGING = LinearSegmentedColormap.from_list("sigprop_diverging", [OFF, PAPER, ON])
GREYS = LinearSegmentedColormap.from_list("sigprop_greys", [PAPER, INK])


def tint(colour: str) -> LinearSegmentedColormap:
    """Return a colour map from paper white to ``colour``."""
    return LinearSegmentedColormap.from_list("sigprop_tint", [PAPER, colour])


def plain(name: str) -> str:
    """Return a name out of data as it can be written: cut if long, and no dollar a formula."""
    cut = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
    return cut.replace("$", r"\$")


def layer_colours(names: Iterable[str]) -> dict[str, str]:
    """Give every layer the colour that it keeps in all pictures.

    The input is grey and the readout wine red; the layers between take the palette in order,
    whether or not input and readout stand in the list.

    Args:
        names: Layer names from input to readout.

    Returns:
        A colour for each name.
    """
    colours: dict[str, str] = {}
    depth = 0
    for name in names:
        if name in INPUT_NAMES:
            colours[name] = GREY
        elif name in READOUT_NAMES:
            colours[name] = READOUT
        elif name not in colours:
            colours[name] = PALETTE[depth % len(PALETTE)]
            depth += 1
    return colours


def axes_for(ax: Axes | None, size: tuple[float, float], projection: str | None = None) -> Axes:
    """Return ``ax``, or the Axes of a new headless figure of ``size`` inches."""
    if ax is not None:
        if projection is not None and ax.name != projection:
            raise SigpropError(f"ax has the projection {ax.name!r}; expected {projection!r}.")
        return ax
    figure = Figure(figsize=size, layout="constrained", facecolor=PAPER)
    FigureCanvasAgg(figure)
    made: Axes = figure.add_subplot(projection=projection)
    return made


def figure_of(ax: Axes) -> Figure:
    """Return the whole figure that ``ax`` stands in."""
    figure = ax.get_figure()
    while isinstance(figure, SubFigure):
        figure = figure.figure
    if figure is None:
        raise SigpropError("ax belongs to no figure; expected an Axes of a figure.")
    return figure


def dress(
    ax: Axes,
    *,
    title: str | None = None,
    x_label: str | None = None,
    y_label: str | None = None,
    grid: str | None = None,
) -> None:
    """Put the house look on ``ax``; ``grid`` is ``"x"``, ``"y"``, ``"both"`` or None."""
    ax.set_facecolor(PAPER)
    ax.grid(False)
    if grid == "both":
        ax.grid(True, axis="both", color=FAINT, linewidth=0.5, linestyle="-", alpha=0.7)
    elif grid == "x":
        ax.grid(True, axis="x", color=FAINT, linewidth=0.5, linestyle="-", alpha=0.7)
    elif grid == "y":
        ax.grid(True, axis="y", color=FAINT, linewidth=0.5, linestyle="-", alpha=0.7)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GREY)
        spine.set_linewidth(0.7)
    ax.tick_params(
        which="both", color=GREY, labelcolor=INK, labelsize=SMALL_SIZE, width=0.7, length=3
    )
    if title is not None:
        ax.set_title(title, loc="left", fontsize=TITLE_SIZE, color=INK, pad=7)
    if x_label is not None:
        ax.set_xlabel(x_label, fontsize=LABEL_SIZE, color=INK)
    if y_label is not None:
        ax.set_ylabel(y_label, fontsize=LABEL_SIZE, color=INK)


def undress(ax: Axes) -> None:
    """Leave ``ax`` without ticks and with a thin frame, as pictures inside of a grid have."""
    dress(ax)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(True)
        spine.set_color(FAINT)


def ticks(count: int, *, whole: bool = False) -> MaxNLocator:
    """Return a locator of about ``count`` round ticks."""
    return MaxNLocator(nbins=count, integer=whole, steps=[1, 2, 2.5, 5, 10], min_n_ticks=1)


def time_axis(
    ax: Axes, steps: int, step_ms: float | None, *, named: bool = True, pad: float = 0.5
) -> None:
    """Set limits, ticks and name of a time axis of ``steps`` steps, in steps or in ms."""
    scale = time_scale(step_ms)
    ax.set_xlim(-pad * scale, (steps - 1 + pad) * scale)
    ax.xaxis.set_major_locator(ticks(10, whole=step_ms is None))
    if named:
        label = "time (step)" if step_ms is None else "time (ms)"
        ax.set_xlabel(label, fontsize=LABEL_SIZE, color=INK)
    else:
        ax.tick_params(axis="x", which="both", labelbottom=False)


def time_scale(step_ms: float | None) -> float:
    """Return the length of a step on the time axis: 1, or ``step_ms`` once it is checked."""
    if step_ms is None:
        return 1.0
    if not 0 < step_ms < float("inf"):
        raise SigpropError(f"step_ms is {step_ms!r}; expected a positive number of milliseconds.")
    return float(step_ms)


def stack(
    host: Axes, heights: Sequence[float], *, gap: float, width: float = 1.0, share_x: bool = True
) -> list[Axes]:
    """Split ``host`` into panels, one below the other.

    Args:
        host: The Axes whose place the panels take; its own frame is hidden, its title stays.
        heights: Relative heights, from the top.
        gap: Space between two panels, in the unit of ``heights``.
        width: Share of the host's width that the panels take, from the left.
        share_x: Whether the panels share the horizontal axis.

    Returns:
        The panels from the top.
    """
    host.set_axis_off()
    total = sum(heights) + gap * (len(heights) - 1)
    panels: list[Axes] = []
    top = total
    for height in heights:
        top -= height
        bounds = (0.0, top / total, width, height / total)
        panels.append(
            host.inset_axes(bounds, sharex=panels[0])
            if share_x and panels
            else host.inset_axes(bounds)
        )
        top -= gap
    return panels


def grid_rows(count: int, columns: int) -> tuple[int, int]:
    """Return rows and columns for ``count`` panels, at most ``columns`` wide."""
    if columns < 1:
        raise SigpropError(f"columns is {columns}; expected at least 1.")
    wide = min(count, columns)
    return -(-count // wide), wide


def grid_panels(
    host: Axes, count: int, columns: int, *, width: float = 1.0, head: float = 0.2
) -> list[Axes]:
    """Split ``host`` into a grid of panels with room for a line of text above each.

    Args:
        host: The Axes whose place the panels take.
        count: Number of panels.
        columns: Panels in a row.
        width: Share of the host's width that the grid takes.
        head: Inches that stay free above each panel.

    Returns:
        The panels row by row.
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


def label_ends(ax: Axes, ends: Sequence[tuple[float, str, str]], *, size: float = 8.0) -> None:
    """Write labels beside the right ends of lines, pushed apart where they would overlap.

    The limits of ``ax`` must be final.

    Args:
        ax: The Axes that holds the lines.
        ends: For every line the height of its end (in data), its label and its colour.
        size: Size of the text in points.
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
            1.03,
            height,
            plain(text),
            transform=ax.transAxes,
            color=colour,
            fontsize=size,
            va="center",
            ha="left",
        )


def spread(wanted: Sequence[float], need: float) -> list[float]:
    """Push rising positions apart to ``need``, each crowded group around its mean, inside 0 to 1.

    More positions than fit run over both ends alike.
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
