"""The data sets by name, and the one call that loads any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sigprop_snn.data import (
    camera,
    cifar10_dvs,
    eventfolder,
    gesture,
    nmnist,
    poker,
    speech,
    static,
)
from sigprop_snn.data.augment import Augment
from sigprop_snn.data.batches import Data
from sigprop_snn.data.folder import open_imagefolder
from sigprop_snn.data.frames import Frames
from sigprop_snn.data.preparation import check, prepare
from sigprop_snn.data.source import Request, Source
from sigprop_snn.errors import SigpropError, UnknownNameError


@dataclass(frozen=True)
class Dataset:
    """A data set that `load` knows.

    Attributes:
        about: what it is, in one line.
        open: finds what is requested.
        events: whether it holds recordings of events, which `Frames` make into frames.
    """

    about: str
    open: Callable[[Request], Source]
    events: bool = False


DATASETS: dict[str, Dataset] = {
    "digits": Dataset("1,797 handwritten digits of 8x8, embedded", static.open_digits),
    "digit-events": Dataset(
        "the same digits seen by a simulated event camera, 16x16",
        camera.open_digit_events,
        events=True,
    ),
    "mnist": Dataset("70,000 handwritten digits of 28x28", static.open_mnist),
    "fashion-mnist": Dataset("70,000 pieces of clothing of 28x28", static.open_fashion_mnist),
    "kmnist": Dataset("70,000 cursive Japanese letters of 28x28", static.open_kmnist),
    "cifar10": Dataset("60,000 colour pictures of 32x32 in ten classes", static.open_cifar10),
    "cifar100": Dataset("60,000 colour pictures of 32x32 in 100 classes", static.open_cifar100),
    "svhn": Dataset("99,289 colour house numbers of 32x32", static.open_svhn),
    "imagefolder": Dataset(
        "your own pictures, in train/<class>/ and test/<class>/", open_imagefolder
    ),
    "nmnist": Dataset(
        "N-MNIST: digits seen by an event camera, 34x34", nmnist.open_nmnist, events=True
    ),
    "poker-dvs": Dataset(
        "POKER-DVS: symbols of cards seen by an event camera, 35x35", poker.open_poker, events=True
    ),
    "dvs-gesture": Dataset(
        "DVS128 Gesture: eleven gestures seen by an event camera, 128x128",
        gesture.open_gesture,
        events=True,
    ),
    "cifar10-dvs": Dataset(
        "CIFAR10-DVS: pictures of ten classes seen by an event camera, 128x128",
        cifar10_dvs.open_cifar10_dvs,
        events=True,
    ),
    "shd": Dataset(
        "Spiking Heidelberg Digits: spoken digits in two languages, 700 channels",
        speech.open_shd,
        events=True,
    ),
    "ssc": Dataset(
        "Spiking Speech Commands: 35 spoken words, 700 channels", speech.open_ssc, events=True
    ),
    "eventfolder": Dataset(
        "your own recordings of events, in train/<class>/ and test/<class>/",
        eventfolder.open_eventfolder,
        events=True,
    ),
}


def load(
    name: str,
    *,
    root: Path | str = "data",
    steps: int = 10,
    encoding: str = "direct",
    batch_size: int = 128,
    train_samples: int | None = None,
    test_samples: int | None = None,
    validation: float = 0.0,
    seed: int = 0,
    download: bool = True,
    augment: bool | Augment = False,
    frames: Frames | None = None,
    cache: Path | str | None = ".sigprop-cache",
) -> Data:
    """Load a data set by name.

    Pictures are read into memory. Recordings of events are binned to frames, once: the frames are
    kept on disk, and in memory too where a split takes up no more than 2 GiB. A larger split is
    read batch by batch.

    Args:
        name: a name in `DATASETS`.
        root: the folder that holds the data sets; for `imagefolder` and `eventfolder`, the one that
            holds `train` and `test`.
        steps: number of time steps T.
        encoding: a name in `sigprop_snn.encoding.ENCODINGS`. Events are spikes already: they take
            "direct" alone, which leaves the counts per step as they are.
        batch_size: samples in a batch.
        train_samples: how many training samples to draw, with equally many of every class as far
            as they go; None takes all.
        test_samples: the same for the test samples.
        validation: fraction of the drawn training samples that is set apart, in [0, 1). With 0,
            validation samples are those that the data set itself sets apart, if it does.
        seed: seed of every draw, of the order and of rate-coded spikes.
        download: whether to download what is absent.
        augment: whether to change training samples at random: by up to 4 pixels and mirrored half
            of the time for pictures of things, by up to 2 pixels for others and for most events.
            An `Augment` says more.
        frames: how events become frames; None lets the steps share the data set's own duration.
        cache: folder that the frames of event recordings are kept in, within `root` unless it is
            absolute; it may be removed at any time. None keeps nothing on disk.

    Returns:
        The data set in time-first batches. Brightness lies in [0, 1]; colour pictures as direct
        current are standardised to `(x - 0.5) / 0.25`, near CIFAR-10's own mean and deviation and
        the same for every choice of samples.

    Raises:
        UnknownNameError: for a name of a data set or encoding that isn't known.
        DataNotFoundError: if files are absent and can't be downloaded.
        EventFileError: for a damaged recording.
        SigpropError: for any other value that can't be used.
    """
    if name not in DATASETS:
        raise UnknownNameError("data set", name, DATASETS)
    # All that can be known to be wrong is said before anything is read or downloaded.
    check(steps, encoding, batch_size, validation, seed)
    dataset = DATASETS[name]
    if frames is not None and not dataset.events:
        raise SigpropError(f"frames are for recordings of events; {name!r} holds pictures")
    if frames is not None and frames.sensor is not None and name != "eventfolder":
        raise SigpropError(
            f"sensor is for 'eventfolder'; the sensor of {name!r} is known, expected None"
        )
    home = Path(root).expanduser()
    request = Request(
        root=home,
        steps=steps,
        download=download,
        frames=frames or Frames(),
        cache=None if cache is None else home / Path(cache).expanduser(),
    )
    return prepare(
        dataset.open(request),
        steps=steps,
        encoding=encoding,
        batch_size=batch_size,
        train_samples=train_samples,
        test_samples=test_samples,
        validation=validation,
        seed=seed,
        augment=augment,
    )
