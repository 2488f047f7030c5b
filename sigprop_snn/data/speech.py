"""The Heidelberg spiking data sets, SHD and SSC: spoken words on 700 channels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from sigprop_snn.data.apart import read_apart
from sigprop_snn.data.download import fetch
from sigprop_snn.data.events import EventFileError, Events, in_time, structured
from sigprop_snn.data.frames import Sensor
from sigprop_snn.data.recordings import Recordings, framed
from sigprop_snn.data.source import Request, Source, Split

CHANNELS = 700

# The longest word takes about 1.37 seconds; what comes later counts in the last step.
_SENSOR = Sensor(size=(CHANNELS, 1, 1), duration=1_400_000, line=True)
_LONGEST = 3600.0
_MOST_CLASSES = 1000
_MOST_RECORDINGS = 10_000_000


def open_shd(request: Request) -> Source:
    """Return the Spiking Heidelberg Digits from `root/SHD`, as tonic lays them out.

    A step of a sample has the shape `(1, 700)`, one row of channels, which fits the network `mlp`.
    Cramer et al. 2020, doi:10.1109/TNNLS.2020.3044364.
    """
    return _open("shd", "SHD", {"train": True, "test": True}, request)


def open_ssc(request: Request) -> Source:
    """Return the Spiking Speech Commands from `root/SSC`, as tonic lays them out.

    A step of a sample has the shape `(1, 700)`, one row of channels, which fits the network `mlp`.
    The validation samples are the data set's own, where its file `ssc_valid.h5` is there. Cramer
    et al. 2020, doi:10.1109/TNNLS.2020.3044364.
    """
    return _open("ssc", "SSC", {"train": True, "test": True, "valid": False}, request)


def _open(name: str, folder: str, parts: Mapping[str, bool], request: Request) -> Source:
    """One of the two; `parts` says of each file whether it has to be there."""
    files = {part: request.root / folder / f"{name}_{part}.h5" for part in parts}
    missing = [files[part] for part, needed in parts.items() if needed and not files[part].exists()]
    if missing:
        zips = " and ".join(f"{file.name}.zip" for file in missing)
        advice = f"Unpack {zips} of https://zenkelab.org/datasets in {request.root / folder}."
        download = partial(_download, folder, tuple(parts)) if request.download else None
        fetch(name, request.root, missing, advice, download)
    splits = {
        part: _split(f"{name}-{part}", file, request)
        for part, file in files.items()
        if file.exists()
    }
    return Source(
        name,
        splits["train"],
        splits["test"],
        _classes(files["train"]),
        timed=True,
        validation=splits.get("valid"),
    )


def _split(name: str, file: Path, request: Request) -> Split:
    (labels,) = read_apart(file, "entries", ["labels"], None, _MOST_RECORDINGS)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        fault = f"holds labels as {labels.dtype} of shape {labels.shape}"
        raise EventFileError(file, fault, "one whole number a recording")
    recordings = Recordings(
        name,
        torch.from_numpy(labels.astype(np.int64)),
        lambda number: read_speech(file, number),
        lambda number: f"recording {number} of the event file {file}",
        [file],
    )
    return framed(recordings, _SENSOR, request)


def read_speech(file: Path, number: int) -> Events:
    """Return the events of one recording of a file, one row of 700 channels.

    Raises:
        EventFileError: if the file is damaged or holds no such recording.
    """
    names = ["spikes/times", "spikes/units"]
    seconds, units = read_apart(file, "entries", names, number, _MOST_RECORDINGS)
    place = f"recording {number}"
    if not (seconds.ndim == units.ndim == 1 and len(seconds) == len(units)):
        fault = f"holds {place} with times {seconds.shape} and units {units.shape}"
        raise EventFileError(file, fault, "as many of each")
    if seconds.dtype.kind != "f" or units.dtype.kind not in "iu":
        fault = f"holds {place} with times in {seconds.dtype} and units in {units.dtype}"
        raise EventFileError(file, fault, "seconds and channels")
    if not len(units):
        raise EventFileError(file, f"holds no event in {place}", "at least one")
    # Half precision can't hold microseconds.
    seconds = seconds.astype(np.float64)
    odd = ~((seconds >= 0) & (seconds <= _LONGEST))
    if odd.any():
        fault = f"has in {place} an event at {seconds[odd][0]} s"
        raise EventFileError(file, fault, f"times from 0 to {_LONGEST:g} s")
    wide = units.astype(np.int64)
    outside = (wide < 0) | (wide >= CHANNELS)
    if outside.any():
        fault = f"has in {place} an event of channel {wide[outside][0]}"
        raise EventFileError(file, fault, f"channels 0 to {CHANNELS - 1}")
    return in_time(structured(wide, 0, (seconds * 1e6).astype(np.int64), 0))


def _classes(file: Path) -> tuple[str, ...]:
    (keys,) = read_apart(file, "entries", ["extra/keys"], None, _MOST_CLASSES)
    if keys.ndim != 1 or keys.dtype.kind != "S" or not len(keys):
        fault = f"holds keys as {keys.dtype} of shape {keys.shape}"
        raise EventFileError(file, fault, "the names of the classes")
    return tuple(key.decode("utf-8", "replace") for key in keys.tolist())


def _download(folder: str, parts: tuple[str, ...], target: Path) -> None:
    from tonic import datasets

    if folder == "SSC":
        for part in parts:
            datasets.SSC(str(target), split=part)
    else:
        for train in (True, False):
            datasets.SHD(str(target), train=train)
