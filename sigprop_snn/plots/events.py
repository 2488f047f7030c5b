"""Events of a camera, as frames and as a cloud in space and time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.arrays import (
    Array,
    ArrayInput,
    checked,
    thin_step,
    thinned_count,
    with_remark,
)
from sigprop_snn.plots.style import (
    GREY,
    INK,
    LABEL_SIZE,
    OFF,
    ON,
    PAPER,
    SMALL_SIZE,
    axes_for,
    grid_host,
    grid_panels,
    note,
    set_title,
    ticks,
    time_scale,
)


def event_frames(
    frames: ArrayInput,
    columns: int = 8,
    *,
    max_frames: int = 32,
    step_ms: float | None = None,
    title: str | None = None,
    ax: Axes | None = None,
) -> list[Axes]:
    """Draw event frames in reading order; off and on have two colours.

    Args:
        frames: counts `[T, P, H, W]`, with P = 2 for off and on; other polarities are summed.
        columns: frames in a row.
        max_frames: of a longer recording only every k-th frame is drawn; each keeps its number.
        step_ms: length of a frame in ms; None counts steps.
        title: title of the picture.
        ax: an Axes to replace by the frames; None makes a figure.

    Returns:
        An Axes for each frame drawn.

    Raises:
        SigpropError: if the input is empty, holds NaN or negative numbers, or has a wrong shape.
    """
    counts = checked("frames", frames, "[T, P, H, W]", 4, 4) + 0.0  # booleans, too
    if counts.min() < 0:
        raise SigpropError(f"frames holds {counts.min()}; expected counts from 0")
    scale = time_scale(step_ms)
    steps, polarities, high, wide = counts.shape
    drawn = range(0, steps, thin_step(steps, max_frames, "max_frames"))
    host = grid_host(ax, len(drawn), columns, high / wide)
    used = counts[counts > 0]
    # A few hot pixels must not make the rest of the recording pale.
    full = float(np.percentile(used, 98)) if used.size else 1.0
    panels = grid_panels(host, len(drawn), columns)
    for panel, step in zip(panels, drawn, strict=True):
        panel.imshow(_colour(counts[step].astype(np.float64) / full), interpolation="nearest")
        name = f"{step}" if step_ms is None else f"{step * scale:g}–{(step + 1) * scale:g} ms"
        panel.set_title(name, fontsize=SMALL_SIZE - 0.5, color=GREY, pad=2)
    lead = "events in each frame" + ("" if step_ms is not None else ", by step")
    set_title(host, lead if title is None else title, pad=6)
    if polarities == 2:
        _polarity_key(host)
    return panels


def event_cloud(
    events: npt.NDArray[np.void],
    *,
    max_events: int = 20_000,
    title: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw events as a cloud in space and time.

    Args:
        events: a structured array as tonic's, with the fields `x`, `y`, `t` (microseconds) and `p`.
        max_events: of a longer recording only every k-th event is drawn, and the title says so.
        title: title of the picture.
        ax: a 3D Axes; None makes a figure.

    Returns:
        The Axes drawn on.

    Raises:
        SigpropError: if a field is missing, there is no event, or `ax` isn't 3D.
    """
    fields = events.dtype.names if isinstance(events, np.ndarray) else None
    if fields is None or not {"x", "y", "t", "p"} <= set(fields):
        found = type(events).__name__ if fields is None else f"the fields {', '.join(fields)}"
        raise SigpropError(f"events is {found}; expected a structured array with x, y, t, p")
    if events.ndim != 1 or events.size == 0:
        raise SigpropError(
            f"events has shape {list(events.shape)}; expected [E] with at least one event"
        )
    step = thin_step(events.size, max_events, "max_events")
    drawn = events[::step]
    ax = axes_for(ax, (6.4, 3.9), projection="3d")
    start = float(events["t"].min())
    time = (drawn["t"].astype(np.float64) - start) / 1000
    # Axes3D takes a third coordinate, which Axes does not.
    scene: Any = ax
    for value, name, colour in ((False, "off", OFF), (True, "on", ON)):
        kept = (drawn["p"] > 0) == value
        scene.scatter(
            time[kept],
            drawn["x"][kept],
            drawn["y"][kept],
            s=5.0,
            color=colour,
            alpha=0.7,
            linewidths=0,
            depthshade=False,
            label=name,
        )
    _dress_cloud(ax, (float(events["x"].max()), float(events["y"].max())))
    words = thinned_count(events.size, step, "events")
    set_title(ax, with_remark(title, words), pad=6)
    _polarity_key(ax)
    return ax


def _dress_cloud(ax: Axes, size: tuple[float, float]) -> None:
    ax.set_facecolor(PAPER)
    ax.set(ylim=(-0.5, size[0] + 0.5), zlim=(size[1] + 0.5, -0.5))
    for axis, name in (("x", "time (ms)"), ("y", "x (pixel)"), ("z", "y (pixel)")):
        getattr(ax, f"set_{axis}label")(name, fontsize=LABEL_SIZE, color=INK)
        line = getattr(ax, f"{axis}axis")
        line.set_pane_color((1.0, 1.0, 1.0, 0.0))
        line.line.set_color(GREY)
        line.set_major_locator(ticks(6 if axis == "x" else 3))
        line.labelpad = 14 if axis == "x" else 2
    ax.tick_params(labelsize=SMALL_SIZE, labelcolor=INK, color=GREY, pad=1)
    ax.grid(False)
    # Time takes the long side of the box, and the zoom leaves space for the labels.
    getattr(ax, "set_box_aspect")((2.2, 1.0, 1.0), zoom=1.2)  # noqa: B009
    getattr(ax, "view_init")(elev=18, azim=-62)  # noqa: B009


def _colour(frame: Array) -> Array:
    """Return `[H, W, 3]`: off and on mixed as inks, other polarities in grey."""
    layers = (
        [(frame[0], OFF), (frame[1], ON)] if frame.shape[0] == 2 else [(frame.sum(axis=0), INK)]
    )
    picture = np.ones((*frame.shape[1:], 3))
    for strength, colour in layers:
        ink = 1.0 - np.array(to_rgb(colour))
        # The root makes a single event visible.
        depth = np.sqrt(np.clip(strength, 0.0, 1.0))[..., None]
        picture *= 1.0 - depth * ink
    return picture


def _polarity_key(ax: Axes) -> None:
    """Write the two polarities in their colours at the upper right."""
    for word, shift, colour in (("on", 0, ON), ("off", -18, OFF)):
        note(
            ax, word, (1.0, 1.0), shift=(shift, 6), size=LABEL_SIZE, colour=colour, ha="right",
            va="bottom",
        )  # fmt: skip
