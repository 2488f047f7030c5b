"""Pictures that lie on the device as bytes, for the benchmarks that train on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.data.augment import shift_pictures
from sigprop_snn.data.sets.imagefolder import open_imagefolder
from sigprop_snn.data.source import Request

VALIDATION = 2_500  # pictures, or a tenth of the training folder if that is fewer
EVALUATION_BATCH = 250


@dataclass(frozen=True)
class Pictures:
    """Pictures on the device, as bytes.

    Attributes:
        x: `[N, 3, H, W]`, uint8.
        y: labels, `[N]`.
        mean: of each channel of the training pictures, `[3, 1, 1]`.
        deviation: their standard deviations.
    """

    x: Tensor
    y: Tensor
    mean: Tensor
    deviation: Tensor

    def entering(self, x: Tensor, steps: int) -> Tensor:
        """Return normalised pictures as a current that is constant in time, `[T, B, 3, H, W]`."""
        current = (x.float() - self.mean) / self.deviation
        return current.expand(steps, *current.shape)

    def batches(self, steps: int, count: int | None = None) -> list[tuple[Tensor, Tensor]]:
        """Return the first `count` pictures, or all, in batches."""
        parts = zip(
            self.x[:count].split(EVALUATION_BATCH), self.y[:count].split(EVALUATION_BATCH),
            strict=True,
        )  # fmt: skip
        return [(self.entering(x, steps), y) for x, y in parts]

    def changed(
        self, steps: int, batch_size: int, random: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one epoch of mirrored and shifted pictures in a new order; the rest is dropped."""
        order = torch.randperm(len(self.x), generator=random).to(self.x.device)
        for index in order[: len(order) // batch_size * batch_size].split(batch_size):
            x = shift_pictures(self.x[index], random, self.x.shape[-1] // 8, mirror=True)
            yield self.entering(x, steps), self.y[index]


@dataclass(frozen=True)
class Data:
    """The three splits and the number of classes."""

    train: Pictures
    validation: Pictures
    test: Pictures
    classes: int


class Decoded(NamedTuple):
    """The pictures of a folder, `[N, 3, H, W]`, uint8, their labels, and the number of classes."""

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    classes: int


def decoded(folder: Path, cache: Path | None = None) -> Decoded:
    """Decode all pictures of `folder/train/<class>/` and `folder/test/<class>/`.

    Args:
        folder: the folder, or one with a folder cifar10-jpeg in it.
        cache: a file that keeps them for the next call, or none.
    """
    if cache is not None and cache.exists():
        return Decoded(*torch.load(cache, weights_only=True))
    named = folder / "cifar10-jpeg"
    source = open_imagefolder(Request(named if named.is_dir() else folder))
    train, test = (split.read(torch.arange(len(split.y))) for split in (source.train, source.test))
    found = Decoded(train, source.train.y, test, source.test.y, len(source.classes))
    if cache is not None:
        partial = cache.with_suffix(".partial")
        torch.save(tuple(found), partial)
        partial.replace(cache)
    return found


def load(
    folder: Path, samples: int | None, size: int, device: torch.device, cache: Path | None = None
) -> Data:
    """Return the pictures of a folder on a device, averaged down to `size`.

    Args:
        folder: as in `decoded`.
        samples: number of training pictures; all but those of the validation split if none.
        size: side of the pictures.
        device: where they lie.
        cache: as in `decoded`.
    """
    given = decoded(folder, cache)
    order = torch.randperm(len(given.train_y), generator=torch.Generator().manual_seed(0))
    kept_back = min(VALIDATION, len(order) // 10)
    chosen = order[kept_back:][:samples]

    def pictures(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        if x.shape[-1] != size:
            x = F.adaptive_avg_pool2d(x.float(), size).round().to(torch.uint8)
        return x.to(device), y.to(device)

    def of_training(index: Tensor) -> tuple[Tensor, Tensor]:
        return pictures(given.train_x[index], given.train_y[index])

    x, y = of_training(chosen)
    values = x.float()
    mean, deviation = values.mean((0, 2, 3)), values.std((0, 2, 3))
    statistics = mean[:, None, None], deviation[:, None, None]
    return Data(
        Pictures(x, y, *statistics),
        Pictures(*of_training(order[:kept_back]), *statistics),
        Pictures(*pictures(given.test_x, given.test_y), *statistics),
        given.classes,
    )


def drawn(size: int) -> Data:
    """Return a few drawn pictures of ten classes on the CPU, for a trial without a data set."""
    random = torch.Generator().manual_seed(0)
    means = torch.rand(10, 3, size, size, generator=random)
    y = torch.arange(20) % 10
    x = (255 * (0.8 * means[y] + 0.2 * torch.rand(20, 3, size, size, generator=random))).byte()
    half = torch.full((3, 1, 1), 127.0)
    few = Pictures(x, y, half, half / 2)
    return Data(few, few, few, 10)


def percent(fraction: float | None) -> str:
    """Return a fraction in per cent, or a dash."""
    return "-" if fraction is None else f"{100 * fraction:.1f}"


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)
