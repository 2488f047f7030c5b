"""Time-first batches from the samples of a split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sigprop_snn.data.augment import Augment, shifted, thinned
from sigprop_snn.data.lengths import filled
from sigprop_snn.data.source import Split, derive_seed, generator
from sigprop_snn.encoding import Encoding

COLOUR_MEAN = 0.5
COLOUR_DEVIATION = 0.25
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
        augment: random changes of the samples, nothing left open in them; None leaves them alone.
        seed: seed of the order, of the augmentation and of rate-coded spikes.
    """

    steps: int
    batch_size: int
    encode: Encoding | None
    top: float
    standardise: bool
    shuffle: bool
    augment: Augment | None
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

    def __init__(self, split: Split, recipe: Recipe) -> None:
        self._split = split
        self._recipe = recipe
        self.epoch = 0

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self._split.y)

    @property
    def labels(self) -> Tensor:
        """Labels in stored order, int64 `[N]`."""
        return self._split.y

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.samples // self._recipe.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _, _, x, y in self._pass():
            yield x, y

    def with_lengths(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Return one pass of `(x, y, lengths)`, with the same `x` and `y` as iteration gives.

        `lengths`, int64 `[B]`, tells how many steps each sample fills; what follows is silence.
        Of pictures that is every step. See `mask`.
        """
        for index, stored, x, y in self._pass():
            if self._split.lengths is not None:
                yield x, y, self._split.lengths[index]
            elif self._recipe.encode is None:
                yield x, y, filled(stored)
            else:
                yield x, y, torch.full_like(y, len(x))

    def _pass(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Yield the numbers, the samples as stored, the input and the labels of each batch."""
        recipe = self._recipe
        epoch = self.epoch if recipe.shuffle else 0
        self.epoch += 1
        if recipe.shuffle:
            order = torch.randperm(self.samples, generator=generator(recipe.seed, epoch, _ORDER))
        else:
            order = torch.arange(self.samples)
        for number, index in enumerate(torch.split(order, recipe.batch_size)):
            stored = self._split.read(index)
            yield index, stored, self._input(stored, epoch, number), self._split.y[index]

    def _input(self, stored: Tensor, epoch: int, number: int) -> Tensor:
        recipe = self._recipe
        if recipe.augment is not None:
            random = generator(recipe.seed, epoch, _AUGMENT, number)
            stored = _augmented(stored, random, recipe.augment, timed=recipe.encode is None)
        if recipe.encode is None:
            return stored.transpose(0, 1).to(torch.float32, memory_format=torch.contiguous_format)
        pictures = stored.to(torch.float32) / recipe.top
        if recipe.standardise:
            pictures = (pictures - COLOUR_MEAN) / COLOUR_DEVIATION
        seed = derive_seed(recipe.seed, epoch, _ENCODE, number)
        return recipe.encode(pictures, recipe.steps, seed)


def _augmented(stored: Tensor, random: torch.Generator, augment: Augment, *, timed: bool) -> Tensor:
    assert augment.shift is not None  # settled
    assert augment.mirror is not None
    pictures = stored
    if timed:
        # The steps lie among the channels, so that all of them move alike; a row has height 1.
        row = stored.dim() < 5
        pictures = stored.unsqueeze(-2) if row else stored
        pictures = pictures.flatten(1, -3)
    moved = shifted(pictures, random, augment.shift, mirror=augment.mirror).view_as(stored)
    return thinned(moved, random, augment.drop) if augment.drop else moved


@dataclass(frozen=True)
class Data:
    """A data set ready for training.

    Attributes:
        name: the data set's name.
        train: shuffled batches to learn from.
        test: batches to be judged by, always in the same order.
        validation: batches to choose by, which training never sees: carved from the training
            samples, or those that the data set itself sets apart; or None.
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
