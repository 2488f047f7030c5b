"""Linear layers of spikes: what does not fire is not read, and what fires is read once a window.

The steps of a window at which a neuron fires make one of sixteen patterns. The weights of all
neurons with the same pattern are summed once; the current of a step is the sum over the patterns
that contain it. A dense product reads every weight at every step, and a product by events reads
it at every spike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.neurons.engines.cpu.blocks import (
    BLOCK,
    OWN,
    WORK,
    SpikingLayer,
    channel_scale,
    copy_from_blocks,
    run_block,
    set_scale,
    write_window,
)
from sigprop_snn.neurons.engines.cpu.cosines import scalar_product
from sigprop_snn.neurons.engines.cpu.rows import LANES, add_patterns, add_rows, fetch
from sigprop_snn.neurons.engines.cpu.spikes import PATTERNS, PackedSpikes, flat_rows
from sigprop_snn.neurons.engines.cpu.threads import Kernel, run_kernel
from sigprop_snn.neurons.engines.engine import Scale
from sigprop_snn.neurons.engines.observed import WINDOW

MOST_INPUTS = (1 << 16) - 1  # of a layer: lists hold 16-bit numbers
_PANEL = 32  # columns: many of the weights that one window reads stay in the first-level cache
_ROWS = 32  # rows that pass through one panel before the next
_GRADIENT_PANEL = 64  # columns of a gradient at a time
_GROUP = 24  # windows: the gradients of their steps, a panel wide, stay in the first-level cache
_MIN_ROWS = 64  # of a product, for which a thread pays

_FIRING = [[step for step in range(WINDOW) if pattern >> step & 1] for pattern in range(PATTERNS)]
_COUNTS = np.array([len(steps) for steps in _FIRING], np.uint64)
_STEPS = np.array([int.from_bytes(bytes(steps), "little") for steps in _FIRING], np.uint32)


@dataclass(frozen=True, eq=False)
class SpikingLinear(SpikingLayer):
    """A linear layer and the spikes that it receives, `[T, N, K]`.

    The table holds the columns in panels, one behind the other: `[K, panel]` of each.
    """

    @classmethod
    def of(cls, spikes: PackedSpikes, weight: Tensor, bias: Tensor | None) -> SpikingLinear:
        """Return the layer for spikes `[T, N, K]`, a weight `[F, K]`, a bias `[F]`; float32."""
        columns, neurons = weight.shape
        weight, short = weight.detach(), _whole_vectors(columns) - columns
        weight = F.pad(weight, (0, 0, 0, short)) if short else weight
        table = torch.empty(len(weight) * neurons, dtype=torch.float32)
        for first, count, width in _panels(len(weight), _PANEL):
            end = first + count * width
            panels = weight[first:end].view(count, width, neurons).transpose(1, 2)
            table[first * neurons : end * neurons].view(panels.shape).copy_(panels)
        return cls(
            spikes,
            table,
            torch.zeros(columns, dtype=torch.float32) if bias is None else bias.detach(),
        )

    def _run_rows(self, contexts: Tensor, scale: Scale | None, arrays: tuple[Any, ...]) -> None:
        width = _whole_vectors(len(self.bias))
        # What the currents of a row begin with: the bias first, as in the reference engine.
        before = torch.cat([self.bias.unsqueeze(0), contexts])
        before = F.pad(before, (0, width - len(self.bias)))
        scales = channel_scale(torch.zeros_like(self.bias), scale, width)
        arguments = *list_events(self.spikes), self.table, before, scales, *arrays
        tiles = -(-len(arrays[0]) // _ROWS) * -(-width // _PANEL)
        run_kernel(_layer, arguments, tiles)


def list_events(spikes: PackedSpikes) -> tuple[Tensor, Tensor]:
    """List the neurons of `[T, N, K]` that fire, by row, window and pattern.

    Returns:
        The neurons that fire in each window, in the order of their patterns, uint16, `[N * W, K]`;
        numbers behind the last event mean nothing. And the place of each pattern's first event,
        and the end of the last, `[N * W, 17]`.
    """
    patterns = spikes.patterns.contiguous()
    rows, windows, neurons = patterns.shape
    events = torch.empty(rows * windows, neurons, dtype=torch.uint16)
    starts = torch.empty(rows * windows, PATTERNS + 1, dtype=torch.int32)
    run_kernel(_list_events, (patterns, events, starts), rows)
    return events, starts


def linear_weight_gradient(spikes: PackedSpikes, grad: Tensor) -> Tensor:
    """Return the weight's gradient `[F, K]`: the sum over steps and rows of grad times spike.

    Args:
        spikes: `[T, N, K]`.
        grad: the gradient of the currents, float32 or bfloat16, `[T, N, F]`.
    """
    patterns = spikes.patterns.contiguous()
    rows, windows, neurons = patterns.shape
    columns, groups = grad.shape[2], -(-rows * windows // _GROUP)
    events = torch.empty(groups, neurons, _GROUP * WINDOW, dtype=torch.uint8)
    counts = torch.empty(groups, neurons, dtype=torch.int32)
    run_kernel(_list_steps, (patterns.flatten(0, 1), events, counts), groups)
    whole = _whole_vectors(columns)
    sums = torch.zeros(whole * neurons, dtype=torch.float32)
    arguments = events, counts, *flat_rows(grad.float()), *grad.shape, sums
    run_kernel(_weight_gradient, arguments, -(-whole // _GRADIENT_PANEL))
    product = torch.empty(whole, neurons, dtype=torch.float32)
    for first, count, width in _panels(whole, _GRADIENT_PANEL):
        end = first + count * width
        panels = sums[first * neurons : end * neurons].view(count, neurons, width)
        product[first:end].view(count, width, neurons).copy_(panels.transpose(1, 2))
    return product[:columns]


def scale_rows(
    product: Tensor, weight: Tensor, factors: Tensor, left_out: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor]:
    """Scale each row of a product in place; also return its dot product with the weight before.

    The tensors are float32 and contiguous; of what is left out, m is one row for all channels. See
    `Engine.scaled_weight_gradient`. torch reads and writes the product up to five times.
    """
    dots = torch.empty(len(product), dtype=torch.float32)
    sums, mean = (factors[:0], factors[:0]) if left_out is None else left_out
    arguments = product.flatten(1), weight.flatten(1), factors, sums, mean.flatten(), dots
    run_kernel(_scale_rows, arguments, len(product), min_chunk=_MIN_ROWS)
    return product, dots


def _whole_vectors(columns: int) -> int:
    """Return the number of columns that fill whole vectors."""
    return -(-columns // LANES) * LANES


def _panels(columns: int, most: int) -> Iterator[tuple[int, int, int]]:
    """Yield the first column, the number and the width of panels that have one width."""
    full, rest = divmod(columns, most)
    if full:
        yield 0, full, most
    if rest:
        yield full * most, 1, rest


@Kernel
def _list_events(patterns: Any, events: Any, starts: Any, first: int, last: int) -> None:
    """List the events of rows `first` to `last`: in each window one list a pattern."""
    _, windows, width = patterns.shape
    active = np.empty(width + 1, np.uint16)
    counts, places = np.empty(PATTERNS, np.int32), np.empty(PATTERNS, np.int32)
    for row in range(first, last):
        for window in range(windows):
            pattern = patterns[row, window]
            found = 0
            for k in range(width):  # without a branch: whether a neuron fires moves an index
                active[found] = k
                found += pattern[k] != 0
            counts[:] = 0
            for i in range(found):
                counts[pattern[active[i]]] += 1
            listed, ends = events[row * windows + window], starts[row * windows + window]
            ends[0] = 0
            for p in range(PATTERNS):
                places[p], ends[p + 1] = ends[p], ends[p] + counts[p]
            for i in range(found):
                p = pattern[active[i]]
                listed[places[p]] = active[i]
                places[p] += 1


@Kernel
def _layer(
    events: Any, starts: Any, table: Any, currents_before: Any, scales: Any,
    patterns: Any, voltages: Any, state: Any, constants: Any, steps: int, first: int, last: int,
) -> None:  # fmt: skip
    """Run tiles `first` to `last` of a layer; the contexts come behind the rows of the events.

    A tile has some rows and one panel of columns; the panels of the same rows are neighbours.
    """
    neurons, columns = events.shape[1], currents_before.shape[1]
    rows, windows = patterns.shape[:2]
    samples = len(events) // windows
    panels = -(-columns // _PANEL)
    currents = np.zeros((WINDOW, _PANEL), np.float32)
    own, work = np.zeros(OWN * BLOCK, np.float32), np.zeros(WORK * BLOCK, np.float32)
    for tile in range(first, last):
        start, left = tile // panels * _ROWS, tile % panels * _PANEL
        end, width = min(start + _ROWS, rows), min(_PANEL, columns - left)
        # While a window reads this panel, a share of the next one is fetched.
        share = neurons * _PANEL // ((end - start) * windows) + LANES
        next_panel = (tile + 1) % panels * _PANEL * neurons
        for row in range(start, end):
            if row in (start, samples):
                set_scale(work, scales, row < samples, left, width, width, BLOCK)
            before = currents_before[max(0, row - samples + 1), left:]
            own[:] = 0
            for window in range(windows):
                at = row * windows + window
                for step in range(WINDOW):
                    for f in range(width):
                        currents[step, f] = before[f]
                if len(voltages) > 0:  # each step's lie in another page of memory
                    for step in range(window * WINDOW, min(steps, (window + 1) * WINDOW)):
                        place = (step * voltages.shape[1] + row) * voltages.shape[4] + left
                        fetch(voltages, place, place + width)
                if row < samples:
                    if at + 1 < len(starts):
                        fetch(events[at + 1], 0, starts[at + 1, PATTERNS])
                    fetch(table, next_panel, next_panel + share)
                    next_panel += share
                    add_patterns(
                        currents, _PANEL, table, left * neurons, width, events[at], starts[at],
                        width,
                    )  # fmt: skip
                length = min(WINDOW, steps - window * WINDOW)
                run_block(currents, 0, width, own, work, constants, length)
                write_window(
                    currents, 0, width, BLOCK, work, patterns, voltages, window, row, 0, left
                )
            for which in range(OWN):
                copy_from_blocks(state[which, row, 0], left, own, OWN, which, width, BLOCK)


@Kernel
def _list_steps(patterns: Any, events: Any, counts: Any, first: Any, last: Any) -> None:
    """List the steps of groups `first` to `last` at which each neuron fires.

    `_STEPS` has the steps of a pattern as the bytes of one number: the first `_COUNTS` are valid.
    """
    unsigned = np.uint64  # numba would ask of a signed index whether it counts from the end
    for group in range(first, last):
        windows = min(_GROUP, len(patterns) - group * _GROUP)
        for k in range(patterns.shape[1]):
            listed, found = events[group, k], unsigned(0)
            for place in range(windows):
                pattern = unsigned(patterns[group * _GROUP + place, k])
                steps = _STEPS[pattern] + np.uint32(place * WINDOW) * np.uint32(0x01010101)
                for step in range(WINDOW):
                    listed[found + unsigned(step)] = np.uint8(steps >> np.uint32(8 * step))
                found += _COUNTS[pattern]
            counts[group, k] = found


@Kernel
def _weight_gradient(
    events: Any, counts: Any, grad: Any, step_stride: int, row_stride: int, steps: int, rows: int,
    columns: int, sums: Any, first: int, last: int,
) -> None:  # fmt: skip
    """Fill panels `first` to `last`: see the table of `SpikingLinear`."""
    groups, neurons, _ = events.shape
    whole, windows = len(sums) // neurons, -(-steps // WINDOW)
    table = np.zeros((_GROUP * WINDOW, _GRADIENT_PANEL), np.float32)
    for panel in range(first, last):
        left = panel * _GRADIENT_PANEL
        width, here = min(_GRADIENT_PANEL, whole - left), min(_GRADIENT_PANEL, columns - left)
        for group in range(groups):
            for place in range(min(_GROUP, rows * windows - group * _GROUP)):
                row, window = divmod(group * _GROUP + place, windows)
                at = window * WINDOW * step_stride + row * row_stride + left
                for step in range(min(WINDOW, steps - window * WINDOW)):
                    given, into = grad[at + step * step_stride :], table[place * WINDOW + step]
                    for f in range(here):
                        into[f] = given[f]
            for k in range(neurons):
                if k < _GROUP * WINDOW:  # what the next group's table is filled with
                    place, step = divmod(k, WINDOW)
                    row, window = divmod((group + 1) * _GROUP + place, windows)
                    if row < rows and window * WINDOW + step < steps:
                        at = (window * WINDOW + step) * step_stride + row * row_stride + left
                        fetch(grad, at, at + here)
                add_rows(
                    sums, left * neurons + k * width, table, 0, _GRADIENT_PANEL,
                    events[group, k], 0, counts[group, k], width,
                )  # fmt: skip


@Kernel
def _scale_rows(
    product: Any, weight: Any, factors: Any, sums: Any, mean: Any, dots: Any, first: int, last: int
) -> None:
    """Scale rows `first` to `last`, each less a multiple of the mean if there is one."""
    for row in range(first, last):
        dots[row] = scalar_product(product[row], weight[row])
        own, factor = product[row], factors[row]
        if len(mean):
            less = factor * sums[row]
            for k in range(len(own)):
                own[k] = factor * own[k] - less * mean[k]
        else:
            for k in range(len(own)):
                own[k] *= factor
