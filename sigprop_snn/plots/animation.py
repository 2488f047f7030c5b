"""A sample on its way through the layers, as a moving picture."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from PIL import Image

from sigprop_snn.errors import SigpropError
from sigprop_snn.plots.arrays import Array, ArrayInput, checked, said_thinned, thin_step
from sigprop_snn.plots.saving import write_whole
from sigprop_snn.plots.style import (
    DIVERGING,
    FAINT,
    GREY,
    INK,
    LABEL_SIZE,
    PAPER,
    SMALL_SIZE,
    layer_colours,
    tint,
    undress,
)

_MAX_PIXELS = 4096
_MAX_CHANNELS = 36


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

    Feature maps stand side by side as tiles; a layer ``[T, N]`` is folded into a near-square.
    Large layers are thinned, as their label then says. Needs no program beside Pillow.

    Args:
        layers: ``[T, C, H, W]``, ``[T, H, W]`` or ``[T, N]`` for every layer, all of one T.
        path: Where to write, ending in ``.gif``.
        step_ms: Length of a time step in ms, for the clock; None counts steps.
        frame_ms: How long a frame is shown; None chooses from T.
        max_frames: A longer sample is thinned to every k-th step.
        title: Title of the picture.

    Returns:
        The path written.

    Raises:
        SigpropError: On an empty, NaN or wrongly shaped entry, entries that differ in T, or a
            place that can't be written.
    """
    if not layers:
        raise SigpropError("layers is empty; expected a name and an array [T, ...] per layer.")
    mosaics: dict[str, tuple[Array, str]] = {}
    steps = 0
    for name, values in layers.items():
        array = checked(
            values, f"layers[{name!r}]", "[T, C, H, W], [T, H, W] or [T, N] of one sample", 2, 4
        )
        steps = steps or array.shape[0]
        if array.shape[0] != steps:
            raise SigpropError(
                f"layers[{name!r}] has shape {list(array.shape)}; expected {steps} steps first."
            )
        mosaics[name] = _mosaic(array)
    if frame_ms is not None and frame_ms < 10:
        raise SigpropError(f"frame_ms is {frame_ms}; expected at least 10.")
    shown = list(range(0, steps, thin_step(steps, max_frames, "max_frames")))
    scene = _Scene(mosaics, title)
    length = frame_ms or int(np.clip(6000 / len(shown), 40, 400))
    clock = [
        f"step {step + 1} of {steps}"
        if step_ms is None
        else f"{(step + 1) * step_ms:g} of {steps * step_ms:g} ms"
        for step in shown
    ]
    picks = sorted({int(i) for i in np.linspace(0, len(shown) - 1, min(8, len(shown))).round()})
    sample = np.concatenate([scene.frame(shown[i], (i + 1) / len(shown), clock[i]) for i in picks])
    # One palette for all frames, or colours would flicker.
    palette = _palette(sample)

    def frames() -> Iterator[Image.Image]:
        for i, step in enumerate(shown):
            picture = Image.fromarray(scene.frame(step, (i + 1) / len(shown), clock[i]))
            yield picture.quantize(palette=palette, dither=Image.Dither.NONE)

    def write(part: Path) -> None:
        rest = frames()
        first = next(rest)
        first.save(part, format="GIF", save_all=True, append_images=rest, duration=length, loop=0)

    return write_whole(path, ".gif", write)


