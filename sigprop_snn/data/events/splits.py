"""Splits of event recordings, which become frames when they are read."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from sigprop_snn.data.cache import FrameFile, fingerprint, stamps
from sigprop_snn.data.download import fetch
from sigprop_snn.data.events.extent import CURES, Extent, common_extent
from sigprop_snn.data.events.frames import Counts, Sensor, bin_events, frame_shape
from sigprop_snn.data.events.recording import Events, unreadable
from sigprop_snn.data.parallel import in_parallel
from sigprop_snn.data.source import DataNotFoundError, Request, Split
from sigprop_snn.errors import SigpropError
from sigprop_snn.files import write_atomically


@dataclass(frozen=True)
class Recordings:
    """The recordings of one split.

    Attributes:
        name: the data set and the split, such as "nmnist-train".
        y: labels, int64 `[N]`.
        read: returns the checked events of the recording with the given number.
        describe: returns a description of that recording's place, for messages.
        files: all files that contain recordings; the frames of a changed file are made again.
            Empty for recordings whose frames are not kept on disk.
    """

    name: str
    y: Tensor
    read: Callable[[int], Events]
    describe: Callable[[int], str]
    files: Sequence[Path] = ()


def one_per_file(
    name: str, files: Sequence[Path], labels: Sequence[int], read: Callable[[Path], Events]
) -> Recordings:
    """Return recordings that are stored in one file each.

    Args:
        name: the data set and the split.
        files: the recordings.
        labels: their labels.
        read: returns the checked events of a recording.
    """
    return Recordings(
        name,
        torch.tensor(labels, dtype=torch.int64),
        lambda number: read(files[number]),
        lambda number: f"the event file {files[number]}",
        files,
    )


def find_files(folder: Path, pattern: str) -> list[Path]:
    """Return the files below a folder that match a pattern, sorted, without hidden ones."""
    return sorted(
        file
        for file in folder.glob(pattern)
        if not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def find_or_download(
    name: str,
    splits: Mapping[Path, str],
    advice: str,
    request: Request,
    download: Callable[[Path], object],
) -> list[list[Path]]:
    """Return the files of the training split and of the test split.

    They are downloaded if both are missing. Any number of recordings is accepted, because a part of
    a data set is often enough.

    Args:
        name: the data set's name.
        splits: the two folders, and the pattern of the recordings in each, such as `<digit>/*.bin`.
        advice: how to get the files by hand, for messages.
        request: the folder to look in, and whether to download.
        download: downloads into the folder that it receives.

    Raises:
        DataNotFoundError: if a split is missing.
    """
    found = _find_splits(splits)
    missing = [
        split / pattern
        for (split, pattern), files in zip(splits.items(), found, strict=True)
        if not files
    ]
    if len(missing) == len(splits):
        fetch(name, request.root, missing, advice, download if request.download else None)
        found = _find_splits(splits)
        missing = [split for split, files in zip(splits, found, strict=True) if not files]
        if missing:
            raise DataNotFoundError(name, missing, f"The download did not contain them. {advice}")
    elif missing:
        # The user has a part of the data set and will not expect a download of gigabytes.
        raise DataNotFoundError(name, missing, f"The other split exists. {advice}")
    return found


def _find_splits(splits: Mapping[Path, str]) -> list[list[Path]]:
    return [find_files(split, re.sub("<.*>", "**", pattern)) for split, pattern in splits.items()]


def as_frames(recordings: Recordings, sensor: Sensor, request: Request) -> Split:
    """Return the recordings as a split of frames.

    Raises:
        SigpropError: if the frames do not fit the sensor.
    """
    shape = frame_shape(sensor, request.frames, request.steps)
    path, digest = _cache_entry(recordings, sensor, request)
    stored = FrameFile(path, digest, len(recordings.y), shape, sensor.counts)

    def make(number: int) -> Counts:
        events = recordings.read(number)
        try:
            return bin_events(events, sensor, request.frames, request.steps)
        except SigpropError as error:
            raise SigpropError(f"in {recordings.describe(number)}, {error}") from error

    def read(index: Tensor) -> Tensor:
        return torch.from_numpy(stored.read(index.tolist(), make))

    sample_bytes = math.prod(shape) * (2 if sensor.counts == "int16" else 1)
    return Split(recordings.y, read, sample_bytes=sample_bytes, files=recordings.files)


def _cache_entry(
    recordings: Recordings, sensor: Sensor, request: Request
) -> tuple[Path | None, str]:
    """Return the file that keeps the frames and the hash of everything that determines them."""
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


def find_extent(
    name: str,
    files: Sequence[Path],
    read: Callable[[Path], Events],
    request: Request,
    *,
    size: bool = True,
    duration: bool = True,
) -> Extent:
    """Read every recording and return their common extent; the result is kept in the cache.

    Args:
        name: the data set's name.
        files: the recordings.
        read: returns the events of a recording.
        request: names the cache.
        size: whether to find width and height; otherwise they are 1.
        duration: whether to find the duration; otherwise it is 1.

    Raises:
        EventFileError: if a recording can't be read.
        SigpropError: if a few recordings are much larger or longer than the others.
    """
    entry: Path | None = None
    if request.cache is not None:
        digest = fingerprint(
            {
                "extents": name,
                "files": stamps(files, request.root),
                "order": request.frames.order,
                "unit": request.frames.unit,
            }
        )
        entry = request.cache / f"{name}-{digest[:20]}.json"
    extents = None if entry is None else _stored_extents(entry, len(files))
    if extents is None:
        extents = _read_extents(name, files, read)
        if entry is not None:
            _store_extents(entry, extents)
    if not size:
        extents = [replace(extent, width=1, height=1) for extent in extents]
    if not duration:
        extents = [replace(extent, duration=1) for extent in extents]
    places = [f"the event file {file}" for file in files]
    return common_extent(dict(zip(places, extents, strict=True)), CURES)


def _read_extents(name: str, files: Sequence[Path], read: Callable[[Path], Events]) -> list[Extent]:
    def extent(file: Path) -> Extent:
        return Extent.of(read(file))

    return list(in_parallel(extent, files, f"measuring {name}"))


def _stored_extents(entry: Path, count: int) -> list[Extent] | None:
    try:
        extents = [Extent(*values) for values in json.loads(entry.read_bytes())]
    except (OSError, ValueError, TypeError, RecursionError):
        return None  # the entry is missing or damaged
    return extents if len(extents) == count else None


def _store_extents(entry: Path, extents: Sequence[Extent]) -> None:
    # Without a place to write, the next load reads the recordings again.
    with suppress(SigpropError):
        text = json.dumps([[e.width, e.height, e.duration] for e in extents])
        write_atomically(entry, lambda file: file.write_text(text), make_folders=True)
