"""Batches for a GPU: made there from stored bytes, or made ahead in another thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from sigprop_snn.data.batches import Batches, SplitBatches
from sigprop_snn.encoding import direct, rate

AHEAD = 3
"""Batches that are made while the GPU learns."""

_SHARE = 0.25  # of a GPU's free memory that the samples of one split may take

T = TypeVar("T")


def feed(batches: Batches, device: torch.device) -> Batches:
    """Return the same batches in the way that keeps a GPU of CUDA busy.

    Samples in memory go to the GPU once, as they are stored, if they fit. Other batches of a split
    are made in another thread. The random numbers are the same in all ways. On other devices, and
    for a loader, which has its own workers, the batches stay as they are.

    Args:
        batches: the batches.
        device: the device that learns from them.
    """
    if device.type != "cuda" or not isinstance(batches, SplitBatches):
        return batches
    if can_be_moved(batches) and stored_bytes(batches) <= _SHARE * _free_bytes(device):
        return MovedBatches(batches, device)
    if batches.options.encode is rate:  # it sets the random state of the process for a moment
        return batches
    return BatchesAhead(batches)


def can_be_moved(batches: SplitBatches) -> bool:
    """Return whether a device can make batches that equal those of the CPU.

    The samples must be in memory, events in frames or pictures as a constant current. Events to
    drop are drawn one by one on the CPU.
    """
    options = batches.options
    drops = options.augment is not None and options.augment.drop > 0
    return batches.split.sample_bytes == 0 and options.encode in (None, direct) and not drops


def stored_bytes(batches: SplitBatches) -> int:
    """Return the size of the stored samples of a split in memory."""
    one = batches.split.read(torch.arange(1))
    return batches.samples * one.numel() * one.element_size()


def _free_bytes(device: torch.device) -> int:
    free, _ = torch.cuda.mem_get_info(device)
    return free


class MovedBatches(SplitBatches):
    """Batches that a device makes from samples in its own memory.

    Args:
        batches: the batches to make; see `can_be_moved`.
        device: the device.
    """

    def __init__(self, batches: SplitBatches, device: torch.device) -> None:
        options = batches.options
        if options.encode is not None:
            options = replace(options, encode=_constant)
        super().__init__(batches.split, options)
        self._samples = batches.split.read(torch.arange(batches.samples)).to(device)
        self._there = batches.split.y.to(device)

    def _pass(self) -> Iterator[tuple[Tensor, Tensor, Callable[[], Tensor]]]:
        epoch, order = self.order()
        moved = torch.split(torch.cat(order).to(self._samples.device), self.options.batch_size)
        for number, (index, there) in enumerate(zip(order, moved, strict=True)):
            stored = self._samples[there]
            lengths = partial(self.lengths, index, stored)
            yield self.made(stored, epoch, number), self._there[there], lengths


def _constant(pictures: Tensor, steps: int, seed: int) -> Tensor:
    """Return what `direct` does, without its check, for which a program waits for a GPU.

    The check was made when the samples were read.
    """
    return pictures.expand(steps, *pictures.shape)


class BatchesAhead(Batches):
    """Batches that another thread makes ahead.

    Args:
        batches: the batches; they must not use random numbers of the process.
    """

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self.epoch = batches.epoch

    @property
    def labels(self) -> Tensor:
        """Labels in stored order, int64 `[N]`."""
        return self._batches.labels

    def fingerprint(self) -> str:
        """Return a hash of the samples and labels."""
        return self._batches.fingerprint()

    def __len__(self) -> int:
        return len(self._batches)

    def _pass(self) -> Iterator[tuple[Tensor, Tensor, Callable[[], Tensor]]]:
        self._batches.set_epoch(self.epoch)
        self.epoch += 1
        yield from ahead(self._batches._pass(), AHEAD)


def ahead(items: Iterator[T], count: int) -> Iterator[T]:
    """Yield items that another thread makes, at most `count` before they are asked for."""
    end = object()
    with ThreadPoolExecutor(1, "batches") as thread:
        waiting = deque(thread.submit(next, items, end) for _ in range(count))
        try:
            while (item := waiting.popleft().result()) is not end:
                waiting.append(thread.submit(next, items, end))
                yield item  # type: ignore[misc]
        finally:
            for future in waiting:
                future.cancel()
