"""A person's own recordings of events, in one folder a class."""

from __future__ import annotations

from pathlib import Path

from sigprop_snn.data.events import Events, on_sensor
from sigprop_snn.data.extent import extent
from sigprop_snn.data.formats import READERS, read_events
from sigprop_snn.data.frames import Sensor
from sigprop_snn.data.recordings import found_files, framed, in_files
from sigprop_snn.data.source import DataNotFoundError, Request, Source
from sigprop_snn.errors import SigpropError


def open_eventfolder(request: Request) -> Source:
    """Return recordings from `root/train/<class>/` and `root/test/<class>/`.

    They may be in any format of `read_events`, and in several. A recording begins at its first
    event. Where the frames don't say how large the sensor is and how long the steps last, every
    recording is looked at once, and the smallest sensor and the longest recording that hold all
    events are taken.

    Raises:
        DataNotFoundError: if one of the two folders is absent.
        EventFileError: for a damaged recording.
        SigpropError: if a class has no recordings, or the two folders have different classes.
    """
    halves = {split: request.root / split for split in ("train", "test")}
    missing = [half / "<class>" for half in halves.values() if not half.is_dir()]
    if missing:
        raise DataNotFoundError(
            "eventfolder", missing, "The data folder is the one that holds train and test."
        )
    found = {split: _by_class(half) for split, half in halves.items()}
    classes = tuple(found["train"])
    if classes != tuple(found["test"]):
        odd = sorted(set(classes) ^ set(found["test"]))
        raise SigpropError(
            f"the classes in {halves['train']} and {halves['test']} differ in {', '.join(odd)}; "
            "expected the same folders in both"
        )
    sensor = _sensor(
        [file for half in found.values() for files in half.values() for file in files], request
    )

    def read(file: Path) -> Events:
        return on_sensor(file, read_events(file), sensor.size)

    splits = {}
    for split, by_class in found.items():
        samples = [(f, label) for label, files in enumerate(by_class.values()) for f in files]
        files, labels = [file for file, _ in samples], [label for _, label in samples]
        splits[split] = framed(
            in_files(f"eventfolder-{split}", files, labels, read), sensor, request
        )
    return Source("eventfolder", splits["train"], splits["test"], classes, timed=True)


def _by_class(half: Path) -> dict[str, list[Path]]:
    """The recordings of every class."""
    folders = sorted(f for f in half.iterdir() if f.is_dir() and not f.name.startswith("."))
    found = {
        folder.name: [f for f in found_files(folder, "**/*") if f.suffix.lower() in READERS]
        for folder in folders
    }
    empty = [half / name for name, files in found.items() if not files]
    if empty or not found:
        raise SigpropError(
            f"{empty[0] if empty else half} holds no recordings; expected files that end in "
            f"{', '.join(READERS)}, in one folder a class"
        )
    return found


def _sensor(files: list[Path], request: Request) -> Sensor:
    """The sensor of the recordings, found by looking at them where the frames leave it open."""
    frames = request.frames
    end = frames.end
    if frames.bin_width is not None:
        end = frames.start + frames.bin_width * request.steps
    if frames.sensor is None or end is None:
        seen = extent("eventfolder", files, read_events, request)
        size = frames.sensor or (seen.width, seen.height)
        return Sensor((*size, 2), end or seen.duration, from_first=True, counts="int16")
    return Sensor((*frames.sensor, 2), end, from_first=True, counts="int16")
