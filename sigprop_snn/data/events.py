"""Events in frames, and N-MNIST."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.data.download import fetch
from sigprop_snn.data.source import DataNotFoundError, Source, Split
from sigprop_snn.data.static import TEN_DIGITS
from sigprop_snn.errors import SigpropError

NMNIST_SENSOR = (34, 34, 2)
NMNIST_DURATION = 320_000
"""Microseconds. The recordings take about 310,000; what comes later counts in the last step."""

_BYTES_PER_EVENT = 5
_ADVICE = (
    "Unpack train.zip and test.zip of N-MNIST (https://doi.org/10.17632/468j46mzdv.1) there; any "
    "number of recordings will do, as Train/<digit>/<name>.bin and Test/<digit>/<name>.bin."
)


class EventFileError(SigpropError):
    """A recording that can't be used; the message names the file, its fault and what was due."""

    def __init__(self, file: Path, fault: str, expected: str) -> None:
        super().__init__(f"the event file {file} {fault}; expected {expected}")


def to_frames(
    events: np.ndarray[Any, Any], sensor: tuple[int, int, int], steps: int, duration: int
) -> np.ndarray[Any, Any]:
    """Counts events per step, polarity and pixel (`tonic.transforms.ToFrame`). None is lost.

    Args:
        events: structured array with the fields x, y, t (microseconds, rising) and p.
        sensor: width, height and number of polarities.
        steps: number of time steps T.
        duration: microseconds that the steps share equally; later events count in the last step.

    Returns:
        Counts, uint8 `[T, P, H, W]`.

    Raises:
        SigpropError: if there is no event, one lies outside the sensor, a time falls or is below
            0, `steps` < 1, or one pixel has more than 255 events in a step.
    """
    from tonic.transforms import ToFrame

    if steps < 1:
        raise SigpropError(f"steps is {steps}; at least 1 time step is needed")
    wrong = _fault(events, sensor)
    if wrong:
        raise SigpropError(f"a recording {wrong[0]}; expected {wrong[1]}")
    window = -(-duration // steps)
    end = window * steps
    held = events.copy()
    held["t"] = np.minimum(held["t"], end - 1)
    counts: np.ndarray[Any, Any] = ToFrame(sensor, time_window=window, start_time=0, end_time=end)(
        held
    )
    if counts.max() > 255 or int(counts.sum()) != len(events):
        raise SigpropError(
            f"one pixel has more than 255 events in a step of {window} microseconds; "
            f"expected at most 255 (more steps than {steps} make a step shorter)"
        )
    return counts.astype(np.uint8)


def _fault(events: np.ndarray[Any, Any], sensor: tuple[int, int, int]) -> tuple[str, str] | None:
    """What is wrong with events and what was expected, or None."""
    if len(events) == 0:
        return "holds no event", "at least one"
    for field, limit in zip("xyp", sensor, strict=True):
        value = events[field].astype(np.int64)
        outside = np.flatnonzero((value < 0) | (value >= limit))
        if len(outside):
            at = outside[0]
            return f"has event {at} with {field}={value[at]}", f"{field} from 0 to {limit - 1}"
    time = events["t"]
    falling = np.flatnonzero(np.diff(time) < 0)
    if len(falling):
        at = falling[0]
        return (
            f"has event {at + 1} at {time[at + 1]} us after one at {time[at]} us",
            "times that never fall",
        )
    if time[0] < 0:
        return f"has event 0 at {time[0]} us", "times from 0"
    return None


def stack_frames(
    recordings: Sequence[Any], to_counts: Callable[[Any], np.ndarray[Any, Any]]
) -> Tensor:
    """Frames of several recordings, uint8 `[N, T, P, H, W]`."""
    first = to_counts(recordings[0])
    frames = torch.empty((len(recordings), *first.shape), dtype=torch.uint8)
    for i, recording in enumerate(recordings):
        frames[i] = torch.from_numpy(to_counts(recording) if i else first)
    return frames


def read_nmnist_file(file: Path) -> np.ndarray[Any, Any]:
    """Reads and checks one recording of N-MNIST.

    Args:
        file: path of the `.bin` file: 5 bytes an event.

    Returns:
        Structured array with the fields x, y, t (microseconds) and p, as tonic makes it.

    Raises:
        EventFileError: if the file is empty or cut, holds no event, a pixel outside the 34x34
            sensor or a time that falls.
    """
    from tonic.io import events_struct, read_mnist_file

    try:
        size = file.stat().st_size
        if size == 0 or size % _BYTES_PER_EVENT:
            fault = "is empty" if size == 0 else f"has {size} bytes"
            raise EventFileError(file, fault, f"a positive multiple of {_BYTES_PER_EVENT} bytes")
        events: np.ndarray[Any, Any] = read_mnist_file(str(file), dtype=events_struct)
    except OSError as error:
        raise EventFileError(file, f"can't be read ({error})", "a readable file") from error
    wrong = _fault(events, NMNIST_SENSOR)
    if wrong:
        raise EventFileError(file, *wrong)
    return events


def open_nmnist(root: Path, steps: int, download: bool) -> Source:
    """N-MNIST from `root/NMNIST`, as tonic lays it out; any number of recordings."""
    folder = root / "NMNIST"
    halves = [folder / "Train", folder / "Test"]
    found = [_recordings(half) for half in halves]
    missing = [
        half / "<digit>" / "*.bin" for half, files in zip(halves, found, strict=True) if not files
    ]
    if len(missing) == 2:
        fetch("nmnist", root, missing, _ADVICE, _download if download else None)
        found = [_recordings(half) for half in halves]
    elif missing:
        # Recordings lie here already, so a download of a gigabyte is not what was meant.
        raise DataNotFoundError("nmnist", missing, f"The other half is there. {_ADVICE}")
    train, test = (_split(files, steps) for files in found)
    return Source("nmnist", train, test, TEN_DIGITS, timed=True)


def _recordings(half: Path) -> list[Path]:
    return sorted(file for file in half.glob("**/*.bin") if not file.name.startswith("."))


def _split(files: list[Path], steps: int) -> Split:
    for file in files:
        if file.parent.name not in TEN_DIGITS:
            raise EventFileError(file, f"lies in {file.parent.name!r}", "a folder named 0 to 9")

    def frames(file: Path) -> np.ndarray[Any, Any]:
        events = read_nmnist_file(file)
        try:
            return to_frames(events, NMNIST_SENSOR, steps, NMNIST_DURATION)
        except SigpropError as error:
            raise SigpropError(f"in the event file {file}, {error}") from error

    return Split(
        torch.tensor([int(file.parent.name) for file in files]),
        lambda index: stack_frames([files[i] for i in index.tolist()], frames),
    )


def _download(folder: Path) -> None:
    from tonic.datasets import NMNIST

    for train in (True, False):
        NMNIST(str(folder), train=train)
