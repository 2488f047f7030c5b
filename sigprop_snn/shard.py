"""A batch that several processes share: each has some of its rows.

What depends on the whole batch asks here: the statistics of normalisers, the mean of centred
inputs, and losses between samples. Without a shard, the rows are the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Shard:
    """This process's rows of a batch.

    Attributes:
        first: the number of its first row in the batch.
        rows: number of its rows.
        total: number of rows of the batch.
        add: returns the sum of a tensor over all processes.
        gather: returns the rows `[total, ...]` of all processes, given those of this one,
            `[rows, ...]`. Only these rows get a gradient, total / rows times as large: the mean of
            the processes' gradients, weighted by their rows, is then that of the whole batch.
    """

    first: int
    rows: int
    total: int
    add: Callable[[Tensor], Tensor]
    gather: Callable[[Tensor], Tensor]

    def own(self, values: Tensor) -> Tensor:
        """Return this process's rows of `[total, ...]`."""
        return values[self.first : self.first + self.rows]


_SHARD: ContextVar[Shard | None] = ContextVar("shard", default=None)


def current_shard() -> Shard | None:
    """Return the rows of the batch that this process has; none if it has all."""
    return _SHARD.get()


@contextmanager
def in_shard(shard: Shard | None) -> Iterator[None]:
    """Learn from a shard of a batch in the `with` block."""
    token = _SHARD.set(shard)
    try:
        yield
    finally:
        _SHARD.reset(token)


def mean_over_batch(values: Tensor, count: int) -> Tensor:
    """Return the mean of statistics over the whole batch.

    Args:
        values: this process's statistics, means over `count` numbers; ignored for 0.
        count: how many numbers these are means of.
    """
    shard = current_shard()
    if shard is None:
        return values
    wide = values.double()
    weighted = wide * count if count else wide.new_zeros(wide.shape)
    sums = shard.add(_with_count(weighted, count))
    return (sums[:-1] / sums[-1]).view(values.shape).to(values)


def _with_count(values: Tensor, count: int) -> Tensor:
    return torch.cat([values.flatten(), values.new_full((1,), float(count))])
