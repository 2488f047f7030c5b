"""The weight gradient of a convolution, by the events that its inputs are."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.neurons.kernels.packed import WINDOW, Packed
from sigprop_snn.neurons.kernels.places import list_groups, teach_lists
from sigprop_snn.neurons.kernels.sharing import Compiled, share
from sigprop_snn.neurons.kernels.vectors import LANES, PANEL, copy_lanes, give_kernels

# A weight gradient is faster by events up to this share of windows in which a channel fires: with
# few channels, where the dense one is slow, or with many; and from so many windows a channel.
_MOST_ACTIVE, _MOST_ACTIVE_OF_MANY = 0.8, 0.36
_MANY = 64  # channels
_FEWEST = 400
_PARTS = 16  # of a batch, at most, that have sums of their own, however many threads there are


def outer_pays(inputs: Packed) -> bool:
    """Return whether `convolution_outer` is faster than a dense gradient for `[T, N, K, H, W]`."""
    channels = inputs.shape[2]
    active = int(torch.count_nonzero(inputs.patterns))
    most = _MOST_ACTIVE if channels < _MANY else _MOST_ACTIVE_OF_MANY
    return _FEWEST * channels <= active <= most * inputs.patterns.numel()


def convolution_outer(
    inputs: Packed, grad: Tensor, kernel: tuple[int, int], padding: tuple[int, int]
) -> Tensor:
    """Return the weight's gradient `[F, K, kh, kw]`: the sum of grad times spike.

    Args:
        inputs: the spikes, `[T, N, K, H, W]`.
        grad: that of the currents, float32, `[T, N, F, H', W']`; it may be some rows of a larger
            one.
        kernel: kh and kw.
        padding: as of the convolution.
    """
    patterns = inputs.patterns.permute(0, 1, 3, 4, 2).contiguous()
    rows = grad.movedim(2, -1)
    if not rows[0, 0].is_contiguous():
        rows = rows.contiguous()
    channels, neurons = rows.shape[-1], patterns.shape[-1]
    panel = min(PANEL, channels + -channels % LANES)
    parts = min(_PARTS, len(patterns))
    sums = torch.zeros(parts, -(-channels // panel), neurons, *kernel, panel)
    share(_compiled_outer(), (patterns, rows, sums, *padding), parts, worth=1, grain=1)
    turned = sums.sum(0).permute(0, 4, 1, 2, 3).flatten(0, 1)[:channels]
    return turned.flip(2, 3)


def _outer(
    patterns: Any, grad: Any, sums: Any, above: int, beside: int, start: int, stop: int
) -> None:
    """Add the gradient of parts `start` to `stop` of the samples to `sums`.

    They are `[parts, P, K, kh, kw, panel]`.
    """
    samples, windows, height, width, neurons = patterns.shape
    parts, panels, _, kernel, across, panel = sums.shape
    size = -(-samples // parts)
    steps, _, tall, wide, channels = grad.shape
    high, broad = height + kernel - 1, width + across - 1
    top, side = kernel - 1 - above, across - 1 - beside
    sheet = high * broad * panel
    places = tall * wide
    apart, beyond = grad.strides[0] // grad.itemsize, grad.strides[1] // grad.itemsize
    # The gradient with silence around it, as the currents lie in `_convolution`.
    around = np.zeros(WINDOW * sheet + LANES, np.float32)
    base = -(around.ctypes.data // 4) % LANES
    active, fired = np.empty(neurons + 1, np.int64), np.empty(neurons + 1, np.uint8)
    most = WINDOW * height * width
    which = np.empty(most * neurons + 1, np.int64)
    where, ends = np.empty(most + 1, np.int64), np.empty(most + 1, np.int64)
    for row in range(start * size, min(stop * size, samples)):
        mine = sums[row // size]
        for part in range(panels):
            left = part * panel
            here = min(panel, channels - left)
            for window in range(windows):
                for t in range(min(WINDOW, steps - window * WINDOW)):
                    image = ((window * WINDOW + t) * apart + row * beyond) + left
                    for y in range(tall):
                        for x in range(wide):
                            at = y * wide + x
                            place = base + t * sheet + ((y + top) * broad + x + side) * panel
                            for f in range(0, here, LANES):
                                # Lanes behind the last channel go to sums that nobody reads.
                                if (places - at) * channels - left - f >= LANES:
                                    copy_lanes(around, place + f, grad, image + at * channels + f)
                                else:
                                    for lane in range(here - f):
                                        around[place + f + lane] = grad[
                                            window * WINDOW + t, row, y, x, left + f + lane
                                        ]
                groups = list_groups(
                    patterns[row, window], part, base, sheet, broad, panel, active, fired,
                    which, where, ends,
                )  # fmt: skip
                first = 0
                for group in range(groups):
                    give_kernels(
                        mine, which, first, ends[group], around, where[group], broad * panel,
                        kernel, across * panel,
                    )  # fmt: skip
                    first = ends[group]


@functools.cache
def _compiled_outer() -> Compiled:
    from numba import types

    from sigprop_snn.neurons.kernels.compiling import compiled

    teach_lists()
    real, whole = types.float32, types.int64
    return compiled(
        _outer,
        types.Array(types.uint8, 5, "C"), types.Array(real, 5, "A"), types.Array(real, 6, "C"),
        whole, whole,
    )  # fmt: skip
