"""From a source to batches: check the arguments, draw the samples, hold out validation samples."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sigprop_snn.arguments import number, one_of, truth, whole
from sigprop_snn.data.augment import Augment
from sigprop_snn.data.batches import Batches, BatchOptions, SplitBatches
from sigprop_snn.data.contents import warn_of_doubles
from sigprop_snn.data.source import Source, Split, derive_seed, draw_balanced
from sigprop_snn.encoding import ENCODINGS
from sigprop_snn.errors import SigpropError

IN_MEMORY = 2 * 2**30
"""Largest split in bytes that is kept in memory; a larger one is read batch by batch."""

_LOOKED_AT, _AT_ONCE = 256, 16  # samples

_TRAIN, _TEST, _VALIDATION, _ORDER = range(4)


@dataclass(frozen=True)
class Preparation:
    """How a source becomes batches; `load` explains the values.

    Attributes:
        steps: number of time steps T.
        encoding: how pictures enter.
        batch_size: samples in a batch.
        train_samples: number of training samples to draw; None takes all.
        test_samples: the same for the test samples.
        validation: fraction of the drawn training samples to hold out.
        seed: seed of the draws, of the order and of random spikes.
        augment: whether and how to change training samples at random.
    """

    steps: int = 10
    encoding: str = "direct"
    batch_size: int = 128
    train_samples: int | None = None
    test_samples: int | None = None
    validation: float = 0.0
    seed: int = 0
    augment: bool | Augment = False

    def checked(self, name: str) -> Preparation:
        """Return the same in Python's own types.

        It checks all that can be checked before any file is read.

        Args:
            name: name of the data set, for messages.

        Raises:
            UnknownNameError: if the encoding is unknown.
            SigpropError: if any other value can't be used.
        """
        place = f"data set {name!r}"
        encoding = one_of("encoding", self.encoding, ENCODINGS)
        steps = whole(f"{place}: steps", self.steps)
        batch_size = whole(f"{place}: batch_size", self.batch_size)
        validation = number(
            f"{place}: validation", self.validation, "a fraction in [0, 1)", lambda x: 0 <= x < 1
        )
        seed = whole(f"{place}: seed", self.seed, 0)
        if seed >= 2**63:
            raise SigpropError(f"{place}: seed is {seed}; expected 0 or more, below 2**63")
        augment = self.augment
        return Preparation(
            steps=steps,
            encoding=encoding,
            batch_size=batch_size,
            train_samples=_optional("train_samples", self.train_samples),
            test_samples=_optional("test_samples", self.test_samples),
            validation=validation,
            seed=seed,
            augment=augment if isinstance(augment, Augment) else truth("augment", augment),
        )


def batches_of(
    source: Source, how: Preparation
) -> tuple[Batches, Batches, Batches | None, tuple[int, ...]]:
    """Make batches from a source.

    Args:
        source: the training and test samples.
        how: how they become batches, checked.

    Returns:
        The batches to learn from, to test on and to validate on, and the shape of one step of one
        sample.

    Raises:
        SigpropError: if a value does not fit the samples.
    """
    if source.timed and how.encoding != "direct":
        raise SigpropError(
            f"encoding is {how.encoding!r} for {source.name!r}, whose events are already spikes; "
            "expected 'direct'"
        )
    name, steps, seed = source.name, how.steps, how.seed
    learned = _draw(source.train.y, how.train_samples, "train", name, derive_seed(seed, _TRAIN))
    held_out = source.validation
    if how.validation > 0:
        learned, chosen = _hold_out(
            source.train.y, learned, how.validation, derive_seed(seed, _VALIDATION)
        )
        held_out = source.train.part(chosen)
    tested = _draw(source.test.y, how.test_samples, "test", name, derive_seed(seed, _TEST))
    options = BatchOptions(
        steps=steps,
        batch_size=how.batch_size,
        encode=None if source.timed else ENCODINGS[how.encoding],
        top=source.top,
        standardise=source.colour and how.encoding == "direct",
        shuffle=False,
        augment=None,
        seed=derive_seed(seed, _ORDER),
    )
    train, shape = _read(source, source.train.part(learned), "train", steps)
    test, test_shape = _read(source, source.test.part(tested), "test", steps)
    if shape != test_shape:
        raise SigpropError(
            f"test samples of {name!r} have shape {test_shape}; expected {shape}, the shape of "
            "the training samples"
        )
    held_out_batches: Batches | None = None
    if held_out is not None:
        held_out = _read(source, held_out, "validation", steps)[0]
        held_out_batches = SplitBatches(held_out, options)
    _warn_of_doubles(name, train, test, held_out)
    train_options = replace(options, shuffle=True, augment=_resolved(source, how.augment, shape))
    return (
        SplitBatches(train, train_options),
        SplitBatches(test, options),
        held_out_batches,
        shape[1:] if source.timed else shape,
    )


def _optional(name: str, count: int | None) -> int | None:
    return None if count is None else whole(name, count, None)


def _warn_of_doubles(name: str, train: Split, test: Split, validation: Split | None) -> None:
    splits = {"train": train, "test": test, "validation": validation}
    warn_of_doubles(
        name,
        {
            place: split.files
            for place, split in splits.items()
            if split is not None and split.has_a_file_each
        },
    )


def _draw(y: Tensor, count: int | None, split: str, name: str, seed: int) -> Tensor:
    if count is None:
        return torch.arange(len(y))
    if not 1 <= count <= len(y):
        raise SigpropError(
            f"{split}_samples is {count}; expected 1 to {len(y)}, the number of {split} samples of "
            f"{name!r}"
        )
    return draw_balanced(y, count, seed)


def _hold_out(y: Tensor, drawn: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Return the samples to learn from and the samples to validate on."""
    count = round(fraction * len(drawn))
    if not 1 <= count < len(drawn):
        raise SigpropError(
            f"validation is {fraction}, which holds out {count} of {len(drawn)} training samples; "
            "expected at least one held out and one to learn from"
        )
    held_out = draw_balanced(y[drawn], count, seed)
    rest = torch.isin(torch.arange(len(drawn)), held_out, invert=True)
    return drawn[rest], drawn[held_out]


