"""Which currents of a batch a normaliser observes.

Its running statistics need a sample, not all T x N rows: whole windows of four steps, spread over
the steps and the rows. Every engine takes the same ones.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from sigprop_snn.shard import current_shard

WINDOW = 4  # steps
_WINDOWS = 32  # observed of a batch, where there are more
_WINDOWS_OF_MAPS = 24  # fewer of feature maps: each has many positions


class ObservedWindows(NamedTuple):
    """The windows of a batch that a normaliser observes.

    Attributes:
        rows: the row of every window, `[R]`.
        windows: its place in time, `[R]`: window w holds the steps 4w to 4w + 3.
        steps: its steps, `[4, R]`; a step behind the last is replaced by the last.
        inside: the places of the steps that exist among all of `steps`, one row after the other;
            none where all exist.
        bound: one more than the highest row.
    """

    rows: Tensor
    windows: Tensor
    steps: Tensor
    inside: Tensor | None
    bound: int

    def existing(self, currents: Tensor) -> Tensor:
        """Return the currents `[4, R, ...]` of the steps that exist, as `[N, ...]`."""
        flat = currents.flatten(0, 1)
        return flat if self.inside is None else flat[self.inside]


def observed(
    steps: int, rows: int, *, maps: bool, device: torch.device | None = None
) -> ObservedWindows:
    """Return all windows where there are few, else whole ones, spread over steps and rows.

    In a shard they are those of the whole batch that this process has, which may be none. The
    result is shared between calls: do not change it.

    Args:
        steps: T.
        rows: N.
        maps: whether the currents are feature maps.
        device: where the currents are; the CPU if not given.
    """
    shard = current_shard()
    if shard is None:
        return _observed(steps, rows, maps, device)
    return _of_shard(steps, shard.total, maps, device, shard.first, rows)


@functools.lru_cache(maxsize=64)
def _of_shard(
    steps: int, total: int, maps: bool, device: torch.device | None, first: int, rows: int
) -> ObservedWindows:
    """Return the windows of the rows `first` to `first + rows`, with rows from 0."""
    every = _observed(steps, total, maps, device)
    here = (every.rows >= first) & (every.rows < first + rows)
    windows = every.windows[here]
    at = WINDOW * windows + torch.arange(WINDOW, device=windows.device)[:, None]
    inside = None if every.inside is None else (at < steps).flatten().nonzero().squeeze(1)
    return ObservedWindows(every.rows[here] - first, windows, every.steps[:, here], inside, rows)


@functools.lru_cache(maxsize=64)
def _observed(steps: int, rows: int, maps: bool, device: torch.device | None) -> ObservedWindows:
    most = _WINDOWS_OF_MAPS if maps else _WINDOWS
    count, whole = -(-steps // WINDOW), steps // WINDOW
    if rows * count <= most:
        places = torch.arange(rows * count)
        row, windows = places // count, places % count
    else:
        count = max(1, whole)
        places = torch.arange(min(rows * count, most))
        row, windows = places % rows, places * count // len(places)
    at = WINDOW * windows + torch.arange(WINDOW)[:, None]
    inside = None if count == whole else (at < steps).flatten().nonzero().squeeze(1).to(device)
    at = at.clamp(max=steps - 1).to(device)
    bound = min(rows, len(places))
    return ObservedWindows(row.to(device), windows.to(device), at, inside, bound)
