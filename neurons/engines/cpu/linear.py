"""Linear layers of spikes: what does not fire is not read, and what fires is read once a window.

The steps of a window at which a neuron fires make one of sixteen patterns. The weights of all
neurons with the same pattern are summed once; the current of a step is the sum over the patterns
that contain it. A dense product reads every weight at every step, and a product by events reads
it at every spike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.neurons.engines.cpu.blocks import (
    BITS,
    BLOCK,
    OWN,
    WORK,
    channel_scale,
    copy_from_blocks,
    set_scale,
    step_blocks,
)
from sigprop_snn.neurons.engines.cpu.learning import dot
from sigprop_snn.neurons.engines.cpu.lif import CURRENTS, Constants, LayerArrays
from sigprop_snn.neurons.engines.cpu.rows import LANES, add_patterns, add_rows
from sigprop_snn.neurons.engines.cpu.spikes import PATTERNS, PackedSpikes, flat_rows
from sigprop_snn.neurons.engines.cpu.threads import Kernel, run_kernel
from sigprop_snn.neurons.engines.engine import Run, Scale
from sigprop_snn.neurons.engines.observed import WINDOW
from sigprop_snn.neurons.lif import LIF

MOST_INPUTS = (1 << 16) - 1  # of a layer: lists hold 16-bit numbers
_PANEL = 64  # columns at most: the weights that a block of rows reads stay in the cache
_ROWS = 32  # rows that pass through one panel before the next
_MIN_ROWS = 8
_GROUP = 48  # windows whose gradients of all patterns stay in the cache
_STRIDE = PATTERNS + 1  # with 16 rows a window, those of one pattern share a set of the cache


class EventLists(NamedTuple):
    """The neurons of `[T, N, K]` that fire, by row, window and pattern.

    Attributes:
        events: the neurons that fire in each window, in the order of their patterns, uint16,
            `[N * W, K]`. Numbers behind the last event mean nothing.
        starts: the place of each pattern's first event, and the end of the last, `[N * W, 17]`.
        rows: N.
        steps: T.
    """

    events: Tensor
    starts: Tensor
    rows: int
    steps: int

    @classmethod
    def of(cls, spikes: PackedSpikes) -> EventLists:
        """Return the lists of spikes `[T, N, K]`; K is at most `MOST_INPUTS`."""
        patterns = spikes.patterns.contiguous()
        rows, windows, neurons = patterns.shape
        events = torch.empty(rows * windows, neurons, dtype=torch.uint16)
        starts = torch.empty(rows * windows, PATTERNS + 1, dtype=torch.int32)
        run_kernel(_list_events, (patterns, events, starts), rows)
        return cls(events, starts, rows, spikes.steps)

    def windows(self, rows: Tensor, windows: Tensor) -> EventLists:
        """Return the lists of some windows, as rows of one window."""
        places = rows * (len(self.events) // self.rows) + windows
        # torch 2.6 can't index numbers without a sign.
        events = self.events.view(torch.int16)[places].view(torch.uint16)
        return EventLists(events, self.starts[places], len(places), WINDOW)


def panels_of(weight: Tensor) -> Tensor:
    """Return a weight `[F, K]` in panels of columns that stay in the cache, `[P, K, panel]`.

    The columns behind F are 0.
    """
    columns, neurons = weight.shape
    count, width = _panels(columns)
    panels = torch.empty(count, neurons, width)
    run_kernel(_fill_panels, (weight.detach(), panels), count)
    return panels


def _panels(columns: int) -> tuple[int, int]:
    """Return the number of panels for so many columns, and their width."""
    count = -(-columns // _PANEL)
    return count, -(-columns // (count * LANES)) * LANES


@dataclass(frozen=True, eq=False)
class SpikingLinear:
    """A linear layer and the spikes that it receives, ready to be summed.

    Attributes:
        lists: the spikes, `[T, N, K]`.
        table: the weights, `[P, K, panel]`.
        bias: `[F]`.
    """

    lists: EventLists
    table: Tensor
    bias: Tensor

    @classmethod
    def of(cls, spikes: PackedSpikes, weight: Tensor, bias: Tensor | None) -> SpikingLinear:
        """Return it for spikes `[T, N, K]`, a weight `[F, K]` and a bias `[F]`, all float32."""
        start = torch.zeros(len(weight)) if bias is None else bias.detach()
        return cls(EventLists.of(spikes), panels_of(weight), start)

    @property
    def current_shape(self) -> tuple[int]:
        """The shape of a row's current, `[F]`."""
        return (len(self.bias),)

    def currents_at(self, rows: Tensor, windows: Tensor) -> Tensor:
        """Return the currents of R windows, `[4, R, F]`; behind the last step no neuron fires.

        Args:
            rows: the row of every window, `[R]`.
            windows: its place in time, `[R]`.
        """
        return replace(self, lists=self.lists.windows(rows, windows)).currents()

    def currents(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return the currents, `[T, N, F]`."""
        return self.run(CURRENTS, record=("voltage",)).recorded["voltage"].to(dtype)

    def run(
        self,
        neuron: LIF,
        *,
        contexts: Tensor | None = None,
        scale: Scale | None = None,
        record: Sequence[str] = (),
    ) -> Run:
        """Run LIF neurons from rest, from spikes to spikes; currents are never written out.

        Args:
            neuron: a model that `why_not_lif` does not refuse.
            contexts: the constant current of the context rows, `[C, F]`. No scale applies to them.
            scale: what the current goes through on its way in, column by column.
            record: "spike", "voltage", both or none.
        """
        (events, starts, rows, steps), columns = self.lists, len(self.bias)
        width = self.table.shape[0] * self.table.shape[2]
        # What the currents of a row begin with: the bias first, as in the reference engine.
        first = self.bias.unsqueeze(0)
        if contexts is not None:
            first = torch.cat([first, contexts.detach().float()])
        rows = rows - 1 + len(first)
        done = LayerArrays.empty(steps, rows, [columns], record)
        scales = channel_scale(torch.zeros_like(self.bias), scale, width)
        arguments = (
            events, starts, self.table, F.pad(first, (0, width - columns)), scales,
            done.patterns, done.voltage, done.state, torch.tensor(Constants.of(neuron)), steps,
        )  # fmt: skip
        run_kernel(_layer, arguments, rows, min_chunk=_MIN_ROWS)
        return done.finish(record)


def linear_weight_gradient(spikes: PackedSpikes, grad: Tensor) -> Tensor:
    """Return the weight's gradient `[F, K]`: the sum over steps and rows of grad times spike.

    Args:
        spikes: `[T, N, K]`.
        grad: the gradient of the currents, float32 or bfloat16, `[T, N, F]`.
    """
    columns, neurons = grad.shape[2], spikes.shape[2]
    weight, factors = torch.empty(0, neurons), torch.ones(columns)
    return scaled_linear_gradient(spikes, grad, weight, factors)[0]


def scaled_linear_gradient(
    spikes: PackedSpikes, grad: Tensor, weight: Tensor, factors: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what `Engine.scaled_weight_gradient` does: gradient `[F, K]`, dot products `[F]`.

    Args:
        spikes: `[T, N, K]`.
        grad: the gradient of the currents, float32 or bfloat16, `[T, N, F]`.
        weight: `[F, K]`; without a row, the dot products are 0.
        factors: of the columns, `[F]`.
    """
    patterns = spikes.patterns.contiguous()
    rows, windows, neurons = patterns.shape
    columns, groups = grad.shape[2], -(-rows * windows // _GROUP)
    events = torch.empty(groups, neurons, _GROUP + 1, dtype=torch.uint16)
    counts = torch.empty(groups, neurons, dtype=torch.int32)
    run_kernel(_list_windows, (patterns.flatten(0, 1), events, counts), groups)
    panels, width = _panels(columns)
    sums = torch.zeros(panels, neurons, width)
    by_step = grad.float() if grad.stride(2) == 1 else grad.float().contiguous()
    arguments = events, counts, *flat_rows(by_step), *grad.shape, sums
    run_kernel(_weight_gradient, arguments, panels)
    product, dots = torch.empty(columns, neurons), torch.zeros(columns)
    run_kernel(_empty_panels, (sums, weight.detach(), factors, product, dots), panels)
    return product, dots


@Kernel
def _fill_panels(weight: Any, panels: Any, first: int, last: int) -> None:
    """Fill panels `first` to `last` of `[P, K, panel]` with a weight `[F, K]`."""
    columns, neurons = weight.shape
    width = panels.shape[2]
    for panel in range(first, last):
        left = panel * width
        here = min(width, columns - left)
        panels[panel, :, here:] = 0
        for start in range(0, neurons, LANES):  # whole cache lines on both sides
            count = min(LANES, neurons - start)
            into = panels[panel, start : start + count].reshape(-1)
            for f in range(here):
                given = weight[left + f, start : start + count]
                for k in range(count):
                    into[np.uint64(k * width + f)] = given[k]  # never counted from the end


@Kernel
def _empty_panels(
    panels: Any, weight: Any, factors: Any, product: Any, dots: Any, first: int, last: int
) -> None:
    """Write panels `first` to `last` to `[F, K]`, times the factor of their column.

    The dot products with the columns of a weight, before the factor, are added to `dots`.
    """
    columns, neurons = product.shape
    width, multiplies = panels.shape[2], len(weight) > 0
    for panel in range(first, last):
        left = panel * width
        for start in range(0, neurons, LANES):
            count = min(LANES, neurons - start)
            sums = panels[panel, start : start + count].reshape(-1)
            for f in range(min(width, columns - left)):
                factor = factors[left + f]
                into = product[left + f, start : start + count]
                for k in range(count):
                    into[k] = sums[np.uint64(k * width + f)]
                if multiplies:
                    dots[left + f] += dot(weight[left + f, start : start + count], into)
                for k in range(count):
                    into[k] *= factor


@Kernel
def _list_events(patterns: Any, events: Any, starts: Any, first: int, last: int) -> None:
    """List the events of rows `first` to `last`: in each window one list a pattern."""
    _, windows, width = patterns.shape
    active = np.empty(width + 1, np.uint16)
    lists = np.empty((PATTERNS, width), np.uint16)
    for row in range(first, last):
        for window in range(windows):
            pattern = patterns[row, window]
            found = 0
            for k in range(width):  # without a branch: whether a neuron fires moves an index
                active[found] = k
                found += pattern[k] != 0
            listed = events[row * windows + window]
            ends = starts[row * windows + window]
            ends[:] = 0
            for i in range(found):
                k = active[i]
                end = pattern[k] + 1
                lists[end - 1, ends[end]] = k
                ends[end] += 1
            for p in range(PATTERNS):
                start, count = ends[p], ends[p + 1]
                for i in range(count):
                    listed[start + i] = lists[p, i]
                ends[p + 1] = start + count


@Kernel
def _layer(
    events: Any, starts: Any, table: Any, currents_before: Any, scales: Any,
    patterns: Any, voltages: Any, state: Any, constants: Any, steps: int, first: int, last: int,
) -> None:  # fmt: skip
    """Run rows `first` to `last` of a layer; the contexts come behind the rows of the events."""
    windows, columns = patterns.shape[1:]
    panels, neurons, width = table.shape
    samples = len(events) // windows
    currents = np.zeros((WINDOW, _PANEL), np.float32)
    own, work = np.zeros(OWN * BLOCK, np.float32), np.zeros(WORK * BLOCK, np.float32)
    for group in range(first, last, _ROWS):
        for panel in range(panels):
            left = panel * width
            here = min(width, columns - left)
            for row in range(group, min(group + _ROWS, last)):
                if row in (group, samples):
                    set_scale(work, scales, row < samples, left, width, width)
                before = currents_before[max(0, row - samples + 1), left:]
                own[:] = 0
                for window in range(windows):
                    at, start = row * windows + window, window * WINDOW
                    for step in range(WINDOW):
                        for f in range(width):
                            currents[step, f] = before[f]
                    if row < samples:
                        add_patterns(
                            currents, _PANEL, table, panel * neurons * width, width, events[at],
                            starts[at], width,
                        )  # fmt: skip
                    length = min(WINDOW, steps - start)
                    step_blocks(currents, length, 0, width, own, work, constants)
                    copy_from_blocks(
                        patterns[row : row + 1, window], left, here, work, WORK, BITS, width
                    )
                    for step in range(min(length, voltages.shape[0])):
                        copy_from_blocks(
                            voltages[start + step, row : row + 1], left, here, currents[step],
                            1, 0, width,
                        )  # fmt: skip
                for which in range(OWN):
                    copy_from_blocks(
                        state[which, row : row + 1], left, here, own, OWN, which, width
                    )


@Kernel
def _list_windows(patterns: Any, events: Any, counts: Any, first: Any, last: Any) -> None:
    """List the windows of groups `first` to `last` in which each neuron fires, with its pattern."""
    width = patterns.shape[1]
    for group in range(first, last):
        listed, count = events[group], counts[group]
        count[:] = 0
        for place in range(min(_GROUP, len(patterns) - group * _GROUP)):
            pattern = patterns[group * _GROUP + place]
            for k in range(width):  # without a branch: whether a neuron fires moves an index
                listed[k, count[k]] = place * _STRIDE + pattern[k]
                count[k] += pattern[k] != 0


@Kernel
def _weight_gradient(
    events: Any, counts: Any, grad: Any, step_stride: int, row_stride: int, steps: int, rows: int,
    columns: int, sums: Any, first: int, last: int,
) -> None:  # fmt: skip
    """Fill panels `first` to `last` of `[P, K, panel]`."""
    groups, neurons, _ = events.shape
    width, windows = sums.shape[2], -(-steps // WINDOW)
    # The gradient of every pattern of a window: the sum over its steps.
    table = np.zeros((_GROUP, _STRIDE, width), np.float32)
    for panel in range(first, last):
        left = panel * width
        here = min(width, columns - left)
        for group in range(groups):
            places = min(_GROUP, rows * windows - group * _GROUP)
            for place in range(places):  # before all sums: the reads wait for memory together
                row, window = divmod(group * _GROUP + place, windows)
                at = window * WINDOW * step_stride + row * row_stride + left
                for step in range(min(WINDOW, steps - window * WINDOW)):
                    given, into = grad[at + step * step_stride :], table[place, 1 << step]
                    for f in range(here):
                        into[f] = given[f]
            for place in range(places):
                for step in range(1, WINDOW):
                    bit = 1 << step
                    of_step = table[place, bit]
                    for pattern in range(1, bit):
                        before, into = table[place, pattern], table[place, bit + pattern]
                        for f in range(width):
                            into[f] = before[f] + of_step[f]
            for k in range(neurons):
                add_rows(
                    sums, (panel * neurons + k) * width, table, 0, width, events[group, k], 0,
                    counts[group, k], width,
                )  # fmt: skip
