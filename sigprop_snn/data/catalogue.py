"""The data sets by name, and `load`, which loads any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from sigprop_snn.arguments import instance, one_of, path, truth
from sigprop_snn.data.augment import Augment
from sigprop_snn.data.data import Data, data_of
from sigprop_snn.data.events.frames import Frames
from sigprop_snn.data.preparation import Preparation
from sigprop_snn.data.sets import (
    camera,
    cifar10_dvs,
    eventfolder,
    gesture,
    imagefolder,
    nmnist,
    poker,
    speech,
    static,
)
from sigprop_snn.data.source import Request, Source
from sigprop_snn.errors import SigpropError
from sigprop_snn.recipe import DEFAULT_RECIPE, Recipe


@dataclass(frozen=True)
class Dataset:
    """All that `load`, training and the command line know about a data set.

    Attributes:
        about: one line of description.
        open: finds the files that a `Request` asks for and returns the samples.
        events: whether the samples are recordings of events, which `Frames` turn into frames.
        recipe: the settings to train with when a run does not choose others.
        recipes: those for other networks than the recipe's, by the name of the network.
    """

    about: str
    open: Callable[[Request], Source]
    events: bool = False
    recipe: Recipe = DEFAULT_RECIPE
    recipes: Mapping[str, Recipe] = field(default_factory=dict)

    def recipe_for(self, network: str | None) -> Recipe:
        """Return the recipe for a network by name, or for the recipe's own network."""
        return self.recipe if network is None else self.recipes.get(network, self.recipe)


# Small pictures in grey levels: chosen on validation pictures of Fashion-MNIST.
_PICTURES = Recipe(
    "conv", epochs=8, steps=4, batch_size=128, sources=3, loss="dot-product+similarity"
)

# The settings of benchmarks/depth.py, which measured them on 20,000 pictures of CIFAR-10.
_COLOUR_PICTURES = replace(_PICTURES, network="vgg", epochs=20, augment=True)

