"""An animation of one sample passing through the layers."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from sigprop_snn.arguments import instance, whole
from sigprop_snn.arguments import path as as_path
from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.arrays import Array, ArrayInput, by_name, checked, thin_step, thinned_count
from sigprop_snn.plots.saving import write_file
from sigprop_snn.plots.style import (
    DIVERGING,
    FAINT,
    GREY,
    INK,
    LABEL_SIZE,
    PAPER,
    SMALL_SIZE,
    layer_colours,
    time_scale,
    tint,
    undress,
)

_MAX_PIXELS = 4096
_MAX_CHANNELS = 36
_CELL, _PICTURE, _ROW, _TOP = 1.9, 1.78, 2.3, 0.62  # inches


def animate_layers(
    layers: Mapping[str, ArrayInput],
    path: str | os.PathLike[str],
    *,
    step_ms: float | None = None,
    frame_ms: int | None = None,
    max_frames: int = 300,
    title: str | None = None,
) -> Path:
    """Write a GIF of one sample passing through the layers, a frame for each time step.

    Feature maps are tiles side by side; a layer `[T, N]` is folded into a near-square. Of large
    layers only every k-th neuron or map is drawn, and their label says so. Needs only Pillow.

    Args:
        layers: `[T, C, H, W]`, `[T, H, W]` or `[T, N]` for every layer, all with the same T.
        path: the file to write; its name ends in `.gif`.
        step_ms: length of a time step in ms, for the clock; None counts steps.
        frame_ms: how long a frame is shown; None chooses a time from T.
        max_frames: of a longer sample only every k-th step is drawn.
        title: title of the picture.

    Returns:
        The path written.

    Raises:
        SigpropError: if an entry is empty, holds NaN or has a wrong shape, entries differ in T, or
            the file can't be written.
    """
    if frame_ms is not None:
        whole("frame_ms", frame_ms, 10)
    if title is not None:
        instance("title", title, str, "text")
    time_scale(step_ms)
    as_path("path", path)
    mosaics, steps = _mosaics(layers)
    drawn = list(range(0, steps, thin_step(steps, max_frames, "max_frames")))
    scene = _Scene(mosaics, title)
    duration = frame_ms or int(np.clip(6000 / len(drawn), 40, 400))

    def frame(place: int) -> Array:
        step = drawn[place] + 1
        clock = f"step {step} of {steps}"
        if step_ms is not None:
            clock = f"{step * step_ms:g} of {steps * step_ms:g} ms"
        return scene.frame(step - 1, (place + 1) / len(drawn), clock)

    picks = np.unique(np.linspace(0, len(drawn) - 1, min(8, len(drawn))).round().astype(int))
    # All frames share a palette; otherwise colours would flicker.
    palette = _palette(np.concatenate([frame(int(place)) for place in picks]))

    def frames() -> Iterator[Image.Image]:
        for place in range(len(drawn)):
            picture = Image.fromarray(frame(place))
            yield picture.quantize(palette=palette, dither=Image.Dither.NONE)

    def write(part: Path) -> None:
        rest = frames()
        first = next(rest)
        first.save(part, format="GIF", save_all=True, append_images=rest, duration=duration, loop=0)

    return write_file(path, ".gif", write)


def _mosaics(layers: Mapping[str, ArrayInput]) -> tuple[dict[str, tuple[Array, str]], int]:
    """Return the picture `[T, H, W]` of every layer with words for its size, and T."""
    by_name("layers", layers, "arrays [T, ...]")
    if not layers:
        raise SigpropError("layers is empty; expected a name and an array [T, ...] per layer")
    mosaics: dict[str, tuple[Array, str]] = {}
    steps = 0
    for name, values in layers.items():
        array = checked(
            f"layers[{name!r}]", values, "[T, C, H, W], [T, H, W] or [T, N] of one sample", 2, 4
        )
        steps = steps or array.shape[0]
        if array.shape[0] != steps:
            raise SigpropError(
                f"layers[{name!r}] has shape {list(array.shape)}; expected {steps} steps first"
            )
        mosaics[name] = _mosaic(array)
    return mosaics, steps


class _Scene:
    """The figure of an animation; its images change from frame to frame."""

    def __init__(self, mosaics: Mapping[str, tuple[Array, str]], title: str | None) -> None:
        across = min(len(mosaics), 5)
        rows = -(-len(mosaics) // across)
        self.figure = Figure(figsize=(_CELL * across + 0.3, _ROW * rows + 0.75), facecolor=PAPER)
        # matplotlib's canvas has no types.
        self.canvas: Any = FigureCanvasAgg(self.figure)
        width, height = self.figure.get_size_inches()
        self.width, self.height = float(width), float(height)
        colours = layer_colours(mosaics)
        self.images = [
            (self._add_layer(divmod(place, across), name, values, size, colours[name]), values)
            for place, (name, (values, size)) in enumerate(mosaics.items())
        ]
        self._write(0.2, self.height - 0.3, title or "", LABEL_SIZE + 1)
        self.clock = self._write(self.width - 0.2, self.height - 0.3, "", LABEL_SIZE, ha="right")
        bar = self._add_axes(0.2, self.height - 0.42, self.width - 0.4, 0.035)
        bar.set_axis_off()
        bar.set(xlim=(0, 1), ylim=(0, 1))
        bar.axhspan(0, 1, color=FAINT, linewidth=0)
        self.bar = bar.barh(0.5, 0.0, height=1.0, color=GREY, linewidth=0)[0]

    def _add_layer(
        self, place: tuple[int, int], name: str, values: Array, size: str, colour: str
    ) -> Any:
        """Add the image of a layer at a row and column, with its name and size."""
        row, column = place
        x, y = 0.15 + _CELL * column + 0.06, self.height - (_TOP + _ROW * row + 0.38 + _PICTURE)
        ax = self._add_axes(x, y, _PICTURE, _PICTURE)
        undress(ax)
        signed = float(np.nanmin(values)) < 0
        used = np.abs(values[np.isfinite(values) & (values != 0)])
        # The percentile keeps a few hot pixels from making the rest pale.
        reach = float(np.percentile(used, 99)) if used.size else 1.0
        self._write(x, y + _PICTURE + 0.19, name, LABEL_SIZE, color=colour, fontweight="bold")
        self._write(x, y + _PICTURE + 0.05, size, SMALL_SIZE - 1, color=GREY)
        return ax.imshow(
            values[0],
            cmap=(DIVERGING if signed else tint(colour)).with_extremes(bad=FAINT),
            vmin=-reach if signed else 0.0,
            vmax=reach,
            interpolation="nearest",
            aspect="equal",
        )

    def _add_axes(self, x: float, y: float, width: float, height: float) -> Any:
        """Add an Axes at a place in inches."""
        return self.figure.add_axes(
            (x / self.width, y / self.height, width / self.width, height / self.height)
        )

    def _write(
        self, x: float, y: float, text: str, size: float, *, color: str = INK, **style: Any
    ) -> Any:
        """Write a text at a place in inches."""
        x, y = x / self.width, y / self.height
        return self.figure.text(x, y, text, fontsize=size, color=color, **style)

    def frame(self, step: int, progress: float, clock: str) -> Array:
        """Return the picture of one step `[H, W, 3]`."""
        for image, values in self.images:
            image.set_data(values[step])
        self.clock.set_text(clock)
        self.bar.set_width(progress)
        self.canvas.draw()
        picture: Array = np.asarray(self.canvas.buffer_rgba())[..., :3].copy()
        return picture


def _palette(sample: Array) -> Image.Image:
    """Return a palette for the colours of `sample`, with pure white for the paper."""
    palette = Image.fromarray(sample).quantize(127)
    colours = np.array(palette.getpalette(), dtype=int).reshape(-1, 3)
    # Pillow's search is coarse and could take a near-white for white.
    colours = np.concatenate([[[255, 255, 255]], colours[(colours < 248).any(axis=1)]])
    palette.putpalette(colours.ravel().tolist())
    return palette


def _mosaic(array: Array) -> tuple[Array, str]:
    """Return `[T, H, W]` with NaN between tiles, and words for its size."""
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim == 2:
        pitch = thin_step(array.shape[1], _MAX_PIXELS, "pixels")
        words = thinned_count(array.shape[1], pitch, "neurons")
        tiles = array[:, ::pitch].astype(np.float32)
        return _fold(tiles[:, :, None, None], 0), words
    pitch = thin_step(array.shape[1], _MAX_CHANNELS, "channels")
    size = " × ".join(f"{n:,}" for n in array.shape[1:])
    words = size if pitch == 1 else f"{size}, {thinned_count(array.shape[1], pitch, 'maps')}"
    return _fold(array[:, ::pitch].astype(np.float32), 1), words


def _fold(tiles: Array, gap: int) -> Array:
    """Arrange tiles `[T, K, H, W]` as a near-square `[T, rows * H, columns * W]`."""
    steps, count, high, wide = tiles.shape
    columns = math.ceil(math.sqrt(count * high / wide))
    rows = -(-count // columns)
    gap = gap if count > 1 else 0
    sheet = np.full(
        (steps, rows * (high + gap) - gap, columns * (wide + gap) - gap), np.nan, np.float32
    )
    for place in range(count):
        row, column = divmod(place, columns)
        y, x = row * (high + gap), column * (wide + gap)
        sheet[:, y : y + high, x : x + wide] = tiles[:, place]
    return sheet
