"""Time-first batches of a split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sigprop_snn.arguments import instance, whole
from sigprop_snn.data.augment import Augment, drop_events, shift_pictures
from sigprop_snn.data.source import Split, derive_seed, generator
from sigprop_snn.encoding import Encoding
from sigprop_snn.errors import SigpropError

COLOUR_MEAN = 0.5
COLOUR_DEVIATION = 0.25

_ORDER, _AUGMENT, _ENCODE = range(3)


@dataclass(frozen=True)
class BatchOptions:
    """How stored samples become batches.

    Attributes:
        steps: number of time steps T.
        batch_size: samples in a batch; the last batch may be smaller.
        encode: encoding of pictures; None for events in frames, which are not encoded.
        top: pictures are divided by it.
        standardise: whether to map brightness [0, 1] to `(x - COLOUR_MEAN) / COLOUR_DEVIATION`.
        shuffle: whether to draw a new order in every epoch.
        augment: random changes of the samples, without None in them; None changes nothing.
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
    """Batches `(x, y)` of one split. It can be iterated any number of times.

    `x` is float32 `[T, B, *shape]`, `y` is int64 `[B]`. With direct encoding `x` has stride 0 in
    time and must not be written to.

    The order, the augmentation and the spikes of a shuffled split depend only on the seed and the
    epoch. Each pass increases the epoch by one; `set_epoch` sets it, so a resumed run gets the
    batches of an uninterrupted one. A split that is not shuffled is the same in every pass.

    Attributes:
        epoch: the epoch of the next pass, from 0.
    """

    def __init__(self, split: Split, options: BatchOptions) -> None:
        self._split = split
        self._options = options
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
        """Set the epoch of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.samples // self._options.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _, _, x, y in self._pass():
            yield x, y

    def with_lengths(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Iterate once over `(x, y, lengths)`; `x` and `y` are those of plain iteration.

        `lengths`, int64 `[B]`, is the number of steps of each sample before its padding of empty
        steps; for pictures it is T. See `mask`.
        """
        for index, stored, x, y in self._pass():
            if self._split.lengths is not None:
                yield x, y, self._split.lengths[index]
            elif self._options.encode is None:
                yield x, y, _steps_to_last_event(stored)
            else:
                yield x, y, torch.full_like(y, len(x))

    def _pass(self) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Yield the indices, the stored samples, the input and the labels of each batch."""
        options = self._options
        epoch = self.epoch if options.shuffle else 0
        self.epoch += 1
        if options.shuffle:
            order = torch.randperm(self.samples, generator=generator(options.seed, epoch, _ORDER))
        else:
            order = torch.arange(self.samples)
        for number, index in enumerate(torch.split(order, options.batch_size)):
            stored = self._split.read(index)
            yield index, stored, self._input(stored, epoch, number), self._split.y[index]

    def _input(self, stored: Tensor, epoch: int, number: int) -> Tensor:
        options = self._options
        if options.augment is not None:
            random = generator(options.seed, epoch, _AUGMENT, number)
            stored = _augmented(stored, random, options.augment, timed=options.encode is None)
        if options.encode is None:
            return stored.transpose(0, 1).to(torch.float32, memory_format=torch.contiguous_format)
        pictures = stored.to(torch.float32) / options.top
        if options.standardise:
            pictures = (pictures - COLOUR_MEAN) / COLOUR_DEVIATION
        seed = derive_seed(options.seed, epoch, _ENCODE, number)
        return options.encode(pictures, options.steps, seed)


@dataclass(frozen=True)
class Data:
    """A data set ready for training.

    Attributes:
        name: the data set's name.
        train: shuffled batches to learn from.
        test: batches to test on, always in the same order.
        validation: batches to choose settings or epochs by, never used in training: held out from
            the training samples, or the data set's own; or None.
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


def mask(lengths: Tensor, steps: int) -> Tensor:
    """Return which steps belong to each sample and are not padding, bool `[T, B]`.

    A network sees padding as silence: its neurons continue to leak, and a mean over time includes
    these steps. Use the mask to leave them out, as in
    `(voltage * mask[..., None]).sum(0) / lengths[:, None]`.

    Args:
        lengths: number of steps of each sample, integers `[B]`; see `Batches.with_lengths`.
        steps: number of time steps T.

    Raises:
        SigpropError: if a length is below 0 or above `steps`.
    """
    instance("lengths", lengths, Tensor, "a tensor of whole numbers [B]")
    steps = whole("steps", steps, 0)
    if lengths.numel() and not 0 <= int(lengths.min()) <= int(lengths.max()) <= steps:
        raise SigpropError(
            f"lengths range from {int(lengths.min())} to {int(lengths.max())}; expected 0 to "
            f"{steps}"
        )
    return torch.arange(steps, device=lengths.device)[:, None] < lengths


def _steps_to_last_event(frames: Tensor) -> Tensor:
    """Return the number of steps up to the last event of samples `[B, T, ...]`, int64 `[B]`."""
    occupied = (frames != 0).flatten(2).any(2)
    numbers = torch.arange(1, frames.shape[1] + 1)
    return (occupied * numbers).amax(1)


def _augmented(stored: Tensor, random: torch.Generator, augment: Augment, *, timed: bool) -> Tensor:
    assert augment.shift is not None and augment.mirror is not None  # `resolved` fills them
    pictures = stored
    if timed:
        # Time steps become channels, so all steps of a sample move together. A row gets height 1.
        is_row = stored.dim() < 5
        pictures = stored.unsqueeze(-2) if is_row else stored
        pictures = pictures.flatten(1, -3)
    moved = shift_pictures(pictures, random, augment.shift, mirror=augment.mirror).view_as(stored)
    return drop_events(moved, random, augment.drop) if augment.drop else moved
