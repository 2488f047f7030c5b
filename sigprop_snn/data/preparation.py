"""From a source to batches: drawing, carving and checking."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from sigprop_snn.data.augment import Augment
from sigprop_snn.data.batches import Batches, Data, Recipe
from sigprop_snn.data.source import Source, Split, balanced, derive_seed
from sigprop_snn.encoding import ENCODINGS
from sigprop_snn.errors import SigpropError, UnknownNameError

IN_MEMORY = 2 * 2**30
"""Bytes that the samples of a split may take up in memory; a larger one is read batch by batch."""

_TRAIN, _TEST, _VALIDATION, _ORDER = range(4)


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
    augment: bool | Augment = False,
) -> Data:
    """Make batches of a source, one of `load`'s or one made by hand from tensors.

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
    check(steps, encoding, batch_size, validation, seed)
    if source.timed and encoding != "direct":
        raise SigpropError(
            f"encoding {encoding!r} can't be used with {source.name!r}, whose events are spikes "
            "already; expected 'direct'"
        )
    chosen = _choose(source.train.y, train_samples, "train", source.name, derive_seed(seed, _TRAIN))
    held_out = source.validation
    if validation > 0:
        chosen, apart = _carve(source.train.y, chosen, validation, derive_seed(seed, _VALIDATION))
        held_out = source.train.part(apart)
    tested = _choose(source.test.y, test_samples, "test", source.name, derive_seed(seed, _TEST))
    test_recipe = Recipe(
        steps=steps,
        batch_size=batch_size,
        encode=None if source.timed else ENCODINGS[encoding],
        top=source.top,
        standardise=source.colour and encoding == "direct",
        shuffle=False,
        augment=None,
        seed=derive_seed(seed, _ORDER),
    )
    train, shape = _read(source, source.train.part(chosen), "train", steps)
    test, test_shape = _read(source, source.test.part(tested), "test", steps)
    if shape != test_shape:
        raise SigpropError(
            f"training samples of {source.name!r} have shape {shape}, test samples {test_shape}; "
            "expected the same"
        )
    held: Batches | None = None
    if held_out is not None:
        held = Batches(_read(source, held_out, "validation", steps)[0], test_recipe)
    changes = _changes(source, augment, shape)
    return Data(
        name=source.name,
        train=Batches(train, replace(test_recipe, shuffle=True, augment=changes)),
        test=Batches(test, test_recipe),
        validation=held,
        shape=shape[1:] if source.timed else shape,
        classes=source.classes,
        steps=steps,
    )


def check(steps: int, encoding: str, batch_size: int, validation: float, seed: int) -> None:
    """Raise a SigpropError for what can be known to be wrong before anything is read."""
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


def _carve(y: Tensor, chosen: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """What is left to learn from, and what is set apart."""
    count = round(fraction * len(chosen))
    if not 1 <= count < len(chosen):
        raise SigpropError(
            f"validation is {fraction}, which sets {count} of {len(chosen)} training samples "
            "apart; expected at least one, and one left to learn from"
        )
    apart = balanced(y[chosen], count, seed)
    left = torch.isin(torch.arange(len(chosen)), apart, invert=True)
    return chosen[left], chosen[apart]


def _changes(source: Source, augment: bool | Augment, shape: tuple[int, ...]) -> Augment | None:
    """The augmentation with nothing left open, or None."""
    if augment is False:
        return None
    wanted = Augment() if augment is True else augment
    if wanted.drop and not source.timed:
        raise SigpropError(
            f"drop is {wanted.drop}; {source.name!r} holds pictures, which have no events to drop"
        )
    if not source.timed and len(shape) != 3:
        raise SigpropError(
            f"samples of {source.name!r} have shape {shape}, which can't be shifted; expected "
            "(C, H, W), or no augmentation"
        )
    return wanted.settled(mirror=source.colour if source.mirror is None else source.mirror)


def _read(source: Source, split: Split, name: str, steps: int) -> tuple[Split, tuple[int, ...]]:
    """The split, in memory where it fits, and the shape of its samples."""
    place = f"the {name} samples of {source.name!r}"
    whole = len(split.y) * split.sample_bytes <= IN_MEMORY
    if whole:
        split = split.in_memory()
    x = split.read(torch.arange(1))
    if x.is_floating_point() and whole:
        every = split.read(torch.arange(len(split.y)))
        wrong = (~torch.isfinite(every)).flatten(1).any(1).nonzero().flatten()
        if len(wrong):
            raise SigpropError(
                f"{place} hold NaN or an infinity (first in number {int(wrong[0])} of those "
                "drawn); expected finite values"
            )
    if source.timed and (x.ndim < 3 or x.shape[1] != steps):
        raise SigpropError(
            f"{place} have shape {tuple(x.shape[1:])}; expected ({steps} steps, ...)"
        )
    return split, tuple(x.shape[1:])
