"""POKER-DVS, through tonic."""

from __future__ import annotations

from pathlib import Path

from sigprop_snn.data.events import EventFileError, Events, on_sensor
from sigprop_snn.data.extent import extent
from sigprop_snn.data.formats import checked, load_array
from sigprop_snn.data.frames import Sensor
from sigprop_snn.data.recordings import both_halves, framed, in_files
from sigprop_snn.data.source import Request, Source, Split

SUITS = ("clubs", "hearts", "diamonds", "spades")

_SIZE = (35, 35, 2)
_FOLDERS = ("cl", "he", "di", "sp")
_ADVICE = (
    "Unpack pips_train.tar.gz and pips_test.tar.gz of POKER-DVS "
    "(http://www2.imse-cnm.csic.es/caviar/POKERDVS.html), as tonic has them, there; any number of "
    "recordings will do, as pips_train/<cl|he|di|sp>/<name>.npy and the same in pips_test."
)


def open_poker(request: Request) -> Source:
    """Return POKER-DVS from `root/POKERDVS`, as tonic lays it out; any number of recordings.

    The longest recording is the duration that the steps share. Serrano-Gotarredona and
    Linares-Barranco 2015, doi:10.3389/fnins.2015.00481.
    """
    folder = request.root / "POKERDVS"
    halves = {folder / "pips_train": "<suit>/*.npy", folder / "pips_test": "<suit>/*.npy"}
    train, test = both_halves("poker-dvs", halves, _ADVICE, request, _download)
    duration = extent("poker-dvs", [*train, *test], read_poker_file, request).duration
    sensor = Sensor(_SIZE, duration, from_first=True, counts="int16")
    return Source(
        "poker-dvs",
        _split("train", train, sensor, request),
        _split("test", test, sensor, request),
        SUITS,
        timed=True,
        mirror=True,
    )


def _split(half: str, files: list[Path], sensor: Sensor, request: Request) -> Split:
    for file in files:
        if file.parent.name[-2:] not in _FOLDERS:
            raise EventFileError(file, f"lies in {file.parent.name!r}", "cl, he, di or sp")
    labels = [_FOLDERS.index(file.parent.name[-2:]) for file in files]
    recordings = in_files(f"poker-dvs-{half}", files, labels, read_poker_file)
    return framed(recordings, sensor, request)


def read_poker_file(file: Path) -> Events:
    """Return the events of one card's symbol.

    Raises:
        EventFileError: if the file is damaged or no recording of POKER-DVS.
    """
    array = load_array(file)
    if array.ndim != 2 or array.shape[1] != 4 or array.dtype.kind not in "iuf":
        raise EventFileError(
            file, f"holds {array.dtype} of shape {array.shape}", "numbers of shape (events, 4)"
        )
    t, x, y, p = array.T
    return on_sensor(file, checked(file, x, y, t, p), _SIZE)


def _download(folder: Path) -> None:
    from tonic.datasets import POKERDVS

    for train in (True, False):
        POKERDVS(str(folder), train=train)
