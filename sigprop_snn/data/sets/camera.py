"""The embedded digits, recorded by a simulated event camera."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from sigprop_snn.data.events.frames import Sensor
from sigprop_snn.data.events.recording import make_events
from sigprop_snn.data.events.splits import Recordings, as_frames
from sigprop_snn.data.sets.static import TEN_DIGITS, digit_pictures
from sigprop_snn.data.source import Request, Source

SENSOR_SIZE = (16, 16, 2)
"""Width, height and polarities, in tonic's order."""

DURATION = 300_000
"""Duration of a recording in microseconds: three saccades of 100,000."""

_SEED = 8_128
_ENLARGED = 12
_CORNERS = ((0.0, 0.0), (2.0, 4.0), (4.0, 0.0), (0.0, 0.0))
_STEPS_PER_SACCADE = 16
_DARK = 0.1
_CONTRAST = 0.4
_MISMATCH = 0.03
_NOISE_EVENTS = 8.0


def digit_events(split: str) -> tuple[list[NDArray[Any]], Tensor]:
    """Return events of scikit-learn's digits from a camera that makes three straight saccades.

    Each digit, enlarged to 12x12 pixels, moves over a 16x16 sensor along the sides of a triangle,
    as in N-MNIST (Orchard et al. 2015, doi:10.3389/fnins.2015.00437). A pixel sends an event when
    the logarithm of its brightness has changed by its contrast threshold since its last event.
    Thresholds differ a little between pixels, and a few noise events are added at random places.
    Every call returns the same events.

    Args:
        split: "train" or "test", as in the data set `digits`.

    Returns:
        A structured array for each recording, with tonic's fields x, y, t (microseconds, rising)
        and p (1 for brighter), and the labels, int64 `[N]`.

    Raises:
        SigpropError: if `split` is neither.
    """
    pictures, labels = digit_pictures(split)
    bright = _enlarge(pictures[:, 0].numpy() / 16.0)
    # Both splits have the same sensor but different noise.
    width, height, _ = SENSOR_SIZE
    mismatch = np.random.default_rng(_SEED).normal(0.0, _MISMATCH, (height, width))
    sample, x, y, t, p = _watch(bright, _CONTRAST * (1.0 + mismatch))
    noise = _noise(len(bright), np.random.default_rng([_SEED, split == "train"]))
    sample, x, y, t, p = (
        np.concatenate(pair) for pair in zip((sample, x, y, t, p), noise, strict=True)
    )
    order = np.lexsort((t, sample))
    events = make_events(x[order], y[order], t[order], p[order])
    ends = np.cumsum(np.bincount(sample, minlength=len(bright)))
    return np.split(events, ends[:-1]), labels


def open_digit_events(request: Request) -> Source:
    """Return the events of `digit_events` as frames. No file is read or written."""
    splits = []
    for split in ("train", "test"):
        recordings, labels = digit_events(split)
        numbered = Recordings(
            f"digit-events-{split}",
            labels,
            recordings.__getitem__,
            f"{split} recording {{}}".format,
        )
        splits.append(as_frames(numbered, Sensor(SENSOR_SIZE, DURATION), request))
    return Source("digit-events", splits[0], splits[1], TEN_DIGITS, timed=True)


def _enlarge(pictures: NDArray[np.float64]) -> NDArray[np.float64]:
    """Enlarge pictures `[N, 8, 8]` to `[N, 12, 12]`, bilinearly."""
    side = pictures.shape[1]
    centre = np.clip((np.arange(_ENLARGED) + 0.5) * side / _ENLARGED - 0.5, 0, side - 1)
    weight = np.maximum(0.0, 1.0 - np.abs(centre[:, None] - np.arange(side)))
    enlarged: NDArray[np.float64] = weight @ pictures @ weight.T
    return enlarged


def _watch(
    bright: NDArray[np.float64], contrast: NDArray[np.float64]
) -> tuple[NDArray[np.int64], ...]:
    """Return sample, x, y, t and p of the events of pictures `[N, 12, 12]`."""
    corners = np.array(_CORNERS)
    fraction = np.arange(1, _STEPS_PER_SACCADE + 1)[:, None] / _STEPS_PER_SACCADE
    path = np.concatenate([a + (b - a) * fraction for a, b in pairwise(corners)])
    tick = DURATION / len(path)
    before = _log_brightness(bright, corners[0])
    level = before.copy()
    found = []
    for number, offset in enumerate(path):
        now = _log_brightness(bright, offset)
        count = np.floor(np.abs(now - level) / contrast).astype(np.int64)
        sample, y, x = np.nonzero(count)
        times = count[sample, y, x]
        sample, y, x = (np.repeat(index, times) for index in (sample, y, x))
        at = (sample, y, x)
        nth = np.arange(len(sample)) - np.repeat(np.cumsum(times) - times, times) + 1
        rising = now[at] > level[at]
        crossed = level[at] + np.where(rising, 1.0, -1.0) * nth * contrast[y, x]
        # Between two positions the logarithm changes linearly, which gives the time of an event.
        # A pixel that crosses by rounding alone, without change, sends its event at the end.
        change = now[at] - before[at]
        part = np.divide(crossed - before[at], change, out=np.ones_like(change), where=change != 0)
        part = np.clip(part, 0.0, 1.0)
        t = ((number + part) * tick).astype(np.int64)
        found.append((sample, x, y, np.minimum(t, DURATION - 1), rising.astype(np.int64)))
        level += np.sign(now - level) * count * contrast
        before = now
    return tuple(np.concatenate(column) for column in zip(*found, strict=True))


def _log_brightness(bright: NDArray[np.float64], offset: NDArray[np.float64]) -> NDArray[Any]:
    """Return the sensor's input `[N, H, W]` with the pictures' corner at `offset` (y, x)."""
    width, height, _ = SENSOR_SIZE
    side = bright.shape[1]
    seen = np.zeros((len(bright), height, width))
    (top, left), (down, right) = np.divmod(offset, 1.0)
    for dy, y_weight in ((0, 1 - down), (1, down)):
        for dx, x_weight in ((0, 1 - right), (1, right)):
            if y_weight * x_weight > 0:
                y, x = int(top) + dy, int(left) + dx
                seen[:, y : y + side, x : x + side] += y_weight * x_weight * bright
    return np.log(_DARK + seen)


def _noise(count: int, random: np.random.Generator) -> tuple[NDArray[np.int64], ...]:
    """Return sample, x, y, t and p of random events."""
    width, height, polarities = SENSOR_SIZE
    sample = np.repeat(np.arange(count), random.poisson(_NOISE_EVENTS, count))
    highs = (width, height, DURATION, polarities)
    return (sample, *(random.integers(0, high, len(sample)) for high in highs))
