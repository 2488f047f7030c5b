"""Recordings in the format of N-MNIST: five bytes an event."""

from __future__ import annotations

import os
from pathlib import Path

from sigprop_snn.arguments import path
from sigprop_snn.data.events.frames import Sensor
from sigprop_snn.data.events.recording import (
    EventFileError,
    Events,
    check_file_size,
    find_fault,
    unreadable,
)

# The recordings last about 310,000 microseconds. Later events count in the last step.
SENSOR = Sensor(size=(34, 34, 2), duration=320_000)
_BYTES_PER_EVENT = 5


def read_nmnist_file(file: str | os.PathLike[str]) -> Events:
    """Read and check one recording of N-MNIST.

    Args:
        file: path of the `.bin` file: 5 bytes an event.

    Returns:
        Structured array with the fields x, y, t (microseconds) and p, as tonic makes it.

    Raises:
        EventFileError: if the file is empty, incomplete or too large, or contains no event, a pixel
            outside the 34x34 sensor or a time that falls.
    """
    file = path("file", file)
    events = read_bin(file)
    fault = find_fault(events, SENSOR.size)
    if fault:
        raise EventFileError(file, *fault)
    return events


def read_bin(file: Path) -> Events:
    """Return the events of a file in N-MNIST's format, from a sensor of any size.

    Raises:
        EventFileError: if the file is empty, incomplete or too large.
    """
    from tonic.io import events_struct, read_mnist_file

    size = check_file_size(file)
    if size % _BYTES_PER_EVENT:
        expected = f"a positive multiple of {_BYTES_PER_EVENT} bytes"
        raise EventFileError(file, f"has {size} bytes", expected)
    try:
        events: Events = read_mnist_file(str(file), dtype=events_struct)
    except OSError as error:
        raise unreadable(file, error) from error
    return events
