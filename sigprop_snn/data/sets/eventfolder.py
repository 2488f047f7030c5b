"""A user's own recordings of events, one folder for each class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from sigprop_snn.data.events.formats import READERS, TEXT, read_events
from sigprop_snn.data.events.frames import Sensor, scaled_down
from sigprop_snn.data.events.recording import Events, check_sensor
from sigprop_snn.data.events.splits import as_frames, find_extent, one_per_file
from sigprop_snn.data.events.text_file import is_table
from sigprop_snn.data.sets.class_folders import find_class_folders
from sigprop_snn.data.source import Request, Source


def open_eventfolder(request: Request) -> Source:
    """Return recordings from `root/train/<class>/` and `root/test/<class>/`.

    They can be in any format of `read_events`, also mixed. A recording starts at its first event.
    Unless `Frames` gives the size of the sensor and the duration of a step, every recording is
    read once to find the smallest sensor and the shortest duration that include all events. Frames
    of larger sensors are scaled down to 128 pixels on the longest side, with a warning, unless
    `Frames` gives a size.

    Raises:
        DataNotFoundError: if `train` or `test` is missing.
        EventFileError: if a recording is damaged.
        SigpropError: if a class is empty, the two folders have different classes, or a few
            recordings are much longer or need a much larger sensor than the others.
    """
    classes, train, test = find_class_folders(
        "eventfolder", request.root, tuple(READERS), _is_recording
    )
    frames = request.frames
    plain = partial(read_events, order=frames.order, unit=frames.unit)
    sensor = _sensor([*train.files, *test.files], plain, request)
    request = replace(request, frames=scaled_down(frames, sensor))

    def read(file: Path) -> Events:
        return check_sensor(file, plain(file), sensor.size)

    splits = [
        as_frames(
            one_per_file(f"eventfolder-{split}", found.files, found.labels, read), sensor, request
        )
        for split, found in (("train", train), ("test", test))
    ]
    return Source("eventfolder", splits[0], splits[1], classes, timed=True)


def _is_recording(file: Path) -> bool:
    """Return whether a file is a recording, not a note: text must be a table."""
    return file.suffix.lower() not in TEXT or is_table(file)


def _sensor(files: list[Path], read: Callable[[Path], Events], request: Request) -> Sensor:
    """Return the sensor of `Frames`; the recordings give the values that are None there."""
    size, end = request.frames.sensor, request.frames.end_of(request.steps)
    if size is None or end is None:
        extent = find_extent(
            "eventfolder", files, read, request, size=size is None, duration=end is None
        )
        size = size or (extent.width, extent.height)
        end = end or extent.duration
    return Sensor((*size, 2), end, from_first=True, counts="int16")
