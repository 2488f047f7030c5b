"""How large and how long recordings are, found by looking at every one of them once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sigprop_snn.data.cache import fingerprint, stamps, write_whole
from sigprop_snn.data.events import Events
from sigprop_snn.data.source import Request


@dataclass(frozen=True)
class Extent:
    """What holds every event of some recordings.

    Attributes:
        width: pixels.
        height: pixels.
        duration: microseconds from a recording's first event to the longest one's end.
    """

    width: int
    height: int
    duration: int

    def __post_init__(self) -> None:
        for value in asdict(self).values():
            if type(value) is not int or value < 1:
                raise ValueError(f"{value!r} is no extent")


def extent(
    name: str, files: Sequence[Path], read: Callable[[Path], Events], request: Request
) -> Extent:
    """Return what holds every event of the recordings.

    Args:
        name: the data set's name.
        files: the recordings.
        read: gives a recording's events.
        request: says where the answer is kept.

    Raises:
        EventFileError: if a recording can't be read.
    """
    entry: Path | None = None
    if request.cache is not None:
        digest = fingerprint({"extent": name, "files": stamps(files, request.root)})
        entry = request.cache / f"{name}-{digest[:20]}.json"
        try:
            return Extent(**json.loads(entry.read_bytes()))
        except (OSError, ValueError, TypeError, RecursionError):
            pass  # nothing is there, or something damaged: look again
    width = height = duration = 1
    for file in files:
        events = read(file)
        width = max(width, int(events["x"].max()) + 1)
        height = max(height, int(events["y"].max()) + 1)
        duration = max(duration, int(events["t"][-1]) - int(events["t"][0]) + 1)
    found = Extent(width, height, duration)
    if entry is not None:
        write_whole(entry, lambda file: file.write(json.dumps(asdict(found)).encode()))
    return found
