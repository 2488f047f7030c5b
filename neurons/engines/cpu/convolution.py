"""Convolutional layers of LIF neurons, from packed spikes to packed spikes in one pass.

Every spike adds its kernel to the currents around it, with the channels of a position side by
side. A neuron that does not fire costs nothing, and the currents of a whole run are never stored.
The weight's gradient goes the other way: every spike takes the gradients around it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

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
from sigprop_snn.neurons.engines.cpu.lif import CURRENTS, Constants, LayerArrays
from sigprop_snn.neurons.engines.cpu.rows import LANES, add_rows
from sigprop_snn.neurons.engines.cpu.spikes import PackedSpikes, flat_rows
from sigprop_snn.neurons.engines.cpu.threads import Kernel, jitable, run_kernel
from sigprop_snn.neurons.engines.engine import Run, Scale
from sigprop_snn.neurons.engines.observed import WINDOW
from sigprop_snn.neurons.lif import LIF

_PANEL = 32  # output channels at a time
_PARTS = 16  # of a batch, at most, whose gradients are summed apart, for any number of threads
# A weight gradient is faster by events up to this fraction of windows in which a channel fires.
_MOST_ACTIVE, _MOST_ACTIVE_OF_MANY = 0.8, 0.36
_MANY = 256  # channels
_SEEN = 16  # rows that tell the fraction


@dataclass(frozen=True, eq=False)
class SpikingConvolution:
    """A convolution and the spikes that it receives: stride 1, no dilation, no groups.

    Attributes:
        spikes: `[T, N, K, H, W]`.
        table: the weights with both axes of the kernels reversed, `[P, K, kh, kw * panel]`; the
            channels of a place lie side by side, and those behind F are 0.
        bias: `[F]`.
        kernel: kh and kw.
        padding: rows and columns of zeros around the input.
    """

    spikes: PackedSpikes
    table: Tensor
    bias: Tensor
    kernel: tuple[int, int]
    padding: tuple[int, int]

    @classmethod
    def of(
        cls, spikes: PackedSpikes, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]
    ) -> SpikingConvolution:
        """Return it for spikes `[T, N, K, H, W]`, a weight `[F, K, kh, kw]`, a bias `[F]`."""
        channels, inputs, height, width = weight.shape
        panel = _panel(channels)
        reversed_kernels = weight.detach().flip(2, 3)
        padded = F.pad(reversed_kernels, (0, 0) * 3 + (0, -channels % panel))
        table = padded.view(-1, panel, inputs, height, width).permute(0, 2, 3, 4, 1)
        start = torch.zeros(channels) if bias is None else bias.detach()
        return cls(spikes, table.flatten(3).contiguous(), start, (height, width), padding)

    @property
    def current_shape(self) -> tuple[int, int, int]:
        """The shape of a row's current, `[F, H', W']`."""
        sizes = zip(self.spikes.shape[3:], self.kernel, self.padding, strict=True)
        height, width = (size + 2 * pad - kernel + 1 for size, kernel, pad in sizes)
        return len(self.bias), height, width

    def currents_at(self, rows: Tensor, windows: Tensor) -> Tensor:
        """Return the currents of R windows, `[4, R, F, H', W']`.

        Args:
            rows: the row of every window, `[R]`.
            windows: its place in time, `[R]`.
        """
        seen = PackedSpikes(self.spikes.patterns[rows, windows].unsqueeze(1), WINDOW)
        return replace(self, spikes=seen).run(CURRENTS, record=("voltage",)).recorded["voltage"]

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
            contexts: the constant current of the context rows, `[C, F, H', W']`. No scale applies
                to them.
            scale: what the current goes through on its way in, channel by channel.
            record: "spike", "voltage", both or none.
        """
        channels, *size = self.current_shape
        patterns, steps = self.spikes.patterns.movedim(2, -1).contiguous(), self.spikes.steps
        if contexts is None:
            contexts = torch.empty(0, channels, *size)
        panels, panel = self.table.shape[0], self.table.shape[3] // self.kernel[1]
        padded = F.pad(contexts.detach().float(), (0,) * 5 + (panels * panel - channels,))
        by_panel = torch.unflatten(padded, 1, (panels, panel)).permute(0, 3, 1, 4, 2).flatten(3)
        rows = len(patterns) + len(contexts)
        done = LayerArrays.empty(steps, rows, [*size, channels], record)
        scales = channel_scale(self.bias, scale, panels * panel)
        arguments = (
            patterns, by_panel.contiguous(), self.table, scales,
            done.patterns, done.voltage, done.state, torch.tensor(Constants.of(neuron)),
            *_output_place(self.kernel, self.padding), steps,
        )  # fmt: skip
        run_kernel(_layer, arguments, rows)
        return done.finish(record, channel=-3)


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
    if not steps_grad[0, 0].is_contiguous():
        steps_grad = steps_grad.contiguous()
    steps, _, height, width, channels = steps_grad.shape
    inputs = patterns.shape[-1]
    panel, parts = _panel(channels), min(_PARTS, len(patterns))
    sums = torch.zeros(parts, -(-channels // panel), inputs, kernel[0], kernel[1] * panel)
    arguments = (
        patterns, *flat_rows(steps_grad), steps, height, width, channels, sums.flatten(0, 1), parts,
        *_output_place(kernel, padding),
    )  # fmt: skip
    run_kernel(_gradient, arguments, parts)
    total = sums.sum(0).view(-1, inputs, *kernel, panel).permute(0, 4, 1, 2, 3)
    return total.flatten(0, 1)[:channels].flip(2, 3)


def _panel(channels: int) -> int:
    """Return the width of a panel, for so many output channels."""
    return LANES if channels <= LANES else _PANEL


def _output_place(kernel: tuple[int, int], padding: tuple[int, int]) -> tuple[int, int, int]:
    """Return the first row and column of the output in the sheet, and the width of a kernel.

    A spike at (y, x) adds its kernel to the rows y to y + kh - 1 of the sheet. The sheet is larger
    than the output: what a spike adds outside of the output is never read.
    """
    return kernel[0] - 1 - padding[0], kernel[1] - 1 - padding[1], kernel[1]


@jitable
def _sheet(rows: int, width: int) -> Any:
    """Return zeros `[rows, 4, width]` that begin at a cache line."""
    size = rows * WINDOW * width
    room = np.zeros(size + LANES, np.float32)
    first = -(room.ctypes.data // 4) % LANES
    return room[first : first + size].reshape(rows, WINDOW, width)


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
        table: `[P, K, kh, kw * panel]`.
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
    patterns: Any, contexts: Any, table: Any, scales: Any, spikes: Any, voltages: Any, state: Any,
    constants: Any, top: int, left: int, kernel_width: int, steps: int, start: int, stop: int,
) -> None:  # fmt: skip
    """Run rows `start` to `stop` of a layer; the contexts come behind the rows of the patterns."""
    samples, windows, in_height, in_width, inputs = patterns.shape
    _, _, height, width, channels = state.shape
    panel, bottom = table.shape[3] // kernel_width, top + height
    sheet = _sheet(
        max(in_height + table.shape[2] - 1, bottom), (in_width + kernel_width - 1) * panel
    )
    neurons = width * panel
    blocks = -(-neurons // BLOCK)
    own = np.zeros((height, blocks * OWN * BLOCK), np.float32)
    work = np.zeros(blocks * WORK * BLOCK, np.float32)
    events = np.empty(inputs + 1, np.uint32)
    for row in range(start, stop):
        for part in range(table.shape[0]):
            first = part * panel
            here = min(panel, channels - first)
            set_scale(work, scales, row < samples, first, neurons, panel)
            own[:] = 0
            for window in range(windows):
                length = min(WINDOW, steps - window * WINDOW)
                for y in range(sheet.shape[0]):
                    if row < samples and y < in_height:
                        _visit_row(
                            patterns[row, window, y], table, part, y, top, bottom, panel, events,
                            sheet,
                        )  # fmt: skip
                    out = y - top
                    if 0 <= out < height:  # all spikes that reach this row have been added
                        if row >= samples:
                            sheet[y, :, left * panel : left * panel + neurons] = contexts[
                                row - samples, out, part
                            ]
                        step_blocks(
                            sheet[y], length, left * panel, neurons, own[out], work, constants
                        )
                        copy_from_blocks(
                            spikes[row, window, out], first, here, work, WORK, BITS, panel
                        )
                        for step in range(min(length, voltages.shape[0])):
                            copy_from_blocks(
                                voltages[window * WINDOW + step, row, out], first, here,
                                sheet[y, step, left * panel :], 1, 0, panel,
                            )  # fmt: skip
                    sheet[y] = 0
            for y in range(height):
                for which in range(OWN):
                    copy_from_blocks(state[which, row, y], first, here, own[y], OWN, which, panel)


@Kernel
def _gradient(
    patterns: Any, grad: Any, step_stride: int, row_stride: int, steps: int, height: int,
    width: int, channels: int, sums: Any, parts: int, top: int, left: int, kernel_width: int,
    start: int, stop: int,
) -> None:  # fmt: skip
    """Add the gradients of parts `start` to `stop` of the rows, `[parts * P, K, kh, kw * panel]`.

    Each part has sums of its own, so that threads do not write to the same numbers.
    """
    rows, windows, in_height, in_width, inputs = patterns.shape
    kernel_height, size = sums.shape[2:]
    panel, in_part, panels = size // kernel_width, -(-rows // parts), sums.shape[0] // parts
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
                        # From the first row that reaches the output to the last.
                        add_rows(
                            sums, ((place * inputs + k) * kernel_height + dy) * size,
                            sheet, (dy - top) * WINDOW * columns * panel, panel, events,
                            starts[max(0, top - dy)], starts[min(in_height, top + height - dy)],
                            size,
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
