"""CIFAR10-DVS, through tonic."""

from __future__ import annotations

import re
from pathlib import Path

from sigprop_snn.data.download import fetch
from sigprop_snn.data.events.formats import read_events
from sigprop_snn.data.events.frames import Sensor
from sigprop_snn.data.events.recording import EventFileError, Events, check_sensor
from sigprop_snn.data.events.splits import as_frames, find_files, one_per_file
from sigprop_snn.data.sets.static import CIFAR10
from sigprop_snn.data.source import DataNotFoundError, Request, Source, Split

TEST_FRACTION = 0.1
"""Fraction of each class's recordings, the last by number, that is the test split."""

# The pictures move for about 1.28 seconds. Later events count in the last step.
_SENSOR = Sensor(size=(128, 128, 2), duration=1_300_000, from_first=True, counts="int16")
_ADVICE = (
    "Unpack CIFAR10DVS.zip, which tonic links to (tonic.datasets.CIFAR10DVS), and the ten archives "
    "in it there. Two or more recordings of each class are enough, as <class>/<name>.aedat4."
)


def open_cifar10_dvs(request: Request) -> Source:
    """Return CIFAR10-DVS from `root/CIFAR10DVS`, in tonic's folder layout.

    It needs the package aedat. The data set has no official test split. As usual, the last tenth of
    each class by recording number is the test split, for every seed. Li et al. 2017,
    doi:10.3389/fnins.2017.00309.
    """
    folder = request.root / "CIFAR10DVS"
    looked_for = [folder / "<class>" / "*.aedat4"]
    if not find_files(folder, "**/*.aedat4"):
        fetch(
            "cifar10-dvs",
            request.root,
            looked_for,
            _ADVICE,
            _download if request.download else None,
        )
    train: list[tuple[Path, int]] = []
    test: list[tuple[Path, int]] = []
    by_class: dict[str, list[Path]] = {name: [] for name in CIFAR10}
    for file in find_files(folder, "**/*.aedat4"):
        if file.parent.name not in by_class:
            raise EventFileError(
                file, f"is in the folder {file.parent.name!r}", "a class of CIFAR-10"
            )
        by_class[file.parent.name].append(file)
    for label, files in enumerate(by_class.values()):
        files.sort(key=_number)
        last = max(1, round(TEST_FRACTION * len(files)))
        train += [(file, label) for file in files[:-last]]
        test += [(file, label) for file in files[-last:]]
    if not train:
        raise DataNotFoundError("cifar10-dvs", looked_for, _ADVICE)
    return Source(
        "cifar10-dvs",
        _split("train", train, request),
        _split("test", test, request),
        CIFAR10,
        timed=True,
        mirror=True,
    )


def _number(file: Path) -> tuple[int, str]:
    digits = re.findall(r"\d+", file.stem)
    return (int(digits[-1]) if digits else 0, file.name)


def _split(split: str, samples: list[tuple[Path, int]], request: Request) -> Split:
    files, labels = [file for file, _ in samples], [label for _, label in samples]
    recordings = one_per_file(f"cifar10-dvs-{split}", files, labels, _read)
    return as_frames(recordings, _SENSOR, request)


def _read(file: Path) -> Events:
    return check_sensor(file, read_events(file), _SENSOR.size)


def _download(folder: Path) -> None:
    from tonic.datasets import CIFAR10DVS

    CIFAR10DVS(str(folder))
