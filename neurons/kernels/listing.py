"""Spikes listed by window and pattern, for products that read a neuron's weights once a window."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.neurons.kernels.packed import PATTERNS, WINDOW, Packed
from sigprop_snn.neurons.kernels.processor import picks
from sigprop_snn.neurons.kernels.sharing import Compiled, share
from sigprop_snn.neurons.kernels.vectors import PICKED, TOGETHER, pick

MOST_NEURONS = (1 << 16) - 1  # that a row may have: the next number is nobody's


class Windows(NamedTuple):
    """The spikes of `[T, N, K]`, listed by sample, window and pattern.

    Attributes:
        events: the neurons that fire in each window, in the order of their patterns,
            `[N * W, ...]`, W windows of every sample. Each pattern's are an even number, which K,
            nobody's number, makes up; what lies behind the last means nothing.
        starts: where in a row of `events` each pattern begins, `[N * W, 17]`.
        neurons: K.
        steps: T.
    """

    events: Tensor
    starts: Tensor
    neurons: int
    steps: int

    @property
    def samples(self) -> int:
        """N."""
        return len(self.events) * WINDOW // (self.steps + -self.steps % WINDOW)

    def read(self) -> float:
        """Return what share of the weights a window reads, for each of its four steps."""
        return float(self.starts[:, -1].float().mean()) / (WINDOW * self.neurons)


def list_windows(packed: Packed) -> Windows:
    """Return the spikes of `[T, N, K]` as lists; K is at most 65,535."""
    patterns = packed.patterns
    samples, windows, neurons = patterns.shape
    room = neurons + PATTERNS * (TOGETHER - 1) + PICKED
    events = torch.empty(samples * windows, room, dtype=torch.uint16)
    starts = torch.empty(samples * windows, PATTERNS + 1, dtype=torch.int32)
    given = patterns.contiguous(), events, starts
    share(_compiled(picks()), given, samples, worth=1, grain=1)
    return Windows(events, starts, neurons, packed.steps)


def _list(patterns: Any, events: Any, starts: Any, first: int, last: int) -> None:
    """List the windows of samples `first` to `last`."""
    _, windows, width = patterns.shape
    active = np.empty(width + 1, np.uint16)
    for sample in range(first, last):
        for window in range(windows):
            row = patterns[sample, window]
            found = 0
            for k in range(width):
                active[found] = k
                found += row[k] != 0
            # A counting sort: how many of each, where each begins, and everyone to his place.
            place = starts[sample * windows + window]
            place[:] = 0
            for i in range(found):
                place[row[active[i]] + 1] += 1
            listed = events[sample * windows + window]
            for pattern in range(PATTERNS):
                end = place[pattern] + place[pattern + 1]
                missing = end % TOGETHER
                if missing:
                    listed[end] = width
                place[pattern + 1] = end + missing
            for i in range(found):
                k = active[i]
                pattern = row[k]
                listed[place[pattern]] = k
                place[pattern] += 1
            # Every start has moved to its pattern's end, but for the pad.
            for pattern in range(PATTERNS, 0, -1):
                end = place[pattern - 1]
                place[pattern] = end + end % TOGETHER
            place[0] = 0


def _list_by_vectors(patterns: Any, events: Any, starts: Any, first: int, last: int) -> None:
    """Do the same as `_list`, many neurons at once."""
    _, windows, width = patterns.shape
    neurons = np.arange(width + PICKED).astype(np.uint16)
    row = np.zeros(width + PICKED, np.uint8)
    active, fired = np.empty(width + PICKED, np.uint16), np.empty(width + 2 * PICKED, np.uint8)
    for sample in range(first, last):
        for window in range(windows):
            for k in range(width):
                row[k] = patterns[sample, window, k]
            found = 0
            for k in range(0, width, PICKED):
                pick(fired, found, row, k, row, k, 0, False)
                found += pick(active, found, neurons, k, row, k, 0, False)
            fired[found : found + PICKED] = 0
            listed, place = events[sample * windows + window], starts[sample * windows + window]
            end = 0
            place[0] = place[1] = 0
            for pattern in range(1, PATTERNS):
                for i in range(0, found, PICKED):
                    end += pick(listed, end, active, i, fired, i, pattern, True)
                while end % TOGETHER:
                    listed[end] = width
                    end += 1
                place[pattern + 1] = end


@functools.cache
def _compiled(picks: bool) -> Compiled:
    from numba import types

    from sigprop_snn.neurons.kernels.compiling import compiled

    return compiled(
        _list_by_vectors if picks else _list,
        types.Array(types.uint8, 3, "C"),
        types.Array(types.uint16, 2, "C"),
        types.Array(types.int32, 2, "C"),
    )
