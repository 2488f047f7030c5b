"""Time-first batches from samples that lie in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sigprop_snn.data.augment import shifted
from sigprop_snn.data.source import derive_seed, generator
from sigprop_snn.encoding import Encoding

COLOUR_MEAN = 0.5
COLOUR_DEVIATION = 0.25
COLOUR_SHIFT = 4
SHIFT = 2
_ORDER, _AUGMENT, _ENCODE = range(3)


@dataclass(frozen=True)
class Recipe:
    """How stored samples become input.

    Attributes:
        steps: number of time steps T.
        batch_size: samples in a batch; the last may hold fewer.
        encode: encoding of pictures; None for events in frames, which are used as they are.
        top: pictures are divided by it.
        standardise: whether to map brightness [0, 1] to
            `(x - COLOUR_MEAN) / COLOUR_DEVIATION` in every channel.
        shuffle: whether every epoch has its own order.
        augment: whether to shift the samples, by up to COLOUR_SHIFT pixels where they are mirrored
            too and SHIFT where they are not.
        mirror: whether augmentation mirrors half of the samples.
        seed: seed of the order, of the augmentation and of rate-coded spikes.
    """

    steps: int
    batch_size: int
    encode: Encoding | None
    top: float
    standardise: bool
    shuffle: bool
    augment: bool
    mirror: bool
    seed: int


class Batches:
    """Batches `(x, y)` of one split; may be iterated any number of times.

    `x` is float32 `[T, B, *shape]`, `y` is int64 `[B]`. With direct current `x` has stride 0 in
    time and must not be written to. The order, the augmentation and the spikes of a shuffled split
    follow from the seed and the epoch; each pass moves on to the next epoch, and `set_epoch`
    names one, so that a resumed run sees what an uninterrupted one would have seen. A split that
    is not shuffled is the same in every pass.

    Attributes:
        epoch: the epoch of the next pass, from 0.
    """

    def __init__(self, x: Tensor, y: Tensor, recipe: Recipe) -> None:
        self._x = x
        self._y = y
        self._recipe = recipe
        self.epoch = 0

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self._y)

    @property
    def labels(self) -> Tensor:
        """Labels in stored order, int64 `[N]`."""
        return self._y

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.samples // self._recipe.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        recipe = self._recipe
        epoch = self.epoch if recipe.shuffle else 0
        self.epoch += 1
        if recipe.shuffle:
            order = torch.randperm(self.samples, generator=generator(recipe.seed, epoch, _ORDER))
        else:
            order = torch.arange(self.samples)
        for number, index in enumerate(torch.split(order, recipe.batch_size)):
            yield self._input(self._x[index], epoch, number), self._y[index]

    def _input(self, stored: Tensor, epoch: int, number: int) -> Tensor:
        recipe = self._recipe
        if recipe.augment:
            random = generator(recipe.seed, epoch, _AUGMENT, number)
            reach = COLOUR_SHIFT if recipe.mirror else SHIFT
            pictures = stored.flatten(1, -3) if stored.dim() > 4 else stored
            stored = shifted(pictures, random, reach, mirror=recipe.mirror).view_as(stored)
        if recipe.encode is None:
            return stored.transpose(0, 1).to(torch.float32, memory_format=torch.contiguous_format)
        pictures = stored.to(torch.float32) / recipe.top
        if recipe.standardise:
            pictures = (pictures - COLOUR_MEAN) / COLOUR_DEVIATION
        seed = derive_seed(recipe.seed, epoch, _ENCODE, number)
        return recipe.encode(pictures, recipe.steps, seed)


@dataclass(frozen=True)
class Data:
    """A data set ready for training.

    Attributes:
        name: the data set's name.
        train: shuffled batches to learn from.
        test: batches to be judged by, always in the same order.
        validation: batches carved from the training samples, or None.
        shape: shape of one step of one sample, such as `(1, 28, 28)`.
        classes: names of the classes; label i means `classes[i]`.
        steps: number of time steps T.
    """

    name: str
    train: Batches
    test: Batches
    validation: Batches | None
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    steps: int
