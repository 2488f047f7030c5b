"""Readers of event files, by format. No file can run code."""

from __future__ import annotations

import struct
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sigprop_snn.arguments import path
from sigprop_snn.data.events import (
    LARGEST_FILE,
    EventFileError,
    Events,
    check_file_size,
    make_events,
    sort_by_time,
    unreadable,
)
from sigprop_snn.data.isolated_reader import read_isolated
from sigprop_snn.data.nmnist import read_bin
from sigprop_snn.errors import SigpropError

LARGEST_SIDE = 4096
"""Largest width and height in pixels; no event camera has more."""

LONGEST = 24 * 3600 * 1_000_000
"""Longest recording in microseconds."""

_MOST_EVENTS = LARGEST_FILE // 5
_ADDRESS_BYTES = 8  # bytes of an event in AEDAT 2 and 3
_PACKET = struct.Struct("<HHIIIIII")  # AEDAT 3.1: type, source, size, 2 of time, 3 counts
_POLARITY = 1  # the packet type of polarity events


def read_events(file: Path | str) -> Events:
    """Read and check a recording of events.

    The suffix of the file name gives the format:

    * `.bin`: 5 bytes an event, as in N-MNIST.
    * `.aedat`: version 2 from a DVS128 or a DAVIS346, or version 3.1 from a DVS128.
    * `.aedat4`: needs the package aedat.
    * `.npy`: a structured array with the fields x, y, t and p.
    * `.h5`, `.hdf5`: data sets x, y, t and p, at the top or in the group `events`; or one
      structured data set `events`.

    Times are whole microseconds. Polarity is 1 or `True` for brighter, 0, -1 or `False` for darker.

    Args:
        file: path of the recording.

    Returns:
        Structured array with tonic's fields x, y, t (microseconds, rising) and p.

    Raises:
        EventFileError: if the file is missing, damaged, too large or no recording.
        SigpropError: if a package that the format needs isn't installed.
    """
    file = path("file", file)
    reader = READERS.get(file.suffix.lower())
    if reader is None:
        raise EventFileError(
            file, f"has the suffix {file.suffix!r}", f"one of {', '.join(READERS)}"
        )
    check_file_size(file)
    try:
        columns = reader(file)
    except SigpropError:
        raise
    # Damage makes tonic fail in many ways, and none of its errors names the file.
    except Exception as error:
        raise unreadable(file, error) from error
    return events_of_columns(file, *columns)


def events_of_columns(file: Path, x: Any, y: Any, t: Any, p: Any) -> Events:
    """Check the columns of a recording and return its events, sorted by time.

    Args:
        file: the recording's file, for messages.
        x: column of each event's pixel, whole numbers of any type.
        y: row of each event's pixel.
        t: microseconds.
        p: polarities; see `read_events`.

    Raises:
        EventFileError: if a value can't be part of a recording.
    """
    limits = {
        "x": (0, LARGEST_SIDE - 1),
        "y": (0, LARGEST_SIDE - 1),
        "t": (-(2**62), 2**62),
        "p": (-1, 1),
    }
    columns = {}
    for (name, (low, high)), values in zip(limits.items(), (x, y, t, p), strict=True):
        column = np.asarray(values)
        if column.ndim != 1 or column.dtype.kind not in "iufb":
            fault = f"contains {name} as {column.dtype} of shape {column.shape}"
            raise EventFileError(file, fault, "a row of whole numbers")
        with np.errstate(invalid="ignore"):
            wrong = ~((column >= low) & (column <= high))  # includes NaN
            if column.dtype.kind == "f":
                wrong |= column != np.floor(column)
        if wrong.any():
            at = int(wrong.argmax())
            fault = f"has event {at} with {name}={column[at]}"
            raise EventFileError(file, fault, f"a whole number from {low} to {high}")
        columns[name] = column.astype(np.int64)
    counts = {name: len(column) for name, column in columns.items()}
    if len(set(counts.values())) > 1:
        raise EventFileError(file, f"contains {counts}", "equally many of each")
    if not counts["x"]:
        raise EventFileError(file, "contains no event", "at least one")
    events = sort_by_time(make_events(columns["x"], columns["y"], columns["t"], columns["p"] > 0))
    duration = int(events["t"][-1]) - int(events["t"][0])
    if duration > LONGEST:
        raise EventFileError(file, f"lasts {duration} us", f"at most {LONGEST}, one day")
    return events


_Columns = tuple[Any, Any, Any, Any]


def _bin(file: Path) -> _Columns:
    return _fields(file, read_bin(file))


