"""A convolutional layer of LIF neurons, from spikes to spikes in one pass.

Every spike adds its kernel, all channels of a position lying together, to the currents around it:
what does not fire costs nothing, and neither currents nor spikes are ever written out. A sample's
currents of four steps and its voltages stay in the cache.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sigprop_snn.neurons.base import Neuron
from sigprop_snn.neurons.kernels.choice import unfit_neuron
from sigprop_snn.neurons.kernels.fused import Constants, Layer, Scale, scale_of
from sigprop_snn.neurons.kernels.packed import WINDOW, Packed
from sigprop_snn.neurons.kernels.places import list_groups, teach_lists
from sigprop_snn.neurons.kernels.product import fits_activity, fits_weights
from sigprop_snn.neurons.kernels.sharing import Compiled, share
from sigprop_snn.neurons.kernels.vectors import LANES, PANEL, add_kernels, fire
from sigprop_snn.neurons.lif import LIF


def fits_convolution(neuron: Neuron, inputs: Tensor | Packed, layer: nn.Conv2d) -> bool:
    """Return whether `run_convolution` takes this: LIF behind a convolution, on the CPU.

    Args:
        neuron: the model.
        inputs: what the layer receives, `[T, N, K, H, W]`.
        layer: the convolution.
    """
    if unfit_neuron(neuron) is not None or isinstance(layer.padding, str):
        return False
    shape, weight = inputs.shape, layer.weight
    sizes = zip(shape[3:], layer.kernel_size, layer.padding, strict=False)
    return (
        len(shape) == 5
        and shape[0] >= WINDOW
        and (isinstance(inputs, Packed) or (fits_activity(inputs) and inputs.stride(0) != 0))
        and shape[2] == weight.shape[1]
        and set(layer.stride) == set(layer.dilation) == {layer.groups} == {1}
        and layer.padding_mode == "zeros"
        and all(pad < kernel <= size + 2 * pad for size, kernel, pad in sizes)
        and fits_weights(shape[0] * shape[1] * shape[3] * shape[4], weight, layer.bias)
    )


class Convolution(NamedTuple):
    """A convolution of spikes, ready to be summed: of stride 1, without gaps or groups.

    Attributes:
        inputs: the spikes, `[T, N, K, H, W]`.
        table: the weights, both axes turned round, `[P, K, kh, kw, panel]`; channels behind F are
            zero.
        start: every channel's bias, `[P * panel]`.
        channels: F.
        padding: rows and columns of silence around the inputs.
    """

    inputs: Packed
    table: Tensor
    start: Tensor
    channels: int
    padding: tuple[int, int]

    @classmethod
    def of(
        cls, inputs: Packed, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]
    ) -> Convolution:
        """Return it for inputs `[T, N, K, H, W]`, a weight `[F, K, kh, kw]`, a bias `[F]`."""
        channels = len(weight)
        panel = min(PANEL, channels + -channels % LANES)
        missing = -channels % panel
        padded = F.pad(weight.detach().flip(2, 3), (0, 0) * 3 + (0, missing))
        table = padded.view(-1, panel, *weight.shape[1:]).permute(0, 2, 3, 4, 1).contiguous()
        start = torch.zeros(channels + missing)
        if bias is not None:
            start[:channels] = bias.detach()
        return cls(inputs, table, start, channels, padding)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of a row's current, `[F, H', W']`."""
        sizes = zip(self.inputs.shape[3:], self.table.shape[2:4], self.padding, strict=True)
        height, width = (size + 2 * pad - kernel + 1 for size, kernel, pad in sizes)
        return self.channels, height, width

    def windows_at(self, samples: Tensor, places: Tensor) -> Tensor:
        """Return the currents of R windows, `[4, R, F, H', W']`; see `Synapse.windows_at`."""
        patterns = self.inputs.patterns[samples, places].unsqueeze(1)
        alone = self._replace(inputs=Packed(patterns, WINDOW))
        channels, *size = self.shape
        raw = torch.empty(WINDOW, len(samples), *size, channels)
        _convolve(LIF(), alone, None, None, raw=raw)
        return raw.permute(0, 1, 4, 2, 3)


