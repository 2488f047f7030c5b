"""Batches of a `DataLoader` or of any other iterable that can be read again and again."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from sigprop_snn.arguments import refused
from sigprop_snn.data.batches import Batches, steps_to_last_event
from sigprop_snn.data.contents import combined, tensor_digest
from sigprop_snn.data.source import derive_seed
from sigprop_snn.encoding import Encoding
from sigprop_snn.errors import SigpropError, shown

_BRIGHTEST = 255  # of pictures in uint8
_LOAD, _ENCODE = range(2)


@dataclass(frozen=True)
class BatchAxes:
    """The axes of a loader's batches.

    Attributes:
        steps: number of time steps T for batches of pictures `[B, ...]`; None for batches that
            have a time axis.
        encode: encoding of the pictures.
        batch_first: whether batches with a time axis are `[B, T, ...]`, not `[T, B, ...]`.
    """

    steps: int | None
    encode: Encoding
    batch_first: bool = False

    @property
    def expected(self) -> str:
        """The shape of a batch, in words."""
        if self.steps is not None:
            return "[B, ...]"
        return "[B, T, ...]" if self.batch_first else "[T, B, ...]"


class LoaderBatches(Batches):
    """Batches of a loader. It is read once when this object is made, to count and to check.

    Before each pass the random numbers of torch, numpy and Python, the loader's own generator and
    its `set_epoch` are set from the seed and the epoch. The order and the random transforms of a
    `DataLoader` are then those of an uninterrupted run after a resume, with the same number of
    workers that are not persistent.

    Args:
        loader: pairs of inputs and labels; a tensor, an array or a list each.
        place: name of the batches, for messages.
        axes: the axes of a batch.
        seed: seed of the order and of all random changes.
        changes: whether passes differ, as for training samples.

    Attributes:
        shape: shape of one step of one sample.
        steps: number of time steps T of the first batch.
    """

    def __init__(
        self, loader: Any, place: str, axes: BatchAxes, seed: int, *, changes: bool
    ) -> None:
        readable = isinstance(loader, Iterable) or hasattr(loader, "__len__")
        if isinstance(loader, str | bytes | Mapping | Tensor | np.ndarray) or not readable:
            raise refused(place, loader, "a DataLoader or another iterable of batches")
        if isinstance(loader, Iterator):
            raise SigpropError(
                f"{place} is a {type(loader).__name__}, which can be read only once; expected a "
                "DataLoader, a list or another object that gives its batches again"
            )
        self._loader, self._place, self._axes = loader, place, axes
        self._seed, self._changes = seed, changes
        self.epoch = 0
        self._read_once()

    def _read_once(self) -> None:
        """Check every batch, and note labels, shape, steps, length and fingerprint."""
        labels, digests, self._count = [], [], 0
        shape: tuple[int, ...] | None = None
        for x, y in tqdm(self._checked(0), f"reading {self._place}", leave=False, disable=None):
            found = tuple(x.shape[2:])
            if shape is None:
                shape, self.steps = found, len(x)
            elif found != shape:
                raise SigpropError(
                    f"batch {self._count} of {self._place} has samples of shape {list(found)}; "
                    f"expected {list(shape)}, as in batch 0"
                )
            labels.append(y)
            digests.append(tensor_digest(x[:1] if x.stride(0) == 0 else x))
            self._count += 1
        if shape is None:
            raise SigpropError(f"{self._place} gives no batch; expected at least one")
        self.shape = shape
        self._labels = torch.cat(labels)
        # The order of training samples, and their random changes, are not part of the data.
        told = [self._labels.sort().values if self._changes else self._labels]
        self._fingerprint = combined(
            [*map(tensor_digest, told), *([] if self._changes else digests)]
        )

    @property
    def changes(self) -> bool:
        """Whether the order and the samples may change from pass to pass, as in training."""
        return self._changes

    @property
    def labels(self) -> Tensor:
        """Labels in the order of the first pass, int64 `[N]`."""
        return self._labels

    def fingerprint(self) -> str:
        """Return a hash of the labels, and of the samples of batches that do not change."""
        return self._fingerprint

    def __len__(self) -> int:
        return self._count

    def _pass(self) -> Iterator[tuple[Tensor, Tensor, Callable[[], Tensor]]]:
        epoch = self.epoch if self._changes else 0
        self.epoch += 1
        count = 0
        for x, y in self._checked(epoch):
            count += 1
            yield x, y, partial(self._lengths, x)
        if count != self._count:  # learning rates fall with the number of batches
            raise SigpropError(
                f"{self._place} gives {count} batches, but {self._count} when it was read first; "
                "expected the same number every time"
            )

    def _lengths(self, x: Tensor) -> Tensor:
        if self._axes.steps is None:
            return steps_to_last_event(x.transpose(0, 1))
        return torch.full((x.shape[1],), len(x))

    def _checked(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        for number, batch in enumerate(self._loaded(epoch)):
            place = f"batch {number} of {self._place}"
            x, y = _pair(batch, place)
            x, y = as_values(x, place), as_labels(y, place)
            yield self._time_first(x, y, place, derive_seed(self._seed, epoch, _ENCODE, number)), y

    def _loaded(self, epoch: int) -> Iterator[Any]:
        """Yield the loader's batches of an epoch."""
        seed = derive_seed(self._seed, epoch, _LOAD)
        _seed_parts(self._loader, seed, epoch)
        stream = _RandomStream(seed)
        with stream.used():
            batches = iter(self._loader)
        while True:
            with stream.used():
                batch = next(batches, _END)
            if batch is _END:
                return
            yield batch

    def _time_first(self, x: Tensor, y: Tensor, place: str, seed: int) -> Tensor:
        """Return float32 inputs `[T, B, ...]`."""
        axes = self._axes
        axis = 0 if axes.steps is not None or axes.batch_first else 1
        least = 2 if axes.steps is not None else 3
        if x.ndim < least or x.shape[axis] != len(y):
            hint = ""
            if axes.steps is None and len(x) == len(y) and 1 < x.ndim < 5:
                hint = ". For pictures [B, ...]: Data.from_loaders(..., steps=...)"
            if axes.steps is None and x.ndim > 2 and x.shape[1 - axis] == len(y):
                other = not axes.batch_first
                hint += f". For these axes: Data.from_loaders(..., batch_first={other})"
            raise SigpropError(
                f"{place} has inputs of shape {list(x.shape)} and {len(y)} labels; expected "
                f"inputs {axes.expected}{hint}"
            )
        if axes.steps is None:
            x = x.transpose(0, 1) if axes.batch_first else x
            return x.to(torch.float32, memory_format=torch.contiguous_format)
        pictures = x.to(torch.float32) / (_BRIGHTEST if x.dtype == torch.uint8 else 1)
        return axes.encode(pictures, axes.steps, seed)


