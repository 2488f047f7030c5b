"""A data set before batching: its labels, and a function that reads its samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.data.augment import Augment
from sigprop_snn.data.contents import combined, file_digests, tensor_digest
from sigprop_snn.data.events.frames import Frames
from sigprop_snn.errors import SigpropError

_HASHED_AT_ONCE = 2**26  # bytes
_MOST_AT_ONCE = 4096  # samples


class DataNotFoundError(SigpropError):
    """Files of a data set are missing; the message lists them."""

    def __init__(self, name: str, looked_for: Iterable[Path], advice: str) -> None:
        files = "\n".join(f"  {path}" for path in looked_for)
        super().__init__(
            f"files of the data set {name!r} are missing. Looked for:\n{files}\n{advice}"
        )


@dataclass(frozen=True)
class Request:
    """The arguments of `load` that opening a data set needs.

    Attributes:
        root: the folder that contains the data sets.
        steps: number of time steps T.
        download: whether to download missing files.
        frames: how events become frames.
        cache: the folder that keeps frames, or None.
    """

    root: Path
    steps: int = 10
    download: bool = True
    frames: Frames = field(default_factory=Frames)
    cache: Path | None = None


@dataclass(frozen=True)
class Split:
    """One split of a data set; a sample is read when it is needed.

    Attributes:
        y: labels, int64 `[N]`.
        read: returns the samples at the given indices as uint8, int16 or float32: `[n, *shape]`
            for pictures, `[n, T, *shape]` for events in frames.
        sample_bytes: memory that one sample takes when it is read; a split that takes too much is
            read batch by batch. 0 for samples that are already in memory.
        lengths: number of steps of each timed sample before its padding, int64 `[N]`; None counts
            the steps up to its last event.
        files: the file of each sample, or the files that contain all of them; empty for samples
            that are not from files.
    """

    y: Tensor
    read: Callable[[Tensor], Tensor]
    sample_bytes: int = 0
    lengths: Tensor | None = None
    files: Sequence[Path] = ()

    @property
    def has_a_file_each(self) -> bool:
        """Whether each sample has its own file."""
        return len(self.files) == len(self.y)

    @classmethod
    def of(cls, x: Tensor, y: Tensor, lengths: Tensor | None = None) -> Split:
        """Return a split of samples that are in memory.

        Args:
            x: samples, `[N, ...]`.
            y: labels, `[N]`.
            lengths: see `Split`.

        Raises:
            SigpropError: if `x` and `y` differ in length.
        """
        if len(x) != len(y):
            raise SigpropError(f"{len(x)} samples have {len(y)} labels; expected one label each")
        return cls(y.long(), lambda index: x[index], lengths=lengths)

    def part(self, chosen: Tensor) -> Split:
        """Return the split that contains only the samples at the indices `chosen`."""
        lengths = None if self.lengths is None else self.lengths[chosen]
        each = self.has_a_file_each
        return Split(
            self.y[chosen],
            lambda index: self.read(chosen[index]),
            self.sample_bytes,
            lengths,
            [self.files[number] for number in chosen.tolist()] if each else self.files,
        )

    def in_memory(self) -> Split:
        """Read every sample and return a split that is in memory."""
        x = self.read(torch.arange(len(self.y)))
        return replace(Split.of(x, self.y, self.lengths), files=self.files)

    def fingerprint(self) -> str:
        """Return a hash of the labels and of the samples, or of the files that they are from."""
        labels = tensor_digest(self.y)
        if self.files:
            return combined([labels, *file_digests(self.files)])
        at_once = max(1, _HASHED_AT_ONCE // max(self.sample_bytes, 1))
        parts = torch.split(torch.arange(len(self.y)), min(at_once, _MOST_AT_ONCE))
        return combined([labels, *(tensor_digest(self.read(part)) for part in parts)])


@dataclass(frozen=True)
class Source:
    """A data set: its splits, its classes and the kind of its samples.

    Attributes:
        name: the data set's name.
        train: samples to learn from.
        test: samples to test on.
        classes: names of the classes; label i means `classes[i]`.
        top: the stored value of full brightness; pictures are divided by it.
        timed: whether the samples are events in frames, which already have a time axis and are not
            encoded.
        colour: whether the samples are colour pictures.
        mirror: whether augmentation may mirror the samples, left to right; None mirrors colour
            pictures only.
        validation: the data set's own validation samples, or None.
        augment: the random changes of `augment=True`.

    Raises:
        SigpropError: if a split is empty or a label is out of range.
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    top: float = 255.0
    timed: bool = False
    colour: bool = False
    mirror: bool | None = None
    validation: Split | None = None
    augment: Augment = field(default_factory=Augment)

    def __post_init__(self) -> None:
        splits = {"train": self.train, "test": self.test, "validation": self.validation}
        for place, split in splits.items():
            if split is None:
                continue
            if len(split.y) == 0:
                raise SigpropError(f"the {place} split of {self.name!r} is empty; expected samples")
            wrong = ((split.y < 0) | (split.y >= len(self.classes))).nonzero().flatten()
            if len(wrong):
                at = int(wrong[0])
                raise SigpropError(
                    f"{place} sample {at} of {self.name!r} has label {int(split.y[at])}; expected "
                    f"0 to {len(self.classes) - 1}"
                )


def derive_seed(*parts: int) -> int:
    """Return one seed, in [0, 2**63), from several integers >= 0.

    Different parts give unrelated random streams.
    """
    high, low = np.random.SeedSequence(parts).generate_state(2)
    return (int(high) << 32 | int(low)) >> 1


def generator(*parts: int) -> torch.Generator:
    """Return a CPU generator seeded by `derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(*parts))


def draw_balanced(y: Tensor, count: int, seed: int) -> Tensor:
    """Draw `count` samples with equal numbers of each class, as far as the data allow.

    With the same seed, a smaller draw is a subset of a larger one.

    Args:
        y: labels, `[N]`.
        count: number of samples to draw, 0 to N.
        seed: seed of the draw.

    Returns:
        Indices of the drawn samples in rising order, int64 `[count]`.
    """
    order = torch.randperm(len(y), generator=generator(seed))
    shuffled = y[order]
    rank = torch.empty_like(order)
    for label in range(int(y.max()) + 1 if len(y) else 0):
        members = (shuffled == label).nonzero().flatten()
        rank[members] = torch.arange(len(members))
    return order[rank.argsort(stable=True)[:count]].sort().values