def run_convolution(
    neuron: LIF,
    synapse: Convolution,
    *,
    riding: Tensor | None = None,
    scale: Scale | None = None,
    record: bool = False,
) -> Layer:
    """Run the neurons from rest.

    Args:
        neuron: the model.
        synapse: what drives it.
        riding: the constant current of rows that ride behind the samples, `[C, F, H', W']`, or
            none.
        scale: what the samples' current goes through on its way in, channel by channel.
        record: whether the voltage of every step is kept.
    """
    return _convolve(neuron, synapse, riding, scale, record=record)


def _convolve(
    neuron: LIF,
    synapse: Convolution,
    riding: Tensor | None,
    scale: Scale | None,
    *,
    record: bool = False,
    raw: Tensor | None = None,
) -> Layer:
    """Run the neurons, or, with somewhere to write them, make the currents alone."""
    inputs, table, start, channels, padding = synapse
    _, *size = synapse.shape
    # Channels last: what belongs to a position lies together.
    patterns = inputs.patterns.permute(0, 1, 3, 4, 2).contiguous()
    constant = torch.empty(0, *size, channels)
    if riding is not None:
        constant = riding.detach().float().permute(0, 2, 3, 1).contiguous()
    rows = len(patterns) + len(constant)
    state = neuron.initial_state(torch.empty(rows, *size, channels)).voltage.detach().contiguous()
    windows = patterns.shape[1]
    sent = torch.empty(rows, windows, *size, channels, dtype=torch.uint8)
    total = torch.empty_like(state)
    gain, shift = scale_of(channels, len(start), scale)
    shift[: len(start)] += gain[: len(start)] * start  # the bias passes through the scale as well
    currents = torch.empty(0, 0, 0, 0, 0) if raw is None else raw
    kept = torch.empty(inputs.steps if record else 0, rows, *size, channels)
    arrays = (patterns, table, gain, shift, constant, sent, currents, kept, state, total)
    given = (*arrays, *Constants.of(neuron), *padding, inputs.steps)
    share(_compiled(), given, rows, worth=1, grain=1)
    voltages = (t.permute(0, 3, 1, 2) for t in (state, total))
    return Layer(
        Packed(sent.permute(0, 1, 4, 2, 3), inputs.steps),
        kept.permute(0, 1, 4, 2, 3),
        *voltages,
    )


