"""The data sets by name, and the one call that loads any of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sigprop_snn.data import camera, events, folder, static
from sigprop_snn.data.batches import Batches, Data, Recipe
from sigprop_snn.data.source import Source, balanced, derive_seed
from sigprop_snn.encoding import ENCODINGS
from sigprop_snn.errors import SigpropError, UnknownNameError


@dataclass(frozen=True)
class Dataset:
    """A data set that `load` knows.

    Attributes:
        about: what it is, in one line.
        open: takes the data folder, the number of steps, and whether to download what is absent.
    """

    about: str
    open: Callable[[Path, int, bool], Source]


DATASETS: dict[str, Dataset] = {
    "digits": Dataset("1,797 handwritten digits of 8x8, embedded", static.open_digits),
    "digit-events": Dataset(
        "the same digits seen by a simulated event camera, 16x16", camera.open_digit_events
    ),
    "mnist": Dataset("70,000 handwritten digits of 28x28", static.open_mnist),
    "fashion-mnist": Dataset("70,000 pieces of clothing of 28x28", static.open_fashion_mnist),
    "kmnist": Dataset("70,000 cursive Japanese letters of 28x28", static.open_kmnist),
    "cifar10": Dataset("60,000 colour pictures of 32x32 in ten classes", static.open_cifar10),
    "cifar100": Dataset("60,000 colour pictures of 32x32 in 100 classes", static.open_cifar100),
    "svhn": Dataset("99,289 colour house numbers of 32x32", static.open_svhn),
    "imagefolder": Dataset(
        "your own pictures, in train/<class>/ and test/<class>/", folder.open_imagefolder
    ),
    "nmnist": Dataset("N-MNIST: digits seen by an event camera, 34x34", events.open_nmnist),
}

_TRAIN, _TEST, _VALIDATION, _ORDER = range(4)


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
    augment: bool = False,
) -> Data:
    """Loads a data set by name.

    Args:
        name: a name in `DATASETS`.
        root: the folder that holds the data sets; for `imagefolder`, the one that holds `train`
            and `test`.
        steps: number of time steps T.
        encoding: a name in `sigprop_snn.encoding.ENCODINGS`. Events are spikes already: they take
            "direct" alone, which leaves the counts per step as they are.
        batch_size: samples in a batch.
        train_samples: how many training samples to draw, with equally many of every class as far
            as they go; None takes all.
        test_samples: the same for the test samples.
        validation: fraction of the drawn training samples that is set apart, in [0, 1).
        seed: seed of every draw, of the order and of rate-coded spikes.
        download: whether to download what is absent.
        augment: whether to shift training samples, by up to 4 pixels and mirrored half of the
            time for colour pictures, by up to 2 pixels for others and for events.

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
    _check(steps, encoding, batch_size, validation, seed)
    source = DATASETS[name].open(Path(root).expanduser(), steps, download)
    return prepare(
        source,
        steps=steps,
        encoding=encoding,
        batch_size=batch_size,
        train_samples=train_samples,
        test_samples=test_samples,
        validation=validation,
        seed=seed,
        augment=augment,
    )


