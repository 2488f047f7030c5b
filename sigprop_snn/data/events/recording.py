"""Recordings of events, and the checks that a recording must pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sigprop_snn.arguments import refused
from sigprop_snn.errors import SigpropError

Events = NDArray[Any]
"""Structured array with tonic's fields x, y, t (microseconds) and p (1 for brighter)."""

LARGEST_FILE = 2**30
"""Largest file in bytes that is read as one recording."""

READABLE = "a complete, readable recording"
"""What is expected of every file, for messages."""

LONGEST = 24 * 3600 * 1_000_000
"""Longest recording in microseconds."""

LARGEST_SENSOR_SIDE = 4096
"""Largest width and height in pixels; no event camera has more."""

DISORDER = 500_000
"""Microseconds by which an event may be late in a recording. Readers sort such events."""

_JITTER = 1_000  # microseconds that are allowed in the shortest recording

FIELDS = "xytp"

UNITS: dict[str, float] = {"us": 1, "ns": 1e-3, "ms": 1_000, "s": 1_000_000}
"""Microseconds in each unit of time."""

_LIMITS = {
    "x": (0, LARGEST_SENSOR_SIDE - 1),
    "y": (0, LARGEST_SENSOR_SIDE - 1),
    "t": (-(2**62), 2**62),
    "p": (-1, 1),
}
# Lowest time and range's end of the clocks that start again.
_CLOCKS = [(0, 2**23), (0, 2**24), (0, 2**31), (-(2**31), 2**31), (0, 2**32), (0, 2**34)]
_WRAP_MARGIN = 16  # a wrap is from the last to the first 16th of a clock's range


class EventsFault(SigpropError):  # noqa: N818
    """Events that are no recording: the fault, and what was expected."""

    def __init__(self, fault: str, expected: str) -> None:
        super().__init__(f"the recording {fault}; expected {expected}")
        self.fault, self.expected = fault, expected


class EventFileError(SigpropError):
    """A recording that can't be used; the message names the file, the fault and the expectation.

    Attributes:
        fault: what is wrong.
        expected: what was expected.
    """

    def __init__(self, file: Path, fault: str, expected: str) -> None:
        self.fault, self.expected = fault, expected
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


def checked_order(name: str, value: Any) -> str | None:
    """Return the order of the columns of a table, or None.

    Raises:
        SigpropError: if it is given and not each of x, y, t and p once.
    """
    if value is None or (isinstance(value, str) and sorted(value) == sorted(FIELDS)):
        return value
    raise refused(name, value, "each of x, y, t and p once, such as 'txyp'")


def sort_by_time(events: Events) -> Events:
    """Return events in order of time; events of the same time keep their order."""
    if bool((np.diff(events["t"]) < 0).any()):
        return events[np.argsort(events["t"], kind="stable")]
    return events


def checked_events(x: Any, y: Any, t: Any, p: Any, unit: str = "us") -> Events:
    """Check the columns of a recording and return its events in order of time.

    A clock that starts again from its lowest value is continued: 23, 24, 31, 32 and 34 bits and
    signed 32 bits of microseconds are known. Times may be out of order by up to 0.5 s and half the
    recording.

    Args:
        x: column of each event's pixel, whole numbers of any type.
        y: row of each event's pixel.
        t: times; whole numbers if they are microseconds.
        p: polarities: 1 or True for brighter, 0, -1 or False for darker.
        unit: unit of the times, a name in `UNITS`.

    Raises:
        EventsFault: if a value can't be part of a recording.
    """
    columns = {}
    for name, values in (("x", x), ("y", y), ("t", t), ("p", p)):
        column = np.asarray(values)
        if column.ndim != 1 or column.dtype.kind not in "iufb":
            fault = f"contains {name} as {column.dtype} of shape {column.shape}"
            raise EventsFault(fault, "a row of whole numbers")
        if name == "t":
            column = _microseconds(column, unit)
        low, high = _LIMITS[name]
        with np.errstate(invalid="ignore"):
            wrong = ~((column >= low) & (column <= high))  # includes NaN
            if column.dtype.kind == "f":
                wrong |= column != np.floor(column)
        if wrong.any():
            at = int(wrong.argmax())
            expected = f"a whole number from {low} to {high}"
            if name == "t" and column.dtype.kind == "f" and np.isfinite(column[at]):
                expected = (
                    "whole microseconds; for times in seconds choose the unit 's' (--time-unit s)"
                )
            raise EventsFault(f"has event {at} with {name}={column[at]}", expected)
        columns[name] = column.astype(np.int64)
    counts = {name: len(column) for name, column in columns.items()}
    if len(set(counts.values())) > 1:
        raise EventsFault(f"contains {counts}", "equally many of each")
    if not counts["x"]:
        raise EventsFault("contains no event", "at least one")
    time = _continued(columns["t"])
    events = sort_by_time(make_events(columns["x"], columns["y"], time, columns["p"] > 0))
    duration = int(events["t"][-1]) - int(events["t"][0])
    if duration > LONGEST:
        raise EventsFault(f"lasts {duration} us", f"at most {LONGEST}, one day")
    return events


