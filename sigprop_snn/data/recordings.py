"""A split of event recordings that are binned where they are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from sigprop_snn.data.cache import FrameFile, fingerprint, stamps
from sigprop_snn.data.events import Events, unreadable
from sigprop_snn.data.frames import Counts, Sensor, bin_events, frame_shape
from sigprop_snn.data.source import Request, Split
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
