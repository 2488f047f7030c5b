"""N-MNIST, through tonic."""

from __future__ import annotations

from pathlib import Path

from sigprop_snn.data.augment import Augment
from sigprop_snn.data.events.nmnist_file import SENSOR, read_nmnist_file
from sigprop_snn.data.events.recording import EventFileError
from sigprop_snn.data.events.splits import as_frames, find_or_download, one_per_file
from sigprop_snn.data.sets.static import TEN_DIGITS
from sigprop_snn.data.source import Request, Source, Split

_ADVICE = (
    "Unpack train.zip and test.zip of N-MNIST (https://doi.org/10.17632/468j46mzdv.1) there. Any "
    "number of recordings is accepted, as Train/<digit>/<name>.bin and Test/<digit>/<name>.bin."
)


def open_nmnist(request: Request) -> Source:
    """Return N-MNIST from `root/NMNIST`, in tonic's folder layout, with any number of recordings.

    Orchard et al. 2015, doi:10.3389/fnins.2015.00437.
    """
    folder = request.root / "NMNIST"
    splits = {folder / "Train": "<digit>/*.bin", folder / "Test": "<digit>/*.bin"}
    width = (request.frames.size or SENSOR.size)[0]
    train, test = find_or_download("nmnist", splits, _ADVICE, request, _download)
    return Source(
        "nmnist",
        _split("train", train, request),
        _split("test", test, request),
        TEN_DIGITS,
        timed=True,
        augment=Augment(shift=width // 17, rotate=10, scale=0.1, shear=0.1),
    )


def _split(split: str, files: list[Path], request: Request) -> Split:
    for file in files:
        if file.parent.name not in TEN_DIGITS:
            raise EventFileError(file, f"is in the folder {file.parent.name!r}", "0 to 9")
    labels = [int(file.parent.name) for file in files]
    recordings = one_per_file(f"nmnist-{split}", files, labels, read_nmnist_file)
    return as_frames(recordings, SENSOR, request)


def _download(folder: Path) -> None:
    from tonic.datasets import NMNIST

    for train in (True, False):
        NMNIST(str(folder), train=train)
