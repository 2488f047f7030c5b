"""Recordings of events, and the checks that a recording must pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sigprop_snn.errors import SigpropError

Events = NDArray[Any]
"""Structured array with tonic's fields x, y, t (microseconds) and p (1 for brighter)."""

LARGEST_FILE = 2**30
"""Largest file in bytes that is read as one recording."""


class EventFileError(SigpropError):
    """A recording that can't be used; the message names the file, the fault and the expectation."""

    def __init__(self, file: Path, fault: str, expected: str) -> None:
        super().__init__(f"the event file {file} {fault}; expected {expected}")


def make_events(x: Any, y: Any, t: Any, p: Any) -> Events:
    """Return events as tonic's structured array.

    Args:
        x: column of each event's pixel.
        y: row of each event's pixel.
        t: microseconds.
        p: polarities, 0 or 1.
    """
    from tonic.io import make_structured_array

    events: Events = make_structured_array(x, y, t, p)
    return events


def sort_by_time(events: Events) -> Events:
    """Return events in order of time; events of the same time keep their order."""
    if bool((np.diff(events["t"]) < 0).any()):
        return events[np.argsort(events["t"], kind="stable")]
    return events


def check_file_size(file: Path) -> int:
    """Return the size in bytes of a file that contains one recording.

    Raises:
        EventFileError: if the file can't be read, is empty or is larger than `LARGEST_FILE`.
    """
    try:
        size = file.stat().st_size
    except OSError as error:
        raise unreadable(file, error) from error
    if size == 0:
        raise EventFileError(file, "is empty", "at least one event")
    if size > LARGEST_FILE:
        raise EventFileError(file, f"has {size} bytes", f"at most {LARGEST_FILE} in one recording")
    return size


def unreadable(file: Path, error: BaseException) -> EventFileError:
    """Return the error for a file that the system or a library could not read."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return EventFileError(file, f"can't be read ({reason})", "a complete, readable recording")


def find_fault(events: Events, sensor: tuple[int, int, int]) -> tuple[str, str] | None:
    """Return the first fault of a recording and the expectation, or None.

    Args:
        events: a recording.
        sensor: width, height and number of polarities.
    """
    if len(events) == 0:
        return "contains no event", "at least one"
    outside = _outside_sensor(events, sensor)
    if outside:
        return outside
    time = events["t"]
    falling = np.flatnonzero(np.diff(time) < 0)
    if len(falling):
        at = falling[0]
        return (
            f"has event {at + 1} at {time[at + 1]} us after an event at {time[at]} us",
            "times that never fall",
        )
    if time[0] < 0:
        return f"has event 0 at {time[0]} us", "times from 0"
    return None


def check_sensor(file: Path, events: Events, sensor: tuple[int, int, int]) -> Events:
    """Return the events unchanged.

    Args:
        file: the recording's file, for the message.
        events: a recording.
        sensor: width, height and number of polarities.

    Raises:
        EventFileError: if an event is outside the sensor.
    """
    outside = _outside_sensor(events, sensor)
    if outside:
        raise EventFileError(file, *outside)
    return events


def _outside_sensor(events: Events, sensor: tuple[int, int, int]) -> tuple[str, str] | None:
    for field, limit in zip("xyp", sensor, strict=True):
        value = events[field].astype(np.int64)
        wrong = np.flatnonzero((value < 0) | (value >= limit))
        if len(wrong):
            at = wrong[0]
            return f"has event {at} with {field}={value[at]}", f"{field} from 0 to {limit - 1}"
    return None
