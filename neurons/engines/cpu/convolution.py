"""Convolutional layers of LIF neurons, from packed spikes to packed spikes in one pass.

Every spike adds its kernel to the currents around it, with the channels of a position side by
side. A neuron that does not fire costs nothing, and the currents of a whole run are never stored.
The weight's gradient goes the other way: every spike takes the gradients around it.
"""

from __future__ import annotations

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
    whole_panels,
    write_window,
)
from sigprop_snn.neurons.engines.cpu.rows import LANES, add_rows
from sigprop_snn.neurons.engines.cpu.spikes import PackedSpikes, flat_rows
from sigprop_snn.neurons.engines.cpu.threads import Kernel, jitable, run_kernel
from sigprop_snn.neurons.engines.engine import Scale
from sigprop_snn.neurons.engines.observed import WINDOW, ObservedWindows

_PANEL = 32  # output channels at a time, at most
_FEW = 4  # input channels, of which often none fires in a window
_PARTS = 16  # of a batch, at most, whose gradients are summed apart, for any number of threads
# A weight gradient is faster by events up to this fraction of windows in which a channel fires.
_MOST_ACTIVE, _MOST_ACTIVE_OF_MANY = 0.8, 0.36
_MANY = 256  # channels
_SEEN = 16  # rows that tell the fraction


@dataclass(frozen=True, eq=False)
class SpikingConvolution(SpikingLayer):
    """A convolution and the spikes that it receives: stride 1, no dilation, no groups.

    The spikes are `[T, N, K, H, W]`. The table has both axes of the kernels reversed,
    `[P, K, kh, L]`; the kw places of a line and their channels lie side by side, and what is behind
    them, up to whole vectors, is 0.

    Attributes:
        kernel: kh and kw.
        padding: rows and columns of zeros around the input.
    """

    kernel: tuple[int, int]
    padding: tuple[int, int]

    @classmethod
    def of(
        cls, spikes: PackedSpikes, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]
    ) -> SpikingConvolution:
        """Return the layer for spikes `[T, N, K, H, W]`, weights `[F, K, kh, kw]`, a bias `[F]`."""
        channels, inputs, height, width = weight.shape
        panel = _panel_width(channels)
        reversed_kernels = weight.detach().flip(2, 3)
        padded = F.pad(reversed_kernels, (0, 0) * 3 + (0, -channels % panel))
        lines = padded.view(-1, panel, inputs, height, width).permute(0, 2, 3, 4, 1).flatten(3)
        table = F.pad(lines, (0, -lines.shape[3] % LANES)).contiguous()
        start = torch.zeros(channels, dtype=torch.float32) if bias is None else bias.detach()
        return cls(spikes, table, start, (height, width), padding)

    @property
    def current_shape(self) -> tuple[int, int, int]:
        """The shape of a row's current, `[F, H', W']`."""
        sizes = zip(self.spikes.shape[3:], self.kernel, self.padding, strict=True)
        height, width = (size + 2 * pad - kernel + 1 for size, kernel, pad in sizes)
        return len(self.bias), height, width

    def statistics_at(self, seen: ObservedWindows) -> tuple[Tensor, int]:
        """Return mean and mean square of every channel, `[2, F]`, and how many maps they are of.

        Args:
            seen: the windows that count.
        """
        channels, height, width = self.current_shape
        panel = _panel_width(channels)
        patterns = self.spikes.patterns[seen.rows, seen.windows].movedim(1, -1).contiguous()
        sums = torch.zeros(len(patterns), 2, len(self.table), width, panel, dtype=torch.float32)
        place = _output_place(self.kernel, self.padding)
        arguments = patterns, self.table, panel, height, *place, sums.flatten(3)
        run_kernel(_statistics, arguments, len(patterns))
        count = seen.steps.numel() if seen.inside is None else len(seen.inside)
        of_channel = sums.sum((0, 3)).flatten(1)[:, :channels]  # nothing behind the last step
        mean, square = of_channel / max(1, count * height * width)
        return torch.stack([mean + self.bias, square + (2 * mean + self.bias) * self.bias]), count

    def _run_rows(self, contexts: Tensor, scale: Scale | None, arrays: tuple[Any, ...]) -> None:
        channels, panels = len(self.bias), len(self.table)
        panel = _panel_width(channels)
        padded = F.pad(contexts, (0,) * 5 + (panels * panel - channels,))
        by_panel = torch.unflatten(padded, 1, (panels, panel)).permute(0, 3, 1, 4, 2).flatten(3)
        arguments = (
            self.spikes.patterns.movedim(2, -1).contiguous(), by_panel.contiguous(), self.table,
            channel_scale(self.bias, scale, panels * panel), panel,
            *_output_place(self.kernel, self.padding), *arrays,
        )  # fmt: skip
        run_kernel(_layer, arguments, len(arrays[0]))