def _npy(file: Path) -> _Columns:
    return _fields(file, load_array(file))


def load_array(file: Path) -> NDArray[Any]:
    """Map the array of a `.npy` file into memory. Arrays of Python objects are refused.

    Raises:
        EventFileError: if the file is damaged or contains no plain array.
    """
    check_file_size(file)
    try:
        # Mapped, not read: a damaged header can ask for any amount of memory.
        array: NDArray[Any] = np.lib.format.open_memmap(file, mode="r")
    except Exception as error:
        raise unreadable(file, error) from error
    return array


def _fields(file: Path, array: NDArray[Any]) -> _Columns:
    names = array.dtype.names or ()
    if not {"x", "y", "t", "p"} <= set(names):
        found = f"the fields {', '.join(names)}" if names else f"{array.dtype} without fields"
        raise EventFileError(file, f"contains {found}", "the fields x, y, t and p")
    return array["x"], array["y"], array["t"], array["p"]


def _hdf5(file: Path) -> _Columns:
    x, y, t, p = read_isolated(file, "hdf5_events", _MOST_EVENTS)
    return x, y, t, p


def _aedat4(file: Path) -> _Columns:
    if find_spec("aedat") is None:
        raise SigpropError(
            f"reading {file} needs the package aedat, which is not installed; expected "
            "`pip install aedat`"
        )
    x, y, t, p = read_isolated(file, "aedat4_events")
    return x, y, t, p


def _aedat(file: Path) -> _Columns:
    from tonic.io import get_aer_events_from_file, read_aedat_header_from_file

    with file.open("rb") as stream:
        head = stream.read(64 * 1024)
    if not head.startswith(b"#!AER-DAT"):
        raise EventFileError(file, f"starts with {head[:9]!r}", "#!AER-DAT")
    version, start = read_aedat_header_from_file(str(file))[:2]
    if 2 <= version < 3:
        _check_addresses(file, start)
    elif version > 3:
        _check_packets(file, start)
    else:
        raise EventFileError(file, f"has AEDAT version {version:g}", "version 2 or 3.1")
    raw = get_aer_events_from_file(str(file), version, start)
    address, time = raw["address"].astype(np.int64), raw["timeStamp"].astype(np.int64)
    if version > 3:
        return (address >> 17) & 0x7FFF, (address >> 2) & 0x7FFF, time, (address >> 1) & 1
    if b"DAVIS346" in head[:start].upper():
        is_event = address >> 31 == 0  # the others are samples of grey levels
        address, time = address[is_event], time[is_event]
        x, y = 345 - ((address >> 12) & 0x3FF), 259 - ((address >> 22) & 0x1FF)
        return x, y, time, (address >> 11) & 1
    chip = [line for line in head[:start].splitlines() if b"AEChip" in line]
    if chip and b"DVS128" not in chip[0]:
        name = chip[0].split(b":")[-1].strip().decode("ascii", "replace")
        raise EventFileError(file, f"was recorded by {name}", "a DVS128 or a DAVIS346")
    return (address >> 8) & 0x7F, (address >> 1) & 0x7F, time, address & 1


def _check_addresses(file: Path, start: int) -> None:
    body = file.stat().st_size - start
    if body % _ADDRESS_BYTES:
        fault = f"has {body} bytes after its header"
        raise EventFileError(file, fault, f"a multiple of {_ADDRESS_BYTES}")


def _check_packets(file: Path, start: int) -> None:
    """Check that all packets are complete and contain polarity events: tonic reads no others."""
    end = file.stat().st_size
    with file.open("rb") as stream:
        while start < end:
            stream.seek(start)
            head = stream.read(_PACKET.size)
            if len(head) < _PACKET.size:
                raise EventFileError(
                    file, f"ends in the packet at byte {start}", "a complete packet"
                )
            kind, _, size, _, _, capacity, _, _ = _PACKET.unpack(head)
            if kind != _POLARITY or size != _ADDRESS_BYTES:
                fault = f"has at byte {start} a packet of type {kind} with events of {size} bytes"
                raise EventFileError(file, fault, "polarity events, type 1 with 8 bytes")
            start += _PACKET.size + capacity * size
            if start > end:
                raise EventFileError(file, f"ends {start - end} bytes early", "a complete packet")


READERS: dict[str, Callable[[Path], _Columns]] = {
    ".bin": _bin,
    ".aedat": _aedat,
    ".aedat4": _aedat4,
    ".npy": _npy,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
}
"""The reader of each format, by suffix."""
