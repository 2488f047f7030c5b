"""POKER-DVS, through tonic."""

from __future__ import annotations

from pathlib import Path

from sigprop_snn.data.events.formats import read_table
from sigprop_snn.data.events.frames import Sensor
from sigprop_snn.data.events.recording import EventFileError, Events, check_sensor
from sigprop_snn.data.events.splits import as_frames, find_extent, find_or_download, one_per_file
from sigprop_snn.data.source import Request, Source, Split

SUITS = ("clubs", "hearts", "diamonds", "spades")

_SIZE = (35, 35, 2)
_FOLDERS = ("cl", "he", "di", "sp")
_ADVICE = (
    "Unpack pips_train.tar.gz and pips_test.tar.gz of POKER-DVS "
    "(http://www2.imse-cnm.csic.es/caviar/POKERDVS.html), as tonic has them, there. Any number of "
    "recordings is accepted, as pips_train/<cl|he|di|sp>/<name>.npy and the same in pips_test."
)


def open_poker(request: Request) -> Source:
    """Return POKER-DVS from `root/POKERDVS`, in tonic's folder layout.

    Any number of recordings is accepted. The longest recording gives the duration that is divided
    into steps. Serrano-Gotarredona and Linares-Barranco 2015, doi:10.3389/fnins.2015.00481.
    """
    folder = request.root / "POKERDVS"
    splits = {folder / "pips_train": "<suit>/*.npy", folder / "pips_test": "<suit>/*.npy"}
    train, test = find_or_download("poker-dvs", splits, _ADVICE, request, _download)
    extent = find_extent("poker-dvs", [*train, *test], read_poker_file, request, size=False)
    sensor = Sensor(_SIZE, extent.duration, from_first=True, counts="int16")
    return Source(
        "poker-dvs",
        _split("train", train, sensor, request),
        _split("test", test, sensor, request),
        SUITS,
        timed=True,
        mirror=True,
    )


def _split(split: str, files: list[Path], sensor: Sensor, request: Request) -> Split:
    for file in files:
        if file.parent.name[-2:] not in _FOLDERS:
            raise EventFileError(file, f"is in the folder {file.parent.name!r}", "cl, he, di or sp")
    labels = [_FOLDERS.index(file.parent.name[-2:]) for file in files]
    recordings = one_per_file(f"poker-dvs-{split}", files, labels, read_poker_file)
    return as_frames(recordings, sensor, request)


def read_poker_file(file: Path) -> Events:
    """Return the events of one recording, the symbol of a card.

    Raises:
        EventFileError: if the file is damaged or no recording of POKER-DVS.
    """
    return check_sensor(file, read_table(file, "txyp"), _SIZE)


def _download(folder: Path) -> None:
    from tonic.datasets import POKERDVS

    for train in (True, False):
        POKERDVS(str(folder), train=train)