def prepare(
    source: Source,
    *,
    steps: int = 10,
    encoding: str = "direct",
    batch_size: int = 128,
    train_samples: int | None = None,
    test_samples: int | None = None,
    validation: float = 0.0,
    seed: int = 0,
    augment: bool = False,
) -> Data:
    """Makes batches of a source, one of `load`'s or one made by hand from tensors.

    Args:
        source: the two splits.
        steps: number of time steps T; of a timed source, the number its samples have.
        encoding: see `load`.
        batch_size: see `load`.
        train_samples: see `load`.
        test_samples: see `load`.
        validation: see `load`.
        seed: see `load`.
        augment: see `load`.

    Returns:
        The data set in time-first batches.

    Raises:
        UnknownNameError: for a name of an encoding that isn't known.
        SigpropError: for any other value that can't be used.
    """
    _check(steps, encoding, batch_size, validation, seed)
    if source.timed and encoding != "direct":
        raise SigpropError(
            f"encoding {encoding!r} can't be used with {source.name!r}, whose events are spikes "
            "already; expected 'direct'"
        )
    chosen = _choose(source.train.y, train_samples, "train", source.name, derive_seed(seed, _TRAIN))
    held_out = torch.empty(0, dtype=torch.int64)
    if validation > 0:
        count = round(validation * len(chosen))
        if not 1 <= count < len(chosen):
            raise SigpropError(
                f"validation is {validation}, which sets {count} of {len(chosen)} training samples "
                "apart; expected at least one, and one left to learn from"
            )
        apart = balanced(source.train.y[chosen], count, derive_seed(seed, _VALIDATION))
        held_out = chosen[apart]
        chosen = chosen[torch.isin(torch.arange(len(chosen)), apart, invert=True)]
    tested = _choose(source.test.y, test_samples, "test", source.name, derive_seed(seed, _TEST))

    def batches(y: Tensor, x: Tensor, *, learn: bool) -> Batches:
        return Batches(
            x,
            y,
            Recipe(
                steps=steps,
                batch_size=batch_size,
                encode=None if source.timed else ENCODINGS[encoding],
                top=source.top,
                standardise=source.colour and encoding == "direct",
                shuffle=learn,
                augment=learn and augment,
                mirror=source.colour if source.mirror is None else source.mirror,
                seed=derive_seed(seed, _ORDER),
            ),
        )

    train_x = _read(source, source.train.read(chosen), "train", steps)
    test_x = _read(source, source.test.read(tested), "test", steps)
    if train_x.shape[1:] != test_x.shape[1:]:
        raise SigpropError(
            f"training samples of {source.name!r} have shape {tuple(train_x.shape[1:])}, test "
            f"samples {tuple(test_x.shape[1:])}; expected the same"
        )
    held: Batches | None = None
    if len(held_out):
        held_x = _read(source, source.train.read(held_out), "train", steps)
        held = batches(source.train.y[held_out], held_x, learn=False)
    return Data(
        name=source.name,
        train=batches(source.train.y[chosen], train_x, learn=True),
        test=batches(source.test.y[tested], test_x, learn=False),
        validation=held,
        shape=tuple(train_x.shape[2 if source.timed else 1 :]),
        classes=source.classes,
        steps=steps,
    )


def _check(steps: int, encoding: str, batch_size: int, validation: float, seed: int) -> None:
    if encoding not in ENCODINGS:
        raise UnknownNameError("encoding", encoding, ENCODINGS)
    if steps < 1:
        raise SigpropError(f"steps is {steps}; at least 1 time step is needed")
    if batch_size < 1:
        raise SigpropError(f"batch_size is {batch_size}; at least 1 sample is needed")
    if not 0 <= validation < 1:
        raise SigpropError(f"validation is {validation}; expected a fraction in [0, 1)")
    if seed < 0:
        raise SigpropError(f"seed is {seed}; expected 0 or more")


def _choose(y: Tensor, count: int | None, split: str, name: str, seed: int) -> Tensor:
    if count is None:
        return torch.arange(len(y))
    if not 1 <= count <= len(y):
        raise SigpropError(
            f"{split}_samples is {count}; {name!r} has {len(y)} {split} samples, expected 1 to "
            f"{len(y)}"
        )
    return balanced(y, count, seed)


def _read(source: Source, x: Tensor, split: str, steps: int) -> Tensor:
    place = f"the {split} samples of {source.name!r}"
    if x.is_floating_point():
        wrong = (~torch.isfinite(x)).flatten(1).any(1).nonzero().flatten()
        if len(wrong):
            raise SigpropError(
                f"{place} hold NaN or an infinity (first in number {int(wrong[0])} of those "
                "drawn); expected finite values"
            )
    if source.timed and (x.ndim < 3 or x.shape[1] != steps):
        raise SigpropError(
            f"{place} have shape {tuple(x.shape)}; expected (samples, {steps} steps, ...)"
        )
    return x
