"""Mean and mean square of every feature map, for normalisers on a GPU, in one pass."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from sigprop_snn.neurons.engines.observed import WINDOW, Observed
from sigprop_snn.neurons.engines.order import Order

_POSITIONS = 64  # of one turn of a program
_MAPS = 64  # of one program


def channel_figures(
    current: Tensor, windows: Observed | None, bias: Tensor | None
) -> tuple[Tensor, int]:
    """Return mean and mean square of every map, `[2, C]`, and how many currents they are of.

    Args:
        current: `[T, N, C, H, W]`, channels-last.
        windows: the currents that are observed, all of whose steps exist or are marked; all
            currents of the first step if none.
        bias: what the currents lack, `[C, 1, 1]`, or none.
    """
    turned = Order(channels_last=True).apply(current)
    steps, rows, height, width, maps = turned.shape
    if windows is None:
        images = count = rows
        at = row = turned.new_empty(0, dtype=torch.long)
    else:
        row, at = windows.rows, windows.windows
        images = WINDOW * len(row)
        count = images if windows.inside is None else len(windows.inside)
    sums = torch.empty(images, 2, maps, dtype=torch.float32, device=current.device)
    positions = height * width
    _sums[(images, triton.cdiv(maps, _MAPS))](
        turned,
        row,
        at,
        sums if bias is None else bias.detach().float().flatten(),
        sums,
        len(row),
        steps,
        turned.stride(0),
        turned.stride(1),
        positions,
        maps,
        ALL=windows is None,
        BIASED=bias is not None,
        WINDOW=WINDOW,
        POSITIONS=_POSITIONS,
        MAPS=_MAPS,
    )
    return sums.sum(0).div_(count * positions), count


@triton.jit  # type: ignore[untyped-decorator]
def _sums(
    current, rows, windows, bias, sums, places, steps, step_stride, row_stride, positions, maps,
    ALL: tl.constexpr, BIASED: tl.constexpr, WINDOW: tl.constexpr,
    POSITIONS: tl.constexpr, MAPS: tl.constexpr,
):  # fmt: skip
    """Sum some maps of one image, and their squares; those of a step behind the last are 0."""
    image = tl.program_id(0)
    channel = tl.program_id(1) * MAPS + tl.arange(0, MAPS)
    known = channel < maps
    if ALL:
        step = tl.cast(0, tl.int64)
        row = tl.cast(image, tl.int64)
    else:
        place = image % places
        step = WINDOW * tl.load(windows + place) + image // places
        row = tl.load(rows + place)
    start = step * step_stride + row * row_stride
    exists = step < steps
    total = tl.zeros([MAPS], tl.float32)
    squares = tl.zeros([MAPS], tl.float32)
    offset = tl.zeros([MAPS], tl.float32)
    if BIASED:
        offset = tl.load(bias + channel, mask=known, other=0.0)
    for first in range(0, positions, POSITIONS):
        position = first + tl.arange(0, POSITIONS)
        mask = (position < positions)[:, None] & known[None, :] & exists
        at = start + position[:, None] * maps + channel[None, :]
        value = tl.load(current + at, mask=mask, other=0.0).to(tl.float32)
        value = tl.where(mask, value + offset[None, :], 0.0)
        total += tl.sum(value, 0)
        squares += tl.sum(value * value, 0)
    tl.store(sums + image * 2 * maps + channel, total, mask=known)
    tl.store(sums + (image * 2 + 1) * maps + channel, squares, mask=known)
