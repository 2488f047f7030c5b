"""Recordings of events, and what makes one unusable."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sigprop_snn.errors import SigpropError

Events = NDArray[Any]
"""Structured array with tonic's fields: x, y, t (microseconds) and p (1 for brighter)."""

LARGEST_FILE = 2**30
"""Bytes of the largest file that is read as one recording."""


class EventFileError(SigpropError):
    """A recording that can't be used; the message names the file, its fault and what was due."""

    def __init__(self, file: Path, fault: str, expected: str) -> None:
        super().__init__(f"the event file {file} {fault}; expected {expected}")


def structured(x: Any, y: Any, t: Any, p: Any) -> Events:
    """Return events in tonic's structured array.

    Args:
        x: columns, one an event.
        y: rows.
        t: microseconds.
        p: polarities, 0 or 1.
    """
    from tonic.io import make_structured_array

    events: Events = make_structured_array(x, y, t, p)
    return events


def in_time(events: Events) -> Events:
    """Return events in the order of time; those of one time stay as they were."""
    if bool((np.diff(events["t"]) < 0).any()):
        return events[np.argsort(events["t"], kind="stable")]
    return events


def file_size(file: Path) -> int:
    """Return the bytes of a file that is to be read as one recording.

    Raises:
        EventFileError: if it can't be read, is empty or is larger than `LARGEST_FILE`.
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
    """Return the error for a file that the system or a library gave up on."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return EventFileError(file, f"can't be read ({reason})", "a whole, readable recording")


def fault(events: Events, sensor: tuple[int, int, int]) -> tuple[str, str] | None:
    """Return what is wrong with events and what was expected, or None.

    Args:
        events: a recording.
        sensor: width, height and number of polarities.
    """
    if len(events) == 0:
        return "holds no event", "at least one"
    outside = _outside(events, sensor)
    if outside:
        return outside
    time = events["t"]
    falling = np.flatnonzero(np.diff(time) < 0)
    if len(falling):
        at = falling[0]
        return (
            f"has event {at + 1} at {time[at + 1]} us after one at {time[at]} us",
            "times that never fall",
        )
    if time[0] < 0:
        return f"has event 0 at {time[0]} us", "times from 0"
    return None


def on_sensor(file: Path, events: Events, sensor: tuple[int, int, int]) -> Events:
    """Return the events as they are.

    Raises:
        EventFileError: if one lies outside the sensor.
    """
    outside = _outside(events, sensor)
    if outside:
        raise EventFileError(file, *outside)
    return events


def _outside(events: Events, sensor: tuple[int, int, int]) -> tuple[str, str] | None:
    for field, limit in zip("xyp", sensor, strict=True):
        value = events[field].astype(np.int64)
        odd = np.flatnonzero((value < 0) | (value >= limit))
        if len(odd):
            at = odd[0]
            return f"has event {at} with {field}={value[at]}", f"{field} from 0 to {limit - 1}"
    return None