_END = object()


def as_values(value: Any, place: str) -> Tensor:
    """Return numbers of any kind as a tensor on the CPU without a gradient.

    Raises:
        SigpropError: if they are no finite real numbers in an array.
    """
    try:
        found = value if isinstance(value, Tensor) else _from_numpy(np.asarray(value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise refused(place, value, "a tensor or an array of numbers") from error
    found = found.detach().cpu()
    found = found.to_dense() if found.layout != torch.strided else found
    if found.is_complex():
        raise refused(place, value, "real numbers")
    if found.is_floating_point() and not bool(torch.isfinite(found).all()):
        raise SigpropError(f"{place} contains NaN or infinity; expected finite values")
    return found


def _from_numpy(values: Any) -> Tensor:
    """Return an array as a tensor; a copy where torch can't share its memory."""
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    shared = values.flags.writeable and all(stride >= 0 for stride in values.strides)
    return torch.as_tensor(values if shared else values.copy())


def as_labels(value: Any, place: str) -> Tensor:
    """Return labels as int64 `[N]`.

    Raises:
        SigpropError: if they are no whole numbers from 0, one for each sample.
    """
    found = as_values(value, f"{place}: labels")
    whole = not found.is_floating_point()
    found = found.long() if whole else found  # torch can't compare every unsigned type
    if found.ndim != 1 or not whole or bool((found < 0).any()):
        shape = f"{str(found.dtype).removeprefix('torch.')} of shape {list(found.shape)}"
        lowest = f", the lowest {found.min()}" if found.numel() and whole else ""
        single = ". A dataset of single samples goes through Data.from_torch or a DataLoader"
        raise SigpropError(
            f"{place} has labels as {shape}{lowest}; expected whole numbers from 0, [B], one for "
            f"each sample{single if found.ndim == 0 else ''}"
        )
    return found


def _pair(batch: Any, place: str) -> tuple[Any, Any]:
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    given = f"{len(batch)} entries" if isinstance(batch, tuple | list) else shown(batch)
    raise SigpropError(f"{place} is {given}; expected a pair of inputs and labels")


def _seed_parts(loader: Any, seed: int, epoch: int) -> None:
    """Seed the generators of a loader and tell its parts the epoch."""
    sampler = getattr(loader, "sampler", None)
    parts = [loader, sampler, getattr(loader, "batch_sampler", None)]
    for part in parts:
        generator = getattr(part, "generator", None)
        if isinstance(generator, torch.Generator):
            generator.manual_seed(seed)
        if callable(getattr(part, "set_epoch", None)):
            part.set_epoch(epoch)


class _RandomStream:
    """The random states of torch's CPU, numpy and Python that belong to one pass of a loader."""

    def __init__(self, seed: int) -> None:
        before = _states()
        # `torch.manual_seed` would also seed every GPU.
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        self._states = _states()
        _restore(before)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Draw from this stream in the `with` block, and from the process's own after it."""
        before = _states()
        _restore(self._states)
        try:
            yield
        finally:
            self._states = _states()
            _restore(before)


def _states() -> tuple[Any, Any, Any]:
    return torch.get_rng_state(), np.random.get_state(), random.getstate()


def _restore(states: tuple[Any, Any, Any]) -> None:
    torch.set_rng_state(states[0])
    np.random.set_state(states[1])
    random.setstate(states[2])