def _convolution(
    patterns: Any, table: Any, gains: Any, shifts: Any, riding: Any, sent: Any, raw: Any, kept: Any,
    last: Any, total: Any,
    beta: Any, gain: Any, threshold: Any, taken: Any, emptied: bool,
    above: int, beside: int, steps: int, start: int, stop: int,
) -> None:  # fmt: skip
    """Run rows `start` to `stop`: samples, and behind them those that ride."""
    samples, windows, height, width, neurons = patterns.shape
    panels, _, kernel, across, panel = table.shape
    rows, tall, wide, channels = last.shape
    # The currents of all positions that a spike can reach, those outside of the result with them.
    high, broad = height + kernel - 1, width + across - 1
    top, side = kernel - 1 - above, across - 1 - beside
    sheet = high * broad * panel
    currents = np.zeros(WINDOW * sheet + LANES, np.float32)
    base = -(currents.ctypes.data // 4) % LANES  # a vector that shares two cache lines costs twice
    places = tall * wide
    size = places * channels
    keep = kept.shape[0] > 0
    own = np.zeros((2, places, panel), np.float32)
    active, fired = np.empty(neurons + 1, np.int64), np.empty(neurons + 1, np.uint8)
    most = WINDOW * height * width
    which = np.empty(most * neurons + 1, np.int64)
    where, ends = np.empty(most + 1, np.int64), np.empty(most + 1, np.int64)
    pattern, voltage = np.zeros(LANES, np.uint8), np.zeros((WINDOW, LANES), np.float32)
    for row in range(start, stop):
        rides = row >= samples
        for part in range(panels):
            left = part * panel
            here = min(panel, channels - left)
            factor = gains.shape[0] - panel if rides else left
            for y in range(tall):
                for x in range(wide):
                    for f in range(here):
                        own[0, y * wide + x, f] = last[row, y, x, left + f]
                        own[1, y * wide + x, f] = 0.0
            for window in range(windows):
                step = window * WINDOW
                length = min(WINDOW, steps - step)
                if not rides:
                    groups = list_groups(
                        patterns[row, window], part, base, sheet, broad, panel, active, fired,
                        which, where, ends,
                    )  # fmt: skip
                    first = 0
                    for group in range(groups):
                        add_kernels(
                            currents, where[group], broad * panel, table, which, first, ends[group],
                            kernel, across * panel,
                        )  # fmt: skip
                        first = ends[group]
                for y in range(tall):
                    at = y * wide
                    corner = base + ((y + top) * broad + side) * panel
                    if rides:
                        for t in range(length):
                            for x in range(wide):
                                for f in range(here):
                                    currents[t * sheet + corner + x * panel + f] = riding[
                                        row - samples, y, x, left + f
                                    ]
                    if raw.shape[0]:
                        for t in range(WINDOW):
                            for x in range(wide):
                                for f in range(here):
                                    place = t * sheet + corner + x * panel + f
                                    raw[t, row, y, x, left + f] = currents[place] + shifts[left + f]
                                    currents[place] = 0.0
                        continue
                    # From the last channels on, whose sixteen reach into the next place's first.
                    for f in range((here - 1) // LANES * LANES, -1, -LANES):
                        target = (row * windows + window) * size + at * channels + left + f
                        into = (step * rows + row) * size + at * channels + left + f
                        if here - f >= LANES:
                            safe = places
                        else:
                            safe = places - (f + LANES - 1) // channels if panels == 1 else 0
                        if at + wide <= safe:
                            fire(
                                currents, corner + f, sheet,
                                own, at * panel + f, places * panel, panel,
                                gains, shifts, factor + f, 0, wide, length,
                                beta, gain, threshold, taken, emptied,
                                sent, target, keep, kept, into, rows * size, channels,
                            )  # fmt: skip
                            continue
                        for x in range(wide):
                            fire(
                                currents, corner + x * panel + f, sheet,
                                own, (at + x) * panel + f, places * panel, panel,
                                gains, shifts, factor + f, 0, 1, length,
                                beta, gain, threshold, taken, emptied,
                                pattern, 0, keep, voltage, 0, LANES, LANES,
                            )  # fmt: skip
                            for lane in range(min(LANES, here - f)):
                                sent[row, window, y, x, left + f + lane] = pattern[lane]
                                if keep:
                                    for t in range(length):
                                        kept[step + t, row, y, x, left + f + lane] = voltage[
                                            t, lane
                                        ]
                # What a spike added outside of the result is never read.
            for y in range(tall):
                for x in range(wide):
                    for f in range(here):
                        last[row, y, x, left + f] = own[0, y * wide + x, f]
                        total[row, y, x, left + f] = own[1, y * wide + x, f]


@functools.cache
def _compiled() -> Compiled:
    from numba import types

    from sigprop_snn.neurons.kernels.compiling import compiled

    teach_lists()
    real, whole, byte = types.float32, types.int64, types.uint8
    line, maps = types.Array(real, 1, "C"), types.Array(real, 4, "C")
    kept = types.Array(real, 5, "C")
    return compiled(
        _convolution,
        types.Array(byte, 5, "C"), types.Array(real, 5, "C"), line, line, maps,
        types.Array(byte, 5, "C"), kept, kept, maps, maps,
        real, real, real, real, types.boolean, whole, whole, whole,
    )  # fmt: skip
