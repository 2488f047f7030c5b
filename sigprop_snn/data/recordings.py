"""A split of event recordings that are binned where they are asked for."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from sigprop_snn.data.cache import FrameFile, fingerprint, stamps
from sigprop_snn.data.download import fetch
from sigprop_snn.data.events import Events, unreadable
from sigprop_snn.data.frames import Counts, Sensor, bin_events, frame_shape
from sigprop_snn.data.source import DataNotFoundError, Request, Split
from sigprop_snn.errors import SigpropError


@dataclass(frozen=True)
class Recordings:
    """The recordings of one split.

    Attributes:
        name: of the data set and the split, such as "nmnist-train".
        y: labels, int64 `[N]`.
        read: gives the events of the recording of a number, checked.
        place: says where that recording lies, for messages.
        files: all files that hold recordings; a changed one is binned anew. Without any, nothing is
            kept on disk.
    """

    name: str
    y: Tensor
    read: Callable[[int], Events]
    place: Callable[[int], str]
    files: Sequence[Path] = ()


def in_files(
    name: str, files: Sequence[Path], labels: Sequence[int], read: Callable[[Path], Events]
) -> Recordings:
    """Return recordings that lie in one file each.

    Args:
        name: of the data set and the split.
        files: the recordings.
        labels: their labels.
        read: gives a recording's events, checked.
    """
    return Recordings(
        name,
        torch.tensor(labels, dtype=torch.int64),
        lambda number: read(files[number]),
        lambda number: f"the event file {files[number]}",
        files,
    )


def found_files(folder: Path, pattern: str) -> list[Path]:
    """Return the files under a folder that match a pattern, in order, without hidden ones."""
    return sorted(file for file in folder.glob(pattern) if not file.name.startswith("."))


def both_halves(
    name: str,
    halves: Mapping[Path, str],
    advice: str,
    request: Request,
    download: Callable[[Path], object],
) -> list[list[Path]]:
    """Return the files of the training half and of the test half, downloaded if both are absent.

    Any number of recordings will do, since a part of a data set is often all that is needed.

    Args:
        name: the data set's name.
        halves: the two folders, and where the recordings lie in each, such as `<digit>/*.bin`.
        advice: how to get them by hand, for the message.
        request: where to look, and whether to download.
        download: fills the folder it is given.

    Raises:
        DataNotFoundError: if a half is absent.
    """
    found = _in_halves(halves)
    missing = [
        half / place
        for (half, place), files in zip(halves.items(), found, strict=True)
        if not files
    ]
    if len(missing) == len(halves):
        fetch(name, request.root, missing, advice, download if request.download else None)
        found = _in_halves(halves)
        missing = [half for half, files in zip(halves, found, strict=True) if not files]
        if missing:
            raise DataNotFoundError(name, missing, f"The download brought none. {advice}")
    elif missing:
        # Recordings lie here already, so a download of gigabytes is not what was meant.
        raise DataNotFoundError(name, missing, f"The other half is there. {advice}")
    return found


def _in_halves(halves: Mapping[Path, str]) -> list[list[Path]]:
    return [found_files(half, re.sub("<.*>", "**", place)) for half, place in halves.items()]


def framed(recordings: Recordings, sensor: Sensor, request: Request) -> Split:
    """Return the recordings in frames, as the request wants them.

    Raises:
        SigpropError: if the sensor can't give such frames.
    """
    shape = frame_shape(sensor, request.frames, request.steps)
    path, digest = _entry(recordings, sensor, request)
    kept = FrameFile(path, digest, len(recordings.y), shape, sensor.counts)

    def counts(number: int) -> Counts:
        events = recordings.read(number)
        try:
            return bin_events(events, sensor, request.frames, request.steps)
        except SigpropError as error:
            raise SigpropError(f"in {recordings.place(number)}, {error}") from error

    def read(index: Tensor) -> Tensor:
        return torch.from_numpy(kept.read(index.tolist(), counts))

    bytes_each = math.prod(shape) * (2 if sensor.counts == "int16" else 1)
    return Split(recordings.y, read, sample_bytes=bytes_each)


def _entry(recordings: Recordings, sensor: Sensor, request: Request) -> tuple[Path | None, str]:
    """Where the frames are kept, and the hash of all that shapes them."""
    if request.cache is None or not recordings.files:
        return None, fingerprint({})
    try:
        files = stamps(recordings.files, request.root)
    except OSError as error:
        raise unreadable(Path(str(error.filename)), error) from error
    digest = fingerprint(
        {
            "recordings": recordings.name,
            "files": files,
            "sensor": asdict(sensor),
            "frames": asdict(request.frames),
            "steps": request.steps,
            "tonic": version("tonic"),
        }
    )
    return request.cache / f"{recordings.name}-{digest[:20]}.frames", digest
