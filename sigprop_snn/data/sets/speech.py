"""The Heidelberg spiking data sets SHD and SSC: spoken words on 700 channels."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from sigprop_snn.data.download import fetch
from sigprop_snn.data.events.formats import read_arrays
from sigprop_snn.data.events.frames import Sensor
from sigprop_snn.data.events.recording import EventFileError, Events, make_events, sort_by_time
from sigprop_snn.data.events.splits import Recordings, as_frames
from sigprop_snn.data.source import Request, Source, Split

CHANNELS = 700

# The longest word lasts about 1.37 seconds. Later events count in the last step.
_SENSOR = Sensor(size=(CHANNELS, 1, 1), duration=1_400_000, line=True)
_LONGEST = 3600.0  # seconds
_MOST_CLASSES = 1000
_MOST_RECORDINGS = 10_000_000


def open_shd(request: Request) -> Source:
    """Return the Spiking Heidelberg Digits from `root/SHD`, in tonic's folder layout.

    A step of a sample has shape `(1, 700)`, one row of channels, for networks such as `mlp`.
    Cramer et al. 2020, doi:10.1109/TNNLS.2020.3044364.
    """
    return _open("shd", "SHD", {"train": True, "test": True}, request)


def open_ssc(request: Request) -> Source:
    """Return the Spiking Speech Commands from `root/SSC`, in tonic's folder layout.

    A step of a sample has shape `(1, 700)`, one row of channels, for networks such as `mlp`. If the
    file `ssc_valid.h5` exists, it gives the validation samples. Cramer et al. 2020,
    doi:10.1109/TNNLS.2020.3044364.
    """
    return _open("ssc", "SSC", {"train": True, "test": True, "valid": False}, request)


def _open(name: str, folder: str, parts: Mapping[str, bool], request: Request) -> Source:
    """Open SHD or SSC. `parts` maps the name of each part to whether it is required."""
    files = {part: request.root / folder / f"{name}_{part}.h5" for part in parts}
    missing = [
        files[part] for part, required in parts.items() if required and not files[part].exists()
    ]
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
    (labels,) = read_arrays(file, "hdf5_values", ["labels"], None, _MOST_RECORDINGS)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        fault = f"contains labels as {labels.dtype} of shape {labels.shape}"
        raise EventFileError(file, fault, "one whole number a recording")
    recordings = Recordings(
        name,
        torch.from_numpy(labels.astype(np.int64)),
        lambda number: read_speech(file, number),
        lambda number: f"recording {number} of the event file {file}",
        [file],
    )
    return as_frames(recordings, _SENSOR, request)


def read_speech(file: Path, number: int) -> Events:
    """Return the events of one recording of a file, one row of 700 channels.

    Raises:
        EventFileError: if the file is damaged or contains no such recording.
    """
    names = ["spikes/times", "spikes/units"]
    seconds, units = read_arrays(file, "hdf5_values", names, number, _MOST_RECORDINGS)
    place = f"recording {number}"
    if not (seconds.ndim == units.ndim == 1 and len(seconds) == len(units)):
        fault = f"contains {place} with times {seconds.shape} and units {units.shape}"
        raise EventFileError(file, fault, "equally many of each")
    if seconds.dtype.kind != "f" or units.dtype.kind not in "iu":
        fault = f"contains {place} with times in {seconds.dtype} and units in {units.dtype}"
        raise EventFileError(file, fault, "seconds and channels")
    if not len(units):
        raise EventFileError(file, f"contains no event in {place}", "at least one")
    # The file's half precision is too coarse for microseconds.
    seconds = seconds.astype(np.float64)
    wrong = ~((seconds >= 0) & (seconds <= _LONGEST))
    if wrong.any():
        fault = f"has in {place} an event at {seconds[wrong][0]} s"
        raise EventFileError(file, fault, f"times from 0 to {_LONGEST:g} s")
    channel = units.astype(np.int64)
    outside = (channel < 0) | (channel >= CHANNELS)
    if outside.any():
        fault = f"has in {place} an event of channel {channel[outside][0]}"
        raise EventFileError(file, fault, f"channels 0 to {CHANNELS - 1}")
    return sort_by_time(make_events(channel, 0, (seconds * 1e6).astype(np.int64), 0))


def _classes(file: Path) -> tuple[str, ...]:
    (keys,) = read_arrays(file, "hdf5_values", ["extra/keys"], None, _MOST_CLASSES)
    if keys.ndim != 1 or keys.dtype.kind != "S" or not len(keys):
        fault = f"contains keys as {keys.dtype} of shape {keys.shape}"
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
