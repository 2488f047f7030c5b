"""What a data set looks like before it becomes batches: labels, and a way to read the pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError


class DataNotFoundError(SigpropError):
    """Files of a data set that lie nowhere; the message says which were looked for, and where."""

    def __init__(self, name: str, looked_for: Iterable[Path], advice: str) -> None:
        files = "\n".join(f"  {path}" for path in looked_for)
        super().__init__(f"the data set {name!r} is not there. Looked for:\n{files}\n{advice}")


@dataclass(frozen=True)
class Split:
    """One split of a data set, read only where it is asked for.

    Attributes:
        y: labels, int64 `[N]`.
        read: gives the samples at the indices it is handed, as uint8 or float32, `[n, *shape]` for
            pictures and `[n, T, *shape]` for events in frames.
    """

    y: Tensor
    read: Callable[[Tensor], Tensor]

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> Split:
        """A split whose samples lie in memory already."""
        if len(x) != len(y):
            raise SigpropError(f"{len(x)} samples have {len(y)} labels; one label each is expected")
        return cls(y.long(), lambda index: x[index])


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
    """

    name: str
    train: Split
    test: Split
    classes: tuple[str, ...]
    top: float = 255.0
    timed: bool = False
    colour: bool = False
    mirror: bool | None = None

    def __post_init__(self) -> None:
        for place, split in (("train", self.train), ("test", self.test)):
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
    """One seed out of several non-negative integers; different parts give unrelated streams."""
    high, low = np.random.SeedSequence(parts).generate_state(2)
    return (int(high) << 32 | int(low)) >> 1


def generator(*parts: int) -> torch.Generator:
    """A CPU generator seeded by `derive_seed`."""
    return torch.Generator().manual_seed(derive_seed(*parts))


def balanced(y: Tensor, count: int, seed: int) -> Tensor:
    """Draws `count` samples so that the classes are as equally many as the data allow.

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
