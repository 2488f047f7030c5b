"""What a data set looks like before it becomes batches: labels, and a way to read the pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.data.frames import Frames
from sigprop_snn.errors import SigpropError


class DataNotFoundError(SigpropError):
    """Files of a data set that lie nowhere; the message says which were looked for, and where."""

    def __init__(self, name: str, looked_for: Iterable[Path], advice: str) -> None:
        files = "\n".join(f"  {path}" for path in looked_for)
        super().__init__(f"the data set {name!r} is not there. Looked for:\n{files}\n{advice}")


@dataclass(frozen=True)
class Request:
    """What `load` wants of a data set.

    Attributes:
        root: the folder that holds the data sets.
        steps: number of time steps T.
        download: whether to download what is absent.
        frames: how events become frames.
        cache: the folder that frames are kept in, or None.
    """

    root: Path
    steps: int = 10
    download: bool = True
    frames: Frames = field(default_factory=Frames)
    cache: Path | None = None


@dataclass(frozen=True)
class Split:
    """One split of a data set, read only where it is asked for.

    Attributes:
        y: labels, int64 `[N]`.
        read: gives the samples at the indices it is handed, as uint8, int16 or float32,
            `[n, *shape]` for pictures and `[n, T, *shape]` for events in frames.
        sample_bytes: bytes of one sample where reading takes up memory; a split that would take up
            too much is read batch by batch. 0 for samples that lie in memory already.
        lengths: steps that each timed sample fills before its padding, int64 `[N]`; None takes the
            steps up to its last event.
    """

    y: Tensor
    read: Callable[[Tensor], Tensor]
    sample_bytes: int = 0
    lengths: Tensor | None = None

    @classmethod
    def of(cls, x: Tensor, y: Tensor, lengths: Tensor | None = None) -> Split:
        """Return a split whose samples lie in memory already."""
        if len(x) != len(y):
            raise SigpropError(f"{len(x)} samples have {len(y)} labels; one label each is expected")
        return cls(y.long(), lambda index: x[index], lengths=lengths)

    def part(self, chosen: Tensor) -> Split:
        """Return the split of some of its samples, read where it is asked for."""
        lengths = None if self.lengths is None else self.lengths[chosen]
        return Split(
            self.y[chosen], lambda index: self.read(chosen[index]), self.sample_bytes, lengths
        )

    def in_memory(self) -> Split:
        """Return the split with every sample read."""
        return Split.of(self.read(torch.arange(len(self.y))), self.y, self.lengths)


@dataclass(frozen=True)
class Source:
    """A data set with its two splits.

    Attributes:
        name: the name it is known by.
        train: samples to learn from.
        test: samples to be judged by.
        classes: names of the classes; label i means `classes[i]`.
        top: the stored value that stands for full brightness; pictures are divided by it.
        timed: whether the samples are events in frames, which have a time axis already and are
            used as they are.
        colour: whether the samples are colour pictures.
        mirror: whether augmentation may mirror the samples, left to right; None means colour
            pictures alone.
        validation: samples that the data set itself sets apart to choose by, or None.
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

    def __post_init__(self) -> None:
        splits = {"train": self.train, "test": self.test, "validation": self.validation}
        for place, split in splits.items():
            if split is None:
                continue
            if len(split.y) == 0:
                raise SigpropError(f"the {place} split of {self.name!r} holds no sample")
            wrong = ((split.y < 0) | (split.y >= len(self.classes))).nonzero().flatten()
            if len(wrong):
                at = int(wrong[0])
                raise SigpropError(
                    f"label {int(split.y[at])} of {place} sample {at} of {self.name!r} is out of "
                    f"range; expected 0 to {len(self.classes) - 1}"
                )


def derive_seed(*parts: int) -> int:
    """Return one seed from several non-negative integers; other parts, an unrelated stream."""
    high, low = np.random.SeedSequence(parts).generate_state(2)
    return (int(high) << 32 | int(low)) >> 1


def generator(*parts: int) -> torch.Generator:
    """Return a CPU generator seeded by `derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(*parts))


def balanced(y: Tensor, count: int, seed: int) -> Tensor:
    """Draw `count` samples so that the classes are as equally many as the data allow.

    A smaller draw with the same seed is part of a larger one.

    Args:
        y: labels, `[N]`.
        count: how many to draw, 0 to N.
        seed: seed of the draw.

    Returns:
        Their indices in rising order, int64 `[count]`.
    """
    order = torch.randperm(len(y), generator=generator(seed))
    shuffled = y[order]
    rank = torch.empty_like(order)
    for label in range(int(y.max()) + 1 if len(y) else 0):
        members = (shuffled == label).nonzero().flatten()
        rank[members] = torch.arange(len(members))
    return order[rank.argsort(stable=True)[:count]].sort().values