def _resolved(source: Source, augment: bool | Augment, shape: tuple[int, ...]) -> Augment | None:
    """Return the augmentation with the source's defaults filled in."""
    if augment is False:
        return None
    chosen = source.augment if augment is True else augment
    if chosen.drop and not source.timed:
        raise SigpropError(
            f"drop is {chosen.drop} for {source.name!r}, whose pictures have no events to drop; "
            "expected 0"
        )
    if not source.timed and len(shape) != 3:
        raise SigpropError(
            f"samples of {source.name!r} have shape {shape}, which can't be shifted; expected "
            "(C, H, W), or no augmentation"
        )
    if chosen.warps and len(shape) < 3 + source.timed:
        raise SigpropError(
            f"samples of {source.name!r} have shape {shape}, which can't be rotated, scaled or "
            "sheared; expected pictures, or rotate, scale and shear of 0"
        )
    return chosen.resolved(mirror=source.colour if source.mirror is None else source.mirror)


def _warn_of_empty_steps(split: Split, place: str, steps: int) -> None:
    """Warn if most steps are empty in all of the first samples, as after a jump of a clock."""
    filled = torch.zeros(steps, dtype=torch.bool)
    for index in torch.split(torch.arange(len(split.y))[:_LOOKED_AT], _AT_ONCE):
        filled |= (split.read(index) != 0).flatten(2).any(2).any(0)
        if 2 * int(filled.sum()) >= steps:
            return
    empty = (~filled).nonzero().flatten().tolist()
    warnings.warn(
        f"{len(empty)} of {steps} steps are empty in {place}, the first is step {empty[0]}; "
        "expected events in most steps. Look at the times of the recordings, or set the duration "
        "of a step (Frames(bin_width=...), --bin-width) or fewer steps",
        stacklevel=2,
    )


def _read(source: Source, split: Split, name: str, steps: int) -> tuple[Split, tuple[int, ...]]:
    """Return the split, in memory if it fits, and the shape of a sample."""
    place = f"the {name} samples of {source.name!r}"
    fits = len(split.y) * split.sample_bytes <= IN_MEMORY
    if fits:
        split = split.in_memory()
    x = split.read(torch.arange(1))
    if x.is_floating_point() and fits:
        every = split.read(torch.arange(len(split.y)))
        wrong = (~torch.isfinite(every)).flatten(1).any(1).nonzero().flatten()
        if len(wrong):
            raise SigpropError(
                f"{place} contain NaN or infinity (first in sample {int(wrong[0])} of those "
                "drawn); expected finite values"
            )
    if source.timed and (x.ndim < 3 or x.shape[1] != steps):
        raise SigpropError(
            f"{place} have shape {tuple(x.shape[1:])}; expected ({steps} steps, ...)"
        )
    if source.timed and fits:
        _warn_of_empty_steps(split, place, steps)
    return split, tuple(x.shape[1:])
