"""N-MNIST, through tonic."""

from __future__ import annotations

import os
from pathlib import Path

from sigprop_snn.arguments import path
from sigprop_snn.data.augment import Augment
from sigprop_snn.data.events import (
    EventFileError,
    Events,
    check_file_size,
    find_fault,
    unreadable,
)
from sigprop_snn.data.frames import Sensor
from sigprop_snn.data.recordings import as_frames, find_or_download, one_per_file
from sigprop_snn.data.source import Request, Source, Split
from sigprop_snn.data.static import TEN_DIGITS

# The recordings last about 310,000 microseconds. Later events count in the last step.
_SENSOR = Sensor(size=(34, 34, 2), duration=320_000)
_BYTES_PER_EVENT = 5
_ADVICE = (
    "Unpack train.zip and test.zip of N-MNIST (https://doi.org/10.17632/468j46mzdv.1) there. Any "
    "number of recordings is accepted, as Train/<digit>/<name>.bin and Test/<digit>/<name>.bin."
)


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
    fault = find_fault(events, _SENSOR.size)
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


def open_nmnist(request: Request) -> Source:
    """Return N-MNIST from `root/NMNIST`, in tonic's folder layout, with any number of recordings.

    Orchard et al. 2015, doi:10.3389/fnins.2015.00437.
    """
    folder = request.root / "NMNIST"
    splits = {folder / "Train": "<digit>/*.bin", folder / "Test": "<digit>/*.bin"}
    width = (request.frames.size or _SENSOR.size)[0]
    train, test = find_or_download("nmnist", splits, _ADVICE, request, _download)
    return Source(
        "nmnist",
        _split("train", train, request),
        _split("test", test, request),
        TEN_DIGITS,
        timed=True,
        augment=Augment(shift=width // 17, rotate=10, scale=0.1, shear=0.1),
    )


def _split(split: str, files: list[Path], request: Request) -> Split:
    for file in files:
        if file.parent.name not in TEN_DIGITS:
            raise EventFileError(file, f"is in the folder {file.parent.name!r}", "0 to 9")
    labels = [int(file.parent.name) for file in files]
    recordings = one_per_file(f"nmnist-{split}", files, labels, read_nmnist_file)
    return as_frames(recordings, _SENSOR, request)


def _download(folder: Path) -> None:
    from tonic.datasets import NMNIST

    for train in (True, False):
        NMNIST(str(folder), train=train)
