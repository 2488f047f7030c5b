"""From events to frames: one count for every step, polarity and pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sigprop_snn.data.events import Events, fault
from sigprop_snn.errors import SigpropError

Counts = NDArray[np.uint8] | NDArray[np.int16]


@dataclass(frozen=True)
class Sensor:
    """What recorded the events, and how its time runs.

    Attributes:
        size: width, height and number of polarities.
        duration: microseconds from a recording's beginning to where the last step ends, unless
            `Frames` says otherwise.
        from_first: whether a recording begins at its first event; otherwise it begins at time 0.
        counts: how counts are stored: "uint8" (up to 255) or "int16" (up to 32,767).
        line: whether the pixels are a row of channels, whose frames have no height axis.
    """

    size: tuple[int, int, int]
    duration: int
    from_first: bool = False
    counts: Literal["uint8", "int16"] = "uint8"
    line: bool = False


@dataclass(frozen=True)
class Frames:
    """How recordings of events become frames, one a step.

    Without a `bin_width` the steps share the time from `start` to `end` equally. With one, each
    step takes that long, a recording fills as many steps as it lasts, and the rest stays silent;
    `Batches.with_lengths` tells how many it fills. Fewer steps or a larger `bin_width` is how time
    is downsampled.

    Attributes:
        bin_width: microseconds of a step; None derives it from the number of steps.
        start: microseconds behind the recording's beginning at which the first step starts.
        end: the same for the end of the last step; None takes the data set's own. It is rounded up
            so that all steps are equally long. Not together with `bin_width`.
        outside: what becomes of events before the first step and behind the last: "keep" counts
            them in the first and in the last step, so that no event is lost; "drop" leaves them
            out.
        denoise: leave out every event without an earlier one at a neighbouring pixel within so
            many microseconds (`tonic.transforms.Denoise`); None keeps all.
        size: width and height that the pixels are brought down to by adding up neighbours; of a
            row of channels `(channels, 1)`; None keeps the sensor's own.
        merge_polarities: whether brighter and darker count together, in one polarity.
        sensor: width and height of the sensor of one's own recordings, for the data set
            `eventfolder` alone; None finds the smallest that holds every event.
    """

    bin_width: int | None = None
    start: int = 0
    end: int | None = None
    outside: Literal["keep", "drop"] = "keep"
    denoise: int | None = None
    size: tuple[int, int] | None = None
    merge_polarities: bool = False
    sensor: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        for name in ("bin_width", "denoise"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SigpropError(f"{name} is {value}; expected 1 microsecond or more")
        if self.start < 0:
            raise SigpropError(f"start is {self.start}; expected 0 microseconds or more")
        if self.end is not None and self.end <= self.start:
            raise SigpropError(f"end is {self.end}; expected more than start, {self.start}")
        if self.end is not None and self.bin_width is not None:
            raise SigpropError(
                f"bin_width is {self.bin_width} and end is {self.end}; expected one of them, since "
                "the number of steps and the bin width give the end"
            )
        if self.outside not in ("keep", "drop"):
            raise SigpropError(f"outside is {self.outside!r}; expected 'keep' or 'drop'")
        for name in ("size", "sensor"):
            side = getattr(self, name)
            if side is not None and (len(side) != 2 or min(side) < 1):
                raise SigpropError(f"{name} is {side}; expected a width and a height, 1 or more")


def to_frames(events: Events, sensor: tuple[int, int, int], steps: int, duration: int) -> Counts:
    """Count events per step, polarity and pixel (`tonic.transforms.ToFrame`). None is lost.

    Args:
        events: structured array with the fields x, y, t (microseconds, rising) and p.
        sensor: width, height and number of polarities.
        steps: number of time steps T.
        duration: microseconds that the steps share equally; later events count in the last step.

    Returns:
        Counts, uint8 `[T, P, H, W]`.

    Raises:
        SigpropError: if there is no event, one lies outside the sensor, a time falls or is below
            0, `steps` < 1, or one pixel has more than 255 events in a step.
    """
    wrong = fault(events, sensor)
    if wrong:
        raise SigpropError(f"a recording {wrong[0]}; expected {wrong[1]}")
    return bin_events(events, Sensor(sensor, duration), Frames(), steps)


def frame_shape(sensor: Sensor, frames: Frames, steps: int) -> tuple[int, ...]:
    """Return the shape of a recording's frames, `(T, P, H, W)`, or `(T, P, W)` for a line.

    Raises:
        SigpropError: if the frames ask for what the sensor can't give.
    """
    width, height, polarities = sensor.size
    _clock(sensor, frames, steps)
    if frames.size is not None:
        if frames.size[0] > width or frames.size[1] > height:
            raise SigpropError(
                f"size is {frames.size}; expected at most the sensor's {width} x {height}"
            )
        width, height = frames.size
    channels = 1 if frames.merge_polarities else polarities
    return (steps, channels, width) if sensor.line else (steps, channels, height, width)


def bin_events(events: Events, sensor: Sensor, frames: Frames, steps: int) -> Counts:
    """Return a recording's counts in the sensor's type and the shape of `frame_shape`.

    Args:
        events: a recording without `fault`.
        sensor: what recorded it.
        frames: how it becomes frames.
        steps: number of time steps T.

    Raises:
        SigpropError: if one pixel has more events in a step than its type can count, `steps` < 1,
            or the frames ask for what the sensor can't give.
    """
    shape = frame_shape(sensor, frames, steps)
    start, step = _clock(sensor, frames, steps)
    held = events.astype(_WIDE)
    if sensor.from_first:
        held["t"] -= held["t"][0]
    if frames.denoise is not None:
        held = _denoised(held, frames.denoise)
    held["t"] -= start
    last = step * steps - 1
    if frames.outside == "drop":
        held = held[(held["t"] >= 0) & (held["t"] <= last)]
    held["t"] = np.clip(held["t"], 0, last)
    if frames.size is not None:
        held["x"] = held["x"] * frames.size[0] // sensor.size[0]
        held["y"] = held["y"] * frames.size[1] // sensor.size[1]
    if frames.merge_polarities:
        held["p"] = 0
    width, height = frames.size or sensor.size[:2]
    counted = _count(held, (width, height, shape[1]), step, steps)
    most = np.iinfo(sensor.counts).max
    # A count of tonic's that leaves its 16 bits comes back as another number.
    if counted.max() > most or int(counted.sum()) != len(held):
        raise SigpropError(
            f"one pixel has more than {most} events in a step of {step} microseconds; "
            f"expected at most {most} (more steps than {steps} make a step shorter)"
        )
    return counted.astype(sensor.counts).reshape(shape)


_WIDE = np.dtype([("x", np.int64), ("y", np.int64), ("t", np.int64), ("p", np.int64)])


def _clock(sensor: Sensor, frames: Frames, steps: int) -> tuple[int, int]:
    """Where the first step starts and how long a step is, in microseconds."""
    if steps < 1:
        raise SigpropError(f"steps is {steps}; at least 1 time step is needed")
    if frames.bin_width is not None:
        return frames.start, frames.bin_width
    end = sensor.duration if frames.end is None else frames.end
    if end <= frames.start:
        raise SigpropError(f"start is {frames.start}; expected less than the end, {end}")
    return frames.start, -(-(end - frames.start) // steps)


def _denoised(events: Events, reach: int) -> Events:
    from tonic.transforms import Denoise

    # tonic takes every pixel to have seen an event at time 0, so the first events lie behind that.
    events["t"] += reach
    kept: Events = Denoise(reach)(events)
    kept["t"] -= reach
    return kept


def _count(events: Events, size: tuple[int, int, int], step: int, steps: int) -> NDArray[np.int16]:
    from tonic.transforms import ToFrame

    if not len(events):
        return np.zeros((steps, *size[::-1]), np.int16)
    counts: NDArray[np.int16] = ToFrame(
        size, time_window=step, start_time=0, end_time=step * steps
    )(events)
    return counts
