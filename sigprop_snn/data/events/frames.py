"""Frames of events: the number of events in each time step, polarity and pixel."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sigprop_snn.arguments import axes, instance, one_of, refused, truth, whole
from sigprop_snn.data.events.recording import UNITS, Events, checked_order, find_fault
from sigprop_snn.errors import SigpropError

Counts = NDArray[np.uint8] | NDArray[np.int16]


LARGEST_FRAME_SIDE = 128
"""Pixels of the longest side of frames, unless `Frames` gives a size.

A sensor of 1280x720 has 56 times as many pixels as one of 128x128: a convolutional network would
need tens of GB for a batch.
"""


@dataclass(frozen=True)
class Sensor:
    """The sensor that recorded the events, and its clock.

    Attributes:
        size: width, height and number of polarities.
        duration: microseconds from the start of a recording to the end of the last step, unless
            `Frames` sets them.
        from_first: whether a recording starts at its first event; otherwise it starts at time 0.
        counts: how counts are stored: "uint8" (up to 255) or "int16" (up to 32,767).
        line: whether the pixels are one row of channels, whose frames have no height axis.
    """

    size: tuple[int, int, int]
    duration: int
    from_first: bool = False
    counts: Literal["uint8", "int16"] = "uint8"
    line: bool = False


@dataclass(frozen=True)
class Frames:
    """How a recording of events becomes frames, one for each time step.

    Without `bin_width`, the time from `start` to `end` is divided into equal steps. With it, each
    step lasts `bin_width`; a short recording fills only the first steps and the others are empty
    (`Batches.with_lengths` returns the number of filled steps). Use fewer steps or a larger
    `bin_width` to downsample time.

    Attributes:
        bin_width: duration of a step in microseconds; None derives it from the number of steps.
        start: start of the first step, in microseconds after the start of the recording.
        end: end of the last step, in microseconds after the start of the recording; None takes the
            data set's. It is rounded up to make all steps equally long. Not with `bin_width`.
        outside: what to do with events before the first step and after the last: "keep" counts
            them in the first and the last step; "drop" removes them.
        denoise: remove every event without an earlier event at a neighbouring pixel in the last
            `denoise` microseconds (`tonic.transforms.Denoise`); None removes none.
        size: width and height of the frames; the counts of neighbouring pixels are added. For a
            row of channels `(channels, 1)`. None keeps the sensor's size.
        merge_polarities: whether to count brighter and darker events together, as one polarity.
        sensor: width and height of the sensor, for the data set `eventfolder` only; None takes the
            smallest that includes every event.
        order: order of the columns of files whose columns have no names, such as "txyp", for
            `eventfolder` only.
        unit: unit of the times in `.npy`, HDF5 and text files: "us", "ns", "ms" or "s", for
            `eventfolder` only.

    Raises:
        SigpropError: if a value is out of range.
    """

    bin_width: int | None = None
    start: int = 0
    end: int | None = None
    outside: Literal["keep", "drop"] = "keep"
    denoise: int | None = None
    size: tuple[int, int] | None = None
    merge_polarities: bool = False
    sensor: tuple[int, int] | None = None
    order: str | None = None
    unit: Literal["us", "ns", "ms", "s"] = "us"

    def __post_init__(self) -> None:
        for name in ("bin_width", "denoise"):
            value = getattr(self, name)
            if value is not None and whole(name, value, None) < 1:
                raise SigpropError(f"{name} is {value}; expected 1 microsecond or more")
        if whole("start", self.start, None) < 0:
            raise SigpropError(f"start is {self.start}; expected 0 microseconds or more")
        if self.end is not None and whole("end", self.end, None) <= self.start:
            raise SigpropError(f"end is {self.end}; expected more than start, {self.start}")
        if self.end is not None and self.bin_width is not None:
            raise SigpropError(
                f"bin_width is {self.bin_width} and end is {self.end}; expected one of them, "
                "because the bin width and the number of steps determine the end"
            )
        if not isinstance(self.outside, str) or self.outside not in ("keep", "drop"):
            raise refused("outside", self.outside, "'keep' or 'drop'")
        truth("merge_polarities", self.merge_polarities)
        one_of("unit", self.unit, UNITS)
        checked_order("order", self.order)
        for name in ("size", "sensor"):
            side = getattr(self, name)
            if side is None:
                continue
            sides = axes(name, side)
            if len(sides) != 2 or min(sides) < 1:
                raise SigpropError(f"{name} is {side}; expected a width and a height, 1 or more")
            object.__setattr__(self, name, sides)

    def end_of(self, steps: int) -> int | None:
        """Return the end of the last step in microseconds, or None if the recordings give it.

        Args:
            steps: number of time steps T.
        """
        return self.end if self.bin_width is None else self.start + self.bin_width * steps


def to_frames(events: Events, sensor: tuple[int, int, int], steps: int, duration: int) -> Counts:
    """Count the events in each step, polarity and pixel, as `tonic.transforms.ToFrame` does.

    Args:
        events: structured array with the fields x, y, t (microseconds, rising) and p.
        sensor: width, height and number of polarities.
        steps: number of time steps T.
        duration: microseconds that are divided into equal steps; later events count in the last
            step, so no event is lost.

    Returns:
        Counts, uint8 `[T, P, H, W]`.

    Raises:
        SigpropError: if there is no event, an event is outside the sensor, a time falls or is below
            0, `steps` < 1, or one pixel has more than 255 events in a step.
    """
    instance("events", events, np.ndarray, "a structured array of events")
    sides = axes("sensor", sensor)
    if len(sides) != 3:
        raise refused("sensor", sensor, "width, height and number of polarities")
    steps, duration = whole("steps", steps), whole("duration", duration)
    sensor = (sides[0], sides[1], sides[2])
    fault = find_fault(events, sensor)
    if fault:
        raise SigpropError(f"the recording {fault[0]}; expected {fault[1]}")
    return bin_events(events, Sensor(sensor, duration), Frames(), steps)


def scaled_down(frames: Frames, sensor: Sensor) -> Frames:
    """Return frames with a size of at most `LARGEST_FRAME_SIDE` pixels, unless they have one."""
    width, height = sensor.size[:2]
    factor = -(-max(width, height) // LARGEST_FRAME_SIDE)
    if frames.size is not None or factor == 1:
        return frames
    size = (-(-width // factor), -(-height // factor))
    warnings.warn(
        f"the sensor has {width}x{height} pixels; frames are scaled down to {size[0]}x{size[1]}. "
        "Frames(size=(width, height)) or --size WIDTHxHEIGHT chooses another size",
        stacklevel=2,
    )
    return replace(frames, size=size)


def frame_shape(sensor: Sensor, frames: Frames, steps: int) -> tuple[int, ...]:
    """Return the shape of a recording's frames, `(T, P, H, W)`, or `(T, P, W)` for a line.

    Raises:
        SigpropError: if the frames are larger than the sensor or the steps have no duration.
    """
    width, height, polarities = sensor.size
    _step_times(sensor, frames, steps)
    if frames.size is not None:
        if frames.size[0] > width or frames.size[1] > height:
            raise SigpropError(
                f"size is {frames.size}; expected at most the sensor's {width} x {height}"
            )
        width, height = frames.size
    channels = 1 if frames.merge_polarities else polarities
    return (steps, channels, width) if sensor.line else (steps, channels, height, width)


def bin_events(events: Events, sensor: Sensor, frames: Frames, steps: int) -> Counts:
    """Return a recording's counts, in the sensor's type and in the shape from `frame_shape`.

    Args:
        events: a recording that `find_fault` accepts.
        sensor: the sensor that recorded it.
        frames: how it becomes frames.
        steps: number of time steps T.

    Raises:
        SigpropError: if one pixel has more events in a step than its type can count, or as
            `frame_shape`.
    """
    shape = frame_shape(sensor, frames, steps)
    start, step = _step_times(sensor, frames, steps)
    binned = events.astype(_WIDE)
    if sensor.from_first:
        binned["t"] -= binned["t"][0]
    if frames.denoise is not None:
        binned = _denoised(binned, frames.denoise)
    binned["t"] -= start
    last = step * steps - 1
    if frames.outside == "drop":
        binned = binned[(binned["t"] >= 0) & (binned["t"] <= last)]
    binned["t"] = np.clip(binned["t"], 0, last)
    if frames.size is not None:
        binned["x"] = binned["x"] * frames.size[0] // sensor.size[0]
        binned["y"] = binned["y"] * frames.size[1] // sensor.size[1]
    if frames.merge_polarities:
        binned["p"] = 0
    width, height = frames.size or sensor.size[:2]
    counted = _count(binned, (width, height, shape[1]), step, steps)
    most = np.iinfo(sensor.counts).max
    if counted.max() > most:
        raise SigpropError(
            f"one pixel has more than {most} events in a step of {step} microseconds; "
            f"expected at most {most}. Use more than {steps} steps to make each step shorter"
        )
    return counted.astype(sensor.counts).reshape(shape)


_WIDE = np.dtype([("x", np.int64), ("y", np.int64), ("t", np.int64), ("p", np.int64)])


def _step_times(sensor: Sensor, frames: Frames, steps: int) -> tuple[int, int]:
    """Return the start of the first step and the duration of a step, in microseconds."""
    if steps < 1:
        raise SigpropError(f"steps is {steps}; expected 1 or more")
    if frames.bin_width is not None:
        return frames.start, frames.bin_width
    end = sensor.duration if frames.end is None else frames.end
    if end <= frames.start:
        raise SigpropError(f"start is {frames.start}; expected less than the end, {end}")
    return frames.start, -(-(end - frames.start) // steps)


def _denoised(events: Events, window: int) -> Events:
    from tonic.transforms import Denoise

    # tonic assumes an event at time 0 at every pixel; the shift puts it outside the window.
    events["t"] += window
    kept: Events = Denoise(window)(events)
    kept["t"] -= window
    return kept


def _count(events: Events, size: tuple[int, int, int], step: int, steps: int) -> NDArray[np.int64]:
    """Return the counts `[T, P, H, W]` of events whose times are in the steps."""
    width, height, polarities = size
    shape = (steps, polarities, height, width)
    place = np.ravel_multi_index(
        (events["t"] // step, events["p"], events["y"], events["x"]), shape
    )
    return np.bincount(place, minlength=math.prod(shape)).reshape(shape)