class _Scene:
    """The figure of an animation, whose images change from frame to frame."""

    def __init__(self, mosaics: Mapping[str, tuple[Array, str]], title: str | None) -> None:
        count = len(mosaics)
        across = min(count, 5)
        rows = -(-count // across)
        self.figure = Figure(figsize=(1.9 * across + 0.3, 2.3 * rows + 0.75), facecolor=PAPER)
        # matplotlib's canvas has no types.
        self.canvas: Any = FigureCanvasAgg(self.figure)
        self.images: list[tuple[AxesImage, Array]] = []
        width, height = self.figure.get_size_inches()
        top = 0.62
        for place, (name, (values, size)) in enumerate(mosaics.items()):
            row, column = divmod(place, across)
            bounds = (
                (0.15 + 1.9 * column + 0.06) / width,
                1 - (top + 2.3 * row + 0.38 + 1.78) / height,
                1.78 / width,
                1.78 / height,
            )
            ax = self.figure.add_axes(bounds)
            undress(ax)
            colour = layer_colours(mosaics)[name]
            low = float(np.nanmin(values))
            used = np.abs(values[np.isfinite(values) & (values != 0)])
            # A few hot pixels must not make the rest pale.
            reach = float(np.percentile(used, 99)) if used.size else 1.0
            cmap = (DIVERGING if low < 0 else tint(colour)).with_extremes(bad=FAINT)
            image = ax.imshow(
                values[0],
                cmap=cmap,
                vmin=-reach if low < 0 else 0.0,
                vmax=reach,
                interpolation="nearest",
                aspect="equal",
            )
            self.images.append((image, values))
            x, y = bounds[0], bounds[1] + bounds[3]
            self.figure.text(
                x, y + 0.19 / height, name, fontsize=LABEL_SIZE, fontweight="bold", color=colour
            )
            self.figure.text(x, y + 0.05 / height, size, fontsize=SMALL_SIZE - 1, color=GREY)
        self.figure.text(
            0.2 / width, 1 - 0.3 / height, title or "", fontsize=LABEL_SIZE + 1, color=INK
        )
        self.clock = self.figure.text(
            1 - 0.2 / width, 1 - 0.3 / height, "", fontsize=LABEL_SIZE, color=INK, ha="right"
        )
        bar = self.figure.add_axes(
            (0.2 / width, 1 - 0.42 / height, 1 - 0.4 / width, 0.035 / height)
        )
        bar.set_axis_off()
        bar.set(xlim=(0, 1), ylim=(0, 1))
        bar.axhspan(0, 1, color=FAINT, linewidth=0)
        self.bar = bar.barh(0.5, 0.0, height=1.0, color=GREY, linewidth=0)[0]

    def frame(self, step: int, progress: float, clock: str) -> Array:
        """Return the picture of one step ``[H, W, 3]``."""
        for image, values in self.images:
            image.set_data(values[step])
        self.clock.set_text(clock)
        self.bar.set_width(progress)
        self.canvas.draw()
        picture: Array = np.asarray(self.canvas.buffer_rgba())[..., :3].copy()
        return picture


def _palette(sample: Array) -> Image.Image:
    """Return a palette for the colours of ``sample`` in which the paper stays pure white."""
    palette = Image.fromarray(sample).quantize(127)
    colours = np.array(palette.getpalette(), dtype=int).reshape(-1, 3)
    # Pillow looks colours up coarsely and would take a near-white for white.
    colours = np.concatenate([[[255, 255, 255]], colours[(colours < 248).any(axis=1)]])
    palette.putpalette(colours.ravel().tolist())
    return palette


def _mosaic(array: Array) -> tuple[Array, str]:
    """Return ``[T, H, W]`` with NaN between tiles, and the words for its size."""
    if array.ndim == 3:
        array = array[:, None]
    if array.ndim == 2:
        pitch = thin_step(array.shape[1], _MAX_PIXELS, "pixels")
        words = said_thinned(array.shape[1], pitch, "neurons")
        tiles = array[:, ::pitch].astype(np.float32)
        return _fold(tiles[:, :, None, None], 0), words
    pitch = thin_step(array.shape[1], _MAX_CHANNELS, "channels")
    size = " × ".join(f"{n:,}" for n in array.shape[1:])
    words = size if pitch == 1 else f"{size}, {said_thinned(array.shape[1], pitch, 'maps')}"
    return _fold(array[:, ::pitch].astype(np.float32), 1), words


def _fold(tiles: Array, gap: int) -> Array:
    """Lay tiles ``[T, K, H, W]`` out as a near-square ``[T, rows * H, columns * W]``."""
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
