"""Readers of event files, by format. No file can run code."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sigprop_snn.arguments import one_of, path
from sigprop_snn.data.events.nmnist_file import read_bin
from sigprop_snn.data.events.prophesee import Columns, read_dat, read_raw
from sigprop_snn.data.events.recording import (
    FIELDS,
    LARGEST_FILE,
    READABLE,
    UNITS,
    EventFileError,
    Events,
    EventsFault,
    check_file_size,
    checked_events,
    checked_order,
    unreadable,
)
from sigprop_snn.data.events.text_file import read_text
from sigprop_snn.errors import SigpropError
from sigprop_snn.processes.isolated_reader import FileFaultError, read_isolated

# numpy parses a header with `ast`, which fails at random in several threads of Python 3.11
# (https://github.com/python/cpython/issues/106905).
_HEADER_LOCK = Lock()
_MOST_EVENTS = LARGEST_FILE // 5
_ADDRESS_BYTES = 8  # bytes of an event in AEDAT 2 and 3
_PACKET = struct.Struct("<HHIIIIII")  # AEDAT 3.1: type, source, size, 2 of time, 3 counts
_POLARITY = 1  # the packet type of polarity events


def read_events(
    file: str | os.PathLike[str], *, order: str | None = None, unit: str = "us"
) -> Events:
    """Read and check a recording of events.

    The suffix of the file name gives the format:

    * `.bin`: 5 bytes an event, as in N-MNIST.
    * `.aedat`: version 2 from a DVS128 or a DAVIS346, or version 3.1 from a DVS128.
    * `.aedat4`: needs the package aedat.
    * `.raw`, `.dat`: from a Prophesee camera, in EVT 2.0, EVT 3.0 or DAT.
    * `.npy`: a structured array with the fields x, y, t and p; or numbers of shape (events, 4).
    * `.h5`, `.hdf5`: data sets x, y, t and p, at the top or in the group `events`; or one
      structured data set `events`. Compression by Blosc and others needs the package hdf5plugin.
    * `.csv`, `.txt`: four columns; a first line may name them.

    Polarity is 1 or `True` for brighter, 0, -1 or `False` for darker. A clock that starts again is
    continued, and times that are a little out of order are sorted; see `checked_events`.

    Args:
        file: path of the recording.
        order: order of columns that have no names, such as "txyp".
        unit: unit of the times in `.npy`, HDF5 and text: "us" (whole numbers), "ns", "ms" or "s".

    Returns:
        Structured array with tonic's fields x, y, t (microseconds, rising) and p.

    Raises:
        EventFileError: if the file is missing, damaged, too large or no recording.
        SigpropError: if a package that the format needs isn't installed, or another argument can't
            be used.
    """
    file = path("file", file)
    one_of("unit", unit, UNITS)
    checked_order("order", order)
    suffix = file.suffix.lower()
    reader = READERS.get(suffix)
    if reader is None:
        raise EventFileError(
            file, f"has the suffix {file.suffix!r}", f"one of {', '.join(READERS)}"
        )
    check_file_size(file)
    try:
        columns = reader(file, order)
    except SigpropError:
        raise
    # Damage makes tonic fail in many ways, and none of its errors names the file.
    except Exception as error:
        raise unreadable(file, error) from error
    return _events_of_columns(file, *columns, unit=unit if suffix in _ANY_UNIT else "us")


def _events_of_columns(file: Path, x: Any, y: Any, t: Any, p: Any, unit: str = "us") -> Events:
    """Check the columns of a recording and return its events; see `checked_events`.

    Raises:
        EventFileError: if a value can't be part of a recording.
    """
    try:
        return checked_events(x, y, t, p, unit)
    except EventsFault as error:
        raise EventFileError(file, error.fault, error.expected) from None


def _bin(file: Path, order: str | None) -> Columns:
    return _fields(file, read_bin(file))


def _npy(file: Path, order: str | None) -> Columns:
    array = _load_array(file)
    return _table(file, array, order) if array.dtype.names is None else _fields(file, array)


def _text(file: Path, order: str | None) -> Columns:
    numbers, named = read_text(file)
    return _table(file, numbers, named or order)


def _table(file: Path, array: NDArray[Any], order: str | None) -> Columns:
    """Return the columns of a table without names, `[events, 4]`."""
    if array.ndim != 2 or array.shape[1] != len(FIELDS):
        fault = f"contains {array.dtype} of shape {array.shape} without fields"
        raise EventFileError(file, fault, "the fields x, y, t and p, or four columns")
    if order is None:
        raise EventFileError(
            file,
            f"contains {array.dtype} of shape {array.shape} without names of its columns",
            "their order: Frames(order='txyp'), --event-order txyp, or another",
        )
    return _in_order(array, order)


def _in_order(array: NDArray[Any], order: str) -> Columns:
    x, y, t, p = (array[:, order.index(field)] for field in FIELDS)
    return x, y, t, p


def read_table(file: Path, order: str, unit: str = "us") -> Events:
    """Return the events of a `.npy` file of numbers, one row for each event.

    Args:
        file: path of the recording.
        order: order of the columns, such as "txyp".
        unit: unit of the times, a name in `UNITS`.

    Raises:
        EventFileError: if the file is damaged or contains no such recording.
    """
    array = _load_array(file)
    if array.ndim != 2 or array.shape[1] != len(FIELDS) or array.dtype.kind not in "iuf":
        raise EventFileError(
            file, f"contains {array.dtype} of shape {array.shape}", "numbers of shape (events, 4)"
        )
    return _events_of_columns(file, *_in_order(array, order), unit=unit)


def _load_array(file: Path) -> NDArray[Any]:
    """Map the array of a `.npy` file into memory. Arrays of Python objects are refused.

    Raises:
        EventFileError: if the file is damaged or contains no plain array.
    """
    check_file_size(file)
    try:
        # Mapped, not read: a damaged header can ask for any amount of memory.
        with _HEADER_LOCK:
            array: NDArray[Any] = np.lib.format.open_memmap(file, mode="r")
    except Exception as error:
        raise unreadable(file, error) from error
    return array


def _fields(file: Path, array: NDArray[Any]) -> Columns:
    names = array.dtype.names or ()
    if not {"x", "y", "t", "p"} <= set(names):
        found = f"the fields {', '.join(names)}" if names else f"{array.dtype} without fields"
        raise EventFileError(file, f"contains {found}", "the fields x, y, t and p")
    return array["x"], array["y"], array["t"], array["p"]


def read_arrays(file: Path, job: str, *arguments: Any) -> list[NDArray[Any]]:
    """Return the arrays that a job of `reader_process` finds in a file of recordings.

    Raises:
        EventFileError: if the file can't be used or crashes the library that reads it.
    """
    try:
        return read_isolated(file, job, *arguments)
    except FileFaultError as error:
        raise EventFileError(file, error.fault, error.expected or READABLE) from error


def _hdf5(file: Path, order: str | None) -> Columns:
    x, y, t, p = read_arrays(file, "hdf5_events", _MOST_EVENTS)
    return x, y, t, p


def _aedat4(file: Path, order: str | None) -> Columns:
    if find_spec("aedat") is None:
        raise SigpropError(
            f"reading {file} needs the package aedat, which is not installed; expected "
            "`pip install aedat`"
        )
    x, y, t, p = read_arrays(file, "aedat4_events")
    return x, y, t, p


def _aedat(file: Path, order: str | None) -> Columns:
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


READERS: dict[str, Callable[[Path, str | None], Columns]] = {
    ".bin": _bin,
    ".aedat": _aedat,
    ".aedat4": _aedat4,
    ".npy": _npy,
    ".h5": _hdf5,
    ".hdf5": _hdf5,
    ".dat": lambda file, order: read_dat(file),
    ".raw": lambda file, order: read_raw(file),
    ".csv": _text,
    ".txt": _text,
}
"""The reader of each format, by suffix. It receives the order of columns without names."""

TEXT = (".csv", ".txt")
_ANY_UNIT = (".npy", ".h5", ".hdf5", *TEXT)