def _microseconds(column: NDArray[Any], unit: str) -> NDArray[Any]:
    """Return times in microseconds: whole numbers, unless `column` has others than that."""
    factor = UNITS[unit]
    if factor == 1:
        return column
    with np.errstate(invalid="ignore", over="ignore"):
        if column.dtype.kind == "f" or factor < 1:
            return np.rint(column.astype(np.float64) * factor)
        fits = np.abs(column.astype(np.float64)) * factor <= _LIMITS["t"][1]
        return np.where(fits, column.astype(np.int64), _LIMITS["t"][1]) * int(factor)


def _continued(time: NDArray[np.int64]) -> NDArray[np.int64]:
    """Continue a clock that started again, and accept times that are a little out of order.

    Raises:
        EventsFault: if other times fall.
    """
    fault = _falling_time(time)
    if fault is None:
        return time
    low, high = int(time.min()), int(time.max())
    for first, end in _CLOCKS:
        margin = (end - first) // _WRAP_MARGIN
        if not first <= low <= high < end or low > first + margin or high < end - margin:
            continue
        wraps = np.diff(time) < -(end - first - 2 * margin)
        turns = np.concatenate([[0], np.cumsum(wraps, dtype=np.int64)])
        # A late event from before the wrap appears as a rise of almost the clock's range.
        turns -= np.concatenate([[0], np.cumsum(np.diff(time) > end - first - 2 * margin)])
        continued = time + turns * (end - first)
        if wraps.any() and _falling_time(continued) is None:
            return np.asarray(continued)
    raise fault


def _falling_time(time: NDArray[np.int64]) -> EventsFault | None:
    """Return the fault of times that fall by more than a little disorder."""
    latest = np.maximum.accumulate(time)
    late = latest - time
    allowed = min(DISORDER, max(_JITTER, int(latest[-1] - time.min()) // 2))
    if int(late.max()) <= allowed:
        return None
    at = int((late > allowed).argmax())
    return EventsFault(
        f"has event {at} at {time[at]} us after an event at {latest[at]} us",
        f"times that rise, or fall by at most {DISORDER} us and half the recording. A clock that "
        "starts again has to be continued",
    )


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
    return EventFileError(file, f"can't be read ({reason})", READABLE)


def find_fault(events: Events, sensor: tuple[int, int, int]) -> tuple[str, str] | None:
    """Return the first fault of a recording and the expectation, or None.

    Args:
        events: a recording.
        sensor: width, height and number of polarities.
    """
    if len(events) == 0:
        return "contains no event", "at least one"
    outside = outside_sensor(events, sensor)
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
    outside = outside_sensor(events, sensor)
    if outside:
        raise EventFileError(file, *outside)
    return events


def outside_sensor(events: Events, sensor: tuple[int, int, int]) -> tuple[str, str] | None:
    """Return the fault of the first event outside a sensor and the expectation, or None."""
    for field, limit in zip("xyp", sensor, strict=True):
        value = events[field].astype(np.int64)
        wrong = np.flatnonzero((value < 0) | (value >= limit))
        if len(wrong):
            at = wrong[0]
            return f"has event {at} with {field}={value[at]}", f"{field} from 0 to {limit - 1}"
    return None