# To add a data set, write a function that opens it and add an entry here.
# tests/data/test_add_a_data_set.py is an example.
# The recipes were tuned on validation samples from the training split, never on test samples.
# Those marked "not tuned" are estimates.
DATASETS: dict[str, Dataset] = {
    "digits": Dataset(
        "1,797 handwritten digits of 8x8, embedded",
        static.open_digits,
        recipe=Recipe("mlp", epochs=20, steps=8, batch_size=32),
    ),
    "digit-events": Dataset(
        "the same digits seen by a simulated event camera, 16x16",
        camera.open_digit_events,
        events=True,
        recipe=Recipe("mlp", epochs=12, steps=12, batch_size=32),
    ),
    "mnist": Dataset(
        "70,000 handwritten digits of 28x28",
        static.open_mnist,
        recipe=Recipe("mlp", epochs=20, steps=8, batch_size=64, augment=True),
        recipes={"conv": replace(_PICTURES, augment=True)},
    ),
    "fashion-mnist": Dataset(
        "70,000 pieces of clothing of 28x28",
        static.open_fashion_mnist,
        recipe=_PICTURES,
    ),
    "kmnist": Dataset(
        "70,000 cursive Japanese letters of 28x28",
        static.open_kmnist,
        recipe=_PICTURES,  # tuned on fashion-mnist
    ),
    "cifar10": Dataset(
        "60,000 colour pictures of 32x32 in ten classes",
        static.open_cifar10,
        recipe=_COLOUR_PICTURES,
    ),
    "cifar100": Dataset(
        "60,000 colour pictures of 32x32 in 100 classes",
        static.open_cifar100,
        recipe=_COLOUR_PICTURES,  # tuned on CIFAR-10
    ),
    "svhn": Dataset(
        "99,289 colour house numbers of 32x32",
        static.open_svhn,
        recipe=_COLOUR_PICTURES,  # tuned on CIFAR-10
    ),
    "imagefolder": Dataset(
        "your own pictures, in train/<class>/ and test/<class>/",
        imagefolder.open_imagefolder,
        recipe=_COLOUR_PICTURES,
    ),
    "nmnist": Dataset(
        "N-MNIST: digits seen by an event camera, 34x34",
        nmnist.open_nmnist,
        events=True,
        # Tuned on 180 of the training recordings; benchmarks/README.md has the trials. Three steps:
        # one for each movement of the camera.
        recipe=Recipe(
            "conv",
            epochs=40,
            steps=3,
            batch_size=32,
            augment=True,
            sources=3,
            loss="dot-product+similarity",
            predict="vote",
            size="17x17",
        ),
    ),
    "poker-dvs": Dataset(
        "POKER-DVS: symbols of cards seen by an event camera, 35x35",
        poker.open_poker,
        events=True,
        recipe=Recipe("conv", epochs=20, steps=10, batch_size=8, predict="vote"),  # not tuned
    ),
    "dvs-gesture": Dataset(
        "DVS128 Gesture: eleven gestures seen by an event camera, 128x128",
        gesture.open_gesture,
        events=True,
        recipe=Recipe("conv", epochs=30, steps=16, batch_size=8, predict="vote"),  # not tuned
    ),
    "cifar10-dvs": Dataset(
        "CIFAR10-DVS: pictures of ten classes seen by an event camera, 128x128",
        cifar10_dvs.open_cifar10_dvs,
        events=True,
        recipe=Recipe(  # not tuned
            "conv", epochs=30, steps=10, batch_size=16, augment=True, predict="vote"
        ),
    ),
    "shd": Dataset(
        "Spiking Heidelberg Digits: spoken digits in two languages, 700 channels",
        speech.open_shd,
        events=True,
        recipe=Recipe("mlp", epochs=20, steps=50, batch_size=64),  # not tuned
    ),
    "ssc": Dataset(
        "Spiking Speech Commands: 35 spoken words, 700 channels",
        speech.open_ssc,
        events=True,
        recipe=Recipe("mlp", epochs=20, steps=50, batch_size=64),  # not tuned
    ),
    "eventfolder": Dataset(
        "your own recordings of events, in train/<class>/ and test/<class>/",
        eventfolder.open_eventfolder,
        events=True,
        recipe=Recipe("conv", epochs=20, steps=10, batch_size=16, predict="vote"),  # not tuned
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

    Pictures are read into memory. Recordings of events are turned into frames once, and the frames
    are kept on disk. A split of up to 2 GiB is also kept in memory; a larger one is read batch by
    batch.

    Args:
        name: a name in `DATASETS`.
        root: the folder that contains the data sets; for `imagefolder` and `eventfolder`, the
            folder that contains `train` and `test`.
        steps: number of time steps T.
        encoding: a name in `sigprop_snn.encoding.ENCODINGS`. Events are already spikes: they allow
            only "direct", which keeps the counts of each step.
        batch_size: samples in a batch.
        train_samples: number of training samples to draw, with equal numbers of each class as far
            as the data allow; None takes all.
        test_samples: the same for the test samples.
        validation: fraction of the drawn training samples to hold out for validation, in [0, 1).
            With 0, the validation samples are the data set's own, if it has any.
        seed: seed of the draws, of the order and of rate-coded spikes, in [0, 2**63).
        download: whether to download missing files.
        augment: whether to change training samples at random: pictures of objects are shifted by
            up to 4 pixels and half of them are mirrored; other pictures and most events are
            shifted by up to 2 pixels, MNIST by 1. N-MNIST is also rotated by up to 10 degrees,
            scaled by up to a tenth and sheared. An `Augment` sets the details.
        frames: how events become frames; None divides the data set's usual duration into equal
            steps.
        cache: folder for the frames of event recordings, relative to `root` unless it is absolute.
            It may be deleted at any time. None keeps nothing on disk.

    Returns:
        The data set in time-first batches, float32 `[T, B, ...]`. Brightness is in [0, 1]; colour
        pictures with direct encoding are standardised to `(x - 0.5) / 0.25`, close to CIFAR-10's
        mean and deviation and independent of the samples drawn.

    Raises:
        UnknownNameError: if the data set or the encoding is unknown.
        DataNotFoundError: if files are missing and can't be downloaded.
        EventFileError: if a recording is damaged.
        SigpropError: if any other value can't be used.
    """
    one_of("data set", name, DATASETS)
    # Check every argument before the first file is read or downloaded.
    root, cache = path("root", root), None if cache is None else path("cache", cache)
    download = truth("download", download)
    if frames is not None:
        instance("frames", frames, Frames, "a Frames")
    how = Preparation(
        steps=steps,
        encoding=encoding,
        batch_size=batch_size,
        train_samples=train_samples,
        test_samples=test_samples,
        validation=validation,
        seed=seed,
        augment=augment,
    ).checked(name)
    dataset = DATASETS[name]
    check_frames(name, dataset, frames)
    request = Request(
        root=root,
        steps=how.steps,
        download=download,
        frames=frames or Frames(),
        cache=None if cache is None else root / cache,
    )
    return data_of(dataset.open(request), how)


def check_frames(name: str, dataset: Dataset, frames: Frames | None) -> None:
    """Check that a data set can have frames of a kind.

    Args:
        name: the data set's name, for messages.
        dataset: the data set.
        frames: how events become frames, or None.

    Raises:
        SigpropError: if it contains pictures, or its sensor and files are known.
    """
    if frames is None:
        return
    if not dataset.events:
        chosen = {f.name: getattr(frames, f.name) for f in fields(frames)}
        given = [which for which, value in chosen.items() if value != getattr(Frames(), which)]
        what = f"frames is given for {name!r}" + (f" ({', '.join(given)})" if given else "")
        raise SigpropError(f"{what}, which contains pictures; expected a data set of events")
    for setting in ("sensor", "order", "unit"):
        value = getattr(frames, setting)
        if name != "eventfolder" and value != getattr(Frames(), setting):
            raise SigpropError(
                f"{setting} is {value!r} for {name!r}, whose recordings are known; expected none"
            )