def gradient_pays(spikes: PackedSpikes) -> bool:
    """Return whether the weight gradient of `[T, N, K, H, W]` is faster by events than dense."""
    seen = spikes.patterns[:: -(-len(spikes.patterns) // _SEEN)]
    most = _MOST_ACTIVE if spikes.shape[2] < _MANY else _MOST_ACTIVE_OF_MANY
    return int(torch.count_nonzero(seen)) <= most * seen.numel()


def convolution_weight_gradient(
    spikes: PackedSpikes, grad: Tensor, kernel: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """Return the weight's gradient `[F, K, kh, kw]`: the sum of grad times spike.

    Args:
        spikes: `[T, N, K, H, W]`.
        grad: the gradient of the currents, float32, `[T, N, F, H', W']`.
        kernel: kh and kw.
        padding: that of the convolution.
    """
    patterns = spikes.patterns.movedim(2, -1).contiguous()
    steps_grad = grad.movedim(2, -1)
    steps, _, height, width, channels = steps_grad.shape
    inputs = patterns.shape[-1]
    panel, parts = _panel_width(channels), min(_PARTS, len(patterns))
    line = kernel[1] * panel
    sums = torch.zeros(
        parts, -(-channels // panel), inputs, kernel[0], line + -line % LANES, dtype=torch.float32
    )
    arguments = (
        patterns, *flat_rows(steps_grad), steps, height, width, channels, sums.flatten(0, 1), parts,
        panel, *_output_place(kernel, padding),
    )  # fmt: skip
    run_kernel(_gradient, arguments, parts)
    total = torch.unflatten(sums.sum(0)[..., :line], 3, (-1, panel)).permute(0, 4, 1, 2, 3)
    return total.flatten(0, 1)[:channels].flip(2, 3)


def _panel_width(channels: int) -> int:
    """Return the width of a panel: so many output channels in as few panels, and even ones."""
    return -(-channels // -(-channels // _PANEL))


def _output_place(kernel: tuple[int, int], padding: tuple[int, int]) -> tuple[int, int, int]:
    """Return the first row and column of the output in the sheet, and the width of a kernel.

    A spike at (y, x) adds its kernel to the rows y to y + kh - 1 of the sheet. The sheet is larger
    than the output: what a spike adds outside of the output is never read.
    """
    return kernel[0] - 1 - padding[0], kernel[1] - 1 - padding[1], kernel[1]


@jitable
def _sheet(rows: int, width: int) -> Any:
    """Return zeros `[rows, 4, width]` that begin at a cache line; a vector has room behind them."""
    size = rows * WINDOW * width
    room = np.zeros(size + 2 * LANES, np.float32)
    first = -(room.ctypes.data // 4) % LANES
    return room[first : first + size].reshape(rows, WINDOW, width)


@jitable
def _sheet_of(
    height: Any, width: Any, table: Any, out_height: Any, top: Any, kernel_width: Any, panel: Any
) -> Any:
    """Return a sheet for the spikes of an input of this height and width, see `_output_place`."""
    rows = max(height + table.shape[2] - 1, top + out_height)
    return _sheet(rows, (width + kernel_width - 1) * panel)


@jitable
def _list_events(pattern: Any, step: Any, events: Any) -> Any:
    """List the channels of a position that fire at one step of the window; return their number."""
    count = 0
    for k in range(pattern.shape[0]):  # without a branch: whether a channel fires moves an index
        events[count] = k
        count += (pattern[k] >> step) & 1
    return count


@jitable
def _visit_row(
    patterns: Any, table: Any, part: Any, y: Any, top: Any, bottom: Any, panel: Any, events: Any,
    sheet: Any,
) -> None:  # fmt: skip
    """Let the spikes of one row of positions, `[W, K]`, add their kernels to the sheet.

    Args:
        patterns: those of the row in one window.
        table: `[P, K, kh, L]`; zeros at the end of a line may be added to the next place.
        part: the panel.
        y: the row.
        top: the first row of the sheet that belongs to the output.
        bottom: the row behind the last.
        panel: the number of channels.
        events: room for the channels that fire at a position, and one more.
        sheet: `[rows, 4, columns * panel]`.
    """
    _, inputs, kernel_height, width = table.shape
    stride = kernel_height * width
    first, last = max(0, top - y), min(kernel_height, bottom - y)
    for x in range(patterns.shape[0]):
        if inputs <= _FEW and not patterns[x].any():
            continue
        for step in range(WINDOW):
            count = _list_events(patterns[x], step, events)
            if count == 0:
                continue
            for dy in range(first, last):
                at = ((y + dy) * WINDOW + step) * sheet.shape[2] + x * panel
                start = (part * inputs * kernel_height + dy) * width
                add_rows(sheet, at, table, start, stride, events, 0, count, width)


@Kernel
def _layer(
    given: Any, contexts: Any, table: Any, scales: Any, panel: int, top: int, left: int,
    kernel_width: int, patterns: Any, voltages: Any, state: Any, constants: Any, steps: int,
    start: int, stop: int,
) -> None:  # fmt: skip
    """Run rows `start` to `stop` of a layer; the contexts come behind the rows that are given."""
    samples, windows, in_height, in_width, inputs = given.shape
    _, _, height, width, _ = state.shape
    bottom = top + height
    sheet = _sheet_of(in_height, in_width, table, height, top, kernel_width, panel)
    neurons, block = width * panel, whole_panels(panel)
    blocks = -(-neurons // block)
    own = np.zeros((height, blocks * OWN * BLOCK), np.float32)
    work = np.zeros(blocks * WORK * BLOCK, np.float32)
    events = np.empty(inputs + 1, np.uint32)
    for row in range(start, stop):
        for part in range(table.shape[0]):
            first = part * panel
            if row in (start, samples) or table.shape[0] > 1:
                set_scale(work, scales, row < samples, first, neurons, panel, block)
            own[:] = 0
            for window in range(windows):
                for y in range(sheet.shape[0]):
                    if row < samples and y < in_height:
                        _visit_row(
                            given[row, window, y], table, part, y, top, bottom, panel, events,
                            sheet,
                        )  # fmt: skip
                    out = y - top
                    if 0 <= out < height:  # all spikes that reach this row have been added
                        if row >= samples:
                            constant = contexts[row - samples, out, part]
                            for step in range(WINDOW):  # as one assignment it compiles slowly
                                current = sheet[y, step, left * panel :]
                                for i in range(neurons):
                                    current[i] = constant[i]
                        place = 0
                        for at in range(0, neurons, block):
                            run_block(
                                sheet[y], left * panel + at, min(block, neurons - at),
                                own[out, OWN * place :], work[WORK * place :], constants,
                                min(WINDOW, steps - window * WINDOW),
                            )  # fmt: skip
                            place += BLOCK
                        write_window(
                            sheet[y], left * panel, panel, block, work, patterns, voltages, window,
                            row, out, first,
                        )  # fmt: skip
                    sheet[y] = 0
            for y in range(height):
                for which in range(OWN):
                    copy_from_blocks(state[which, row, y], first, own[y], OWN, which, panel, block)


@Kernel
def _statistics(
    given: Any, table: Any, panel: int, height: int, top: int, left: int, kernel_width: int,
    sums: Any, start: int, stop: int,
) -> None:  # fmt: skip
    """Add up the currents of windows `start` to `stop`, and their squares, `[R, 2, P, W' * panel]`.

    The patterns are `[R, H, W, K]`.
    """
    in_height, in_width, inputs = given.shape[1:]
    sheet = _sheet_of(in_height, in_width, table, height, top, kernel_width, panel)
    events = np.empty(inputs + 1, np.uint32)
    for row in range(start, stop):
        for part in range(table.shape[0]):
            total, squares = sums[row, 0, part], sums[row, 1, part]
            for y in range(sheet.shape[0]):
                if y < in_height:
                    _visit_row(
                        given[row, y], table, part, y, top, top + height, panel, events, sheet
                    )
                for step in range(WINDOW if 0 <= y - top < height else 0):
                    current = sheet[y, step, left * panel :]
                    for i in range(len(total)):
                        total[i] += current[i]
                        squares[i] += current[i] * current[i]
                sheet[y] = 0


@Kernel
def _gradient(
    patterns: Any, grad: Any, step_stride: int, row_stride: int, steps: int, height: int,
    width: int, channels: int, sums: Any, parts: int, panel: int, top: int, left: int,
    kernel_width: int, start: int, stop: int,
) -> None:  # fmt: skip
    """Add the gradients of parts `start` to `stop` of the rows, `[parts * P, K, kh, L]`.

    Each part has sums of its own, so that threads do not write to the same numbers.
    """
    rows, windows, in_height, in_width, inputs = patterns.shape
    kernel_height, size = sums.shape[2:]
    in_part, panels = -(-rows // parts), sums.shape[0] // parts
    columns = in_width + kernel_width - 1
    sheet = _sheet(height, columns * panel)
    active = np.empty(in_width + 1, np.int64)
    events = np.empty(WINDOW * in_height * in_width + 1, np.uint32)
    starts = np.zeros(in_height + 1, np.int64)
    for row in range(start * in_part, min(stop * in_part, rows)):
        for part in range(panels):
            first, place = part * panel, row // in_part * panels + part
            here = min(panel, channels - first)
            for window in range(windows):
                at = window * WINDOW * step_stride + row * row_stride + first
                for step in range(min(WINDOW, steps - window * WINDOW)):
                    for y in range(height):
                        into = sheet[y, step, left * panel :]
                        for x in range(width):
                            given = grad[at + step * step_stride + (y * width + x) * channels :]
                            to = into[x * panel :]
                            for f in range(here):
                                to[f] = given[f]
                for k in range(inputs):
                    for y in range(in_height):
                        pattern = patterns[row, window, y, :, k]
                        starts[y + 1] = _list_positions(
                            pattern, WINDOW * y * columns, columns, active, events, starts[y]
                        )
                    for dy in range(kernel_height):
                        # From the first row that reaches the output to the last, or none.
                        above = min(in_height, max(0, top - dy))
                        below = max(0, min(in_height, top + height - dy))
                        add_rows(
                            sums, ((place * inputs + k) * kernel_height + dy) * size,
                            sheet, (dy - top) * WINDOW * columns * panel, panel, events,
                            starts[above], starts[below], size,
                        )  # fmt: skip


@jitable
def _list_positions(
    pattern: Any, place: Any, columns: Any, active: Any, events: Any, count: Any
) -> Any:
    """List the steps and positions of a row `[W]` at which a channel fires; return the new count.

    The row begins at `place` in a sheet with `columns` positions a row; `active` is room for W + 1.
    """
    found = 0
    for x in range(len(pattern)):  # without a branch: whether a channel fires moves an index
        active[found] = x
        found += pattern[x] != 0
    for i in range(found):
        x = active[i]
        for step in range(WINDOW):
            events[count] = place + step * columns + x
            count += (pattern[x] >> step) & 1
    return count
