"""One run of a table, and its samples, which are on the device in the type of their files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.pictures import say
from sigprop_snn.data import DATASETS
from sigprop_snn.data.augment import SHIFT, SHIFT_WITH_MIRROR, shift_pictures
from sigprop_snn.data.sets.imagefolder import open_imagefolder
from sigprop_snn.data.source import Request, Source
from sigprop_snn.network import Network

EVALUATION_BATCH = 500
JPEGS = "cifar10-jpeg"  # CIFAR-10 as pictures, in train/<class>/ and test/<class>/
DRAWN = 12  # samples of a split of a dry run
DRAWN_SIDE = 8


@dataclass(frozen=True, kw_only=True)
class TableCase:
    """One run.

    Attributes:
        dataset: "cifar10", or another name in `sp.DATASETS`.
        rule: the learning rule.
        seed: of the weights, of the order of the samples and of their shifts.
        epochs: passes over the training samples.
        batch_size: samples in a batch.
        steps: time steps T.
        rate: Adam's learning rate at the start; it falls to zero.
        augment: whether training samples are shifted, and pictures of objects mirrored.
        train_samples: number of training samples, or all.
        test_samples: number of test samples, or all.
        validation: fraction of the training samples to evaluate on in place of the test samples.
    """

    dataset: str
    rule: str
    seed: int
    epochs: int
    batch_size: int
    steps: int
    rate: float
    augment: bool
    train_samples: int | None
    test_samples: int | None
    validation: float


@dataclass(frozen=True)
class Samples:
    """Samples on a device, in the small type in which they are stored.

    Attributes:
        x: pictures `[N, C, H, W]`, or events in frames `[N, T, C, H, W]`.
        y: labels, `[N]`.
        scale: factor of the stored values.
        offset: what is added behind the factor.
        shift: largest shift in pixels while learning, 0 for none.
        mirror: whether half of the pictures are mirrored while learning.
    """

    x: Tensor
    y: Tensor
    scale: float = 1.0
    offset: float = 0.0
    shift: int = 0
    mirror: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one step of one sample."""
        return tuple(self.x.shape[-3:])

    def entering(self, x: Tensor, steps: int) -> Tensor:
        """Return samples as input, `[T, B, C, H, W]`; a picture is a current constant in time."""
        values = x.float() * self.scale + self.offset
        if x.dim() == 5:
            return values.transpose(0, 1).contiguous()
        return values.expand(steps, *values.shape)

    def batches(self, steps: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all samples in order."""
        parts = zip(self.x.split(EVALUATION_BATCH), self.y.split(EVALUATION_BATCH), strict=True)
        for x, y in parts:
            yield self.entering(x, steps), y

    def epoch(
        self, steps: int, batch_size: int, random: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield whole batches of all samples in a new order; the rest is dropped."""
        order = torch.randperm(len(self.x), generator=random).to(self.x.device)
        for index in order[: len(order) // batch_size * batch_size].split(batch_size):
            x = self.x[index]
            if self.shift:
                flat = x.flatten(1, -3)  # the time steps as channels
                x = shift_pictures(flat, random, self.shift, mirror=self.mirror).view_as(x)
            yield self.entering(x, steps), self.y[index]


@dataclass(frozen=True)
class Data:
    """The splits of a data set.

    Attributes:
        train: samples to learn from.
        held_out: samples to evaluate on: the test split, or a part of the training split.
        classes: number of classes.
    """

    train: Samples
    held_out: Samples
    classes: int


class Stored(NamedTuple):
    """A data set as its files hold it, and how stored values become input."""

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    classes: int
    scale: float
    offset: float
    mirror: bool


def read(dataset: str, root: Path, steps: int) -> Stored:
    """Read a data set from its files; nothing is downloaded.

    Args:
        dataset: its name.
        root: the folder of the data sets.
        steps: steps of a recording; 0 for pictures.
    """
    jpegs = dataset == "cifar10" and (root / JPEGS).is_dir()
    open_source = open_imagefolder if jpegs else DATASETS[dataset].open
    source: Source = open_source(
        Request(root / JPEGS if jpegs else root, max(steps, 1), download=False)
    )
    parts = []
    for split in (source.train, source.test):
        parts += [split.read(torch.arange(len(split.y))), split.y]
    if source.timed:
        scale, offset = 1.0, 0.0
    else:  # as `sp.load`: brightness in [0, 1], colours as (x - 0.5) / 0.25
        factor, offset = (4.0, -2.0) if source.colour else (1.0, 0.0)
        scale = factor / source.top
    return Stored(*parts, len(source.classes), scale, offset, source.colour)


def cached(dataset: str, root: Path, steps: int, cache: Path | None) -> Stored:
    """Return a data set, from a file of the cache folder if it has been read before."""
    if cache is None:
        return read(dataset, root, steps)
    path = cache / f"{dataset}-{steps}.pt" if steps else cache / f"{dataset}.pt"
    if not path.exists():
        say(f"reading {dataset}")
        cache.mkdir(parents=True, exist_ok=True)
        partial_path = path.with_suffix(f".{os.getpid()}")
        torch.save(tuple(read(dataset, root, steps)), partial_path)
        partial_path.replace(path)
    return Stored(*torch.load(path, weights_only=True))


def drawn(case: TableCase) -> Stored:
    """Return a few drawn samples of ten classes, for a trial without files."""
    random = torch.Generator().manual_seed(0)
    channels = {"cifar10": (3,), "nmnist": (case.steps, 2)}.get(case.dataset, (1,))
    shape = (*channels, DRAWN_SIDE, DRAWN_SIDE)
    y = torch.arange(DRAWN) % 10
    means = torch.rand(10, *shape, generator=random)
    x = (3 * (means[y] + torch.rand(DRAWN, *shape, generator=random))).byte()
    return Stored(x, y, x, y, 10, 0.5, 0.0, len(channels) == 1 and channels[0] == 3)


def chosen(stored: Stored, case: TableCase, device: torch.device) -> Data:
    """Return the samples of a case on a device; the validation samples are always the same."""
    order = torch.randperm(len(stored.train_y), generator=torch.Generator().manual_seed(0))
    kept_back = int(case.validation * len(order))
    learned = order[kept_back:][: case.train_samples]
    shift = (SHIFT_WITH_MIRROR if stored.mirror else SHIFT) if case.augment else 0

    def samples(x: Tensor, y: Tensor) -> Samples:
        return Samples(
            x.to(device), y.to(device), stored.scale, stored.offset, shift, stored.mirror
        )

    train = samples(stored.train_x[learned], stored.train_y[learned])
    if kept_back:
        held = order[:kept_back]
        held_out = samples(stored.train_x[held], stored.train_y[held])
    else:
        order = torch.randperm(len(stored.test_y), generator=torch.Generator().manual_seed(1))
        tested = order[: case.test_samples]
        held_out = samples(stored.test_x[tested], stored.test_y[tested])
    return Data(train, held_out, stored.classes)


def normalise_by_batch(network: Network) -> None:
    """Give every block batch norm, whose gradient passes through the statistics of the batch."""
    for block in network.each_block():
        maps = isinstance(block.synapse, nn.Conv2d)
        channels = block.norm.gain.numel()
        block.norm = nn.BatchNorm2d(channels) if maps else nn.BatchNorm1d(channels)
