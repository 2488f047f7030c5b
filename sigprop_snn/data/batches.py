"""Time-first batches of a split."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from sigprop_snn.arguments import instance, whole
from sigprop_snn.data.augment import Augment, drop_events, shift_pictures, warp_pictures
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


class Batches(ABC):
    """Batches `(x, y)` of one split. It can be iterated any number of times.

    `x` is float32 `[T, B, *shape]`, `y` is int64 `[B]`. With direct encoding `x` has stride 0 in
    time and must not be written to.

    The order and all random changes of the training samples depend only on the seed and the epoch.
    Each pass increases the epoch by one; `set_epoch` sets it, so a resumed run gets the batches of
    an uninterrupted one. Test and validation samples are the same in every pass.

    Attributes:
        epoch: the epoch of the next pass, from 0.
    """

    epoch: int

    @property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.labels)

    @property
    @abstractmethod
    def labels(self) -> Tensor:
        """Labels in stored order, int64 `[N]`; for a loader, in the order of its first pass."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a hash that changes when the samples or their labels do."""

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next pass."""
        self.epoch = epoch

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of batches."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for x, y, _ in self._pass():
            yield x, y

    def each_labels(self) -> Iterator[Tensor]:
        """Iterate once over the labels of the batches; samples are not read where none need be."""
        for _, y, _ in self._pass():
            yield y

    def with_lengths(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Iterate once over `(x, y, lengths)`; `x` and `y` are those of plain iteration.

        `lengths`, int64 `[B]`, is the number of steps of each sample before its padding of empty
        steps; for pictures it is T. See `mask`.
        """
        for x, y, lengths in self._pass():
            yield x, y, lengths()

    @abstractmethod
    def _pass(self) -> Iterator[tuple[Tensor, Tensor, Callable[[], Tensor]]]:
        """Yield the input, the labels and a function that returns the lengths of each batch."""


class SplitBatches(Batches):
    """Batches of a split: samples in memory, or read when they are needed.

    Args:
        split: the samples.
        options: how they become batches.
    """

    def __init__(self, split: Split, options: BatchOptions) -> None:
        self.split = split
        self.options = options
        self._fingerprint: str | None = None
        self.epoch = 0

    @property
    def labels(self) -> Tensor:
        """Labels in stored order, int64 `[N]`."""
        return self.split.y

    def fingerprint(self) -> str:
        """Return a hash of the samples and labels; it is made once."""
        if self._fingerprint is None:
            self._fingerprint = self.split.fingerprint()
        return self._fingerprint

    def __len__(self) -> int:
        return -(-self.samples // self.options.batch_size)

    def each_labels(self) -> Iterator[Tensor]:
        """Iterate once over the labels of the batches, without reading samples."""
        _, order = self.order()
        for index in order:
            yield self.split.y[index]

    def order(self) -> tuple[int, tuple[Tensor, ...]]:
        """Return the epoch of a pass, and the samples of each of its batches."""
        options = self.options
        epoch = self.epoch if options.shuffle else 0
        self.epoch += 1
        if options.shuffle:
            order = torch.randperm(self.samples, generator=generator(options.seed, epoch, _ORDER))
        else:
            order = torch.arange(self.samples)
        return epoch, torch.split(order, options.batch_size)

    def _pass(self) -> Iterator[tuple[Tensor, Tensor, Callable[[], Tensor]]]:
        epoch, order = self.order()
        for number, index in enumerate(order):
            stored = self.split.read(index)
            x, y = self.made(stored, epoch, number), self.split.y[index]
            yield x, y, partial(self.lengths, index, stored)

    def lengths(self, index: Tensor, stored: Tensor) -> Tensor:
        """Return the lengths of the samples at indices; see `with_lengths`."""
        if self.split.lengths is not None:
            return self.split.lengths[index]
        if self.options.encode is None:
            return steps_to_last_event(stored)
        return torch.full((len(index),), self.options.steps)

    def made(self, stored: Tensor, epoch: int, number: int) -> Tensor:
        """Return the input `[T, B, ...]` that stored samples become in a batch of an epoch."""
        options = self.options
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


def steps_to_last_event(frames: Tensor) -> Tensor:
    """Return the number of steps up to the last event of samples `[B, T, ...]`, int64 `[B]`."""
    occupied = (frames != 0).flatten(2).any(2)
    numbers = torch.arange(1, frames.shape[1] + 1, device=frames.device)
    return (occupied * numbers).amax(1)


def _augmented(stored: Tensor, random: torch.Generator, augment: Augment, *, timed: bool) -> Tensor:
    assert augment.shift is not None and augment.mirror is not None  # `resolved` fills them
    pictures = stored
    if timed:
        # Time steps become channels, so all steps of a sample move together. A row gets height 1.
        is_row = stored.dim() < 5
        pictures = stored.unsqueeze(-2) if is_row else stored
        pictures = pictures.flatten(1, -3)
    if augment.warps:
        pictures = warp_pictures(pictures, random, augment)
    moved = shift_pictures(pictures, random, augment.shift, mirror=augment.mirror).view_as(stored)
    return drop_events(moved, random, augment.drop) if augment.drop else moved
