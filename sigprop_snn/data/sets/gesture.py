"""DVS128 Gesture, through tonic, which provides one file for each gesture."""

from __future__ import annotations

from pathlib import Path

from sigprop_snn.data.events.formats import read_table
from sigprop_snn.data.events.frames import Sensor
from sigprop_snn.data.events.recording import EventFileError, Events, check_sensor
from sigprop_snn.data.events.splits import as_frames, find_or_download, one_per_file
from sigprop_snn.data.source import Request, Source, Split

GESTURES = (
    "hand clapping", "right hand wave", "left hand wave", "right arm clockwise",
    "right arm counter-clockwise", "left arm clockwise", "left arm counter-clockwise",
    "arm roll", "air drums", "air guitar", "other gestures",
)  # fmt: skip

# Most gestures last about six seconds. Later events count in the last step.
_SENSOR = Sensor(size=(128, 128, 2), duration=6_000_000, from_first=True, counts="int16")
_ADVICE = (
    "Unpack ibmGestureTrain.tar.gz and ibmGestureTest.tar.gz, which tonic links to "
    "(tonic.datasets.DVSGesture), there. Any number of recordings is accepted, as "
    "ibmGestureTrain/<user>_<light>/<label>.npy and the same in ibmGestureTest."
)


def open_gesture(request: Request) -> Source:
    """Return DVS128 Gesture from `root/DVSGesture`, in tonic's folder layout.

    Any number of recordings is accepted. Recordings are never mirrored, because that would turn a
    right hand into a left hand. Amir et al. 2017, doi:10.1109/CVPR.2017.781.
    """
    folder = request.root / "DVSGesture"
    splits = {folder / "ibmGestureTrain": "<user>/*.npy", folder / "ibmGestureTest": "<user>/*.npy"}
    train, test = find_or_download("dvs-gesture", splits, _ADVICE, request, _download)
    return Source(
        "dvs-gesture",
        _split("train", train, request),
        _split("test", test, request),
        GESTURES,
        timed=True,
    )


def _split(split: str, files: list[Path], request: Request) -> Split:
    known = {str(label): label for label in range(len(GESTURES))}
    for file in files:
        if file.stem not in known:
            raise EventFileError(file, f"has the name {file.stem!r}", "a label from 0 to 10")
    labels = [known[file.stem] for file in files]
    recordings = one_per_file(f"dvs-gesture-{split}", files, labels, read_gesture_file)
    return as_frames(recordings, _SENSOR, request)


def read_gesture_file(file: Path) -> Events:
    """Return the events of a gesture. The file contains times in milliseconds.

    Raises:
        EventFileError: if the file is damaged or no recording of a gesture.
    """
    return check_sensor(file, read_table(file, "xypt", unit="ms"), _SENSOR.size)


def _download(folder: Path) -> None:
    from tonic.datasets import DVSGesture

    for train in (True, False):
        DVSGesture(str(folder), train=train)
