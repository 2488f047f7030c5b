"""Statistics of feature maps on a GPU: of a channel for normalisers, of one map for similarity."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from sigprop_snn.neurons.engines.engine import MapStatistics
from sigprop_snn.neurons.engines.observed import WINDOW, ObservedWindows
from sigprop_snn.neurons.engines.order import Order

_POSITIONS = 64  # of one turn of a program
_MAPS = 64  # of one program
_BLOCK = 1024  # numbers of one program
_WIDE = 1 << 31  # numbers from which places need 64 bits


def channel_statistics(
    current: Tensor, windows: ObservedWindows | None, bias: Tensor | None
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
    current, rows, windows, bias, sums, places, steps, step_stride, row_stride, positions, channels,
    ALL: tl.constexpr, BIASED: tl.constexpr, WINDOW: tl.constexpr,
    POSITIONS: tl.constexpr, MAPS: tl.constexpr,
):  # fmt: skip
    """Sum some maps of one image, and their squares; those of a step behind the last are 0."""
    image = tl.program_id(0)
    channel = tl.program_id(1) * MAPS + tl.arange(0, MAPS)
    known = channel < channels
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
        at = start + position[:, None] * channels + channel[None, :]
        value = tl.load(current + at, mask=mask, other=0.0).to(tl.float32)
        value = tl.where(mask, value + offset[None, :], 0.0)
        total += tl.sum(value, 0)
        squares += tl.sum(value * value, 0)
    tl.store(sums + image * 2 * channels + channel, total, mask=known)
    tl.store(sums + (image * 2 + 1) * channels + channel, squares, mask=known)


def channel_sums(maps: Tensor) -> Tensor:
    """Return the sum of every channel of maps `[N, C, H, W]`, channels-last, float32."""
    statistics, count = channel_statistics(maps[None], None, None)
    return statistics[0].mul_(count * maps[0, 0].numel())


def takes_maps(maps: Tensor) -> bool:
    """Return whether the kernels take maps `[N, C, H, W]`: channels-last, at least one image."""
    return (
        maps.dim() == 4
        and maps.numel() > 0
        and not maps.is_contiguous()
        and maps.is_contiguous(memory_format=torch.channels_last)
    )


def map_statistics(maps: Tensor) -> MapStatistics:
    """Return mean and standard deviation of every map `[N, C, H, W]`, channels-last."""
    images, channels, height, width = maps.shape
    mean, deviation = torch.empty(
        2, images, channels, dtype=torch.float32, device=maps.device
    ).unbind()
    _map_statistics[(images, triton.cdiv(channels, _MAPS))](
        maps.detach(), mean, deviation, height * width, channels, POSITIONS=_POSITIONS, MAPS=_MAPS
    )
    return MapStatistics(mean, deviation)


def deviation_gradient(maps: Tensor, statistics: MapStatistics, factor: Tensor) -> Tensor:
    """Return (x - mean) times a factor for every map, `[N, C]`, in the maps' dtype and order."""
    found = torch.empty_like(maps)
    _, channels, height, width = maps.shape
    size = maps.numel()
    _centred[(triton.cdiv(size, _BLOCK),)](
        maps.detach(), statistics.mean, factor.float().contiguous(), found, size,
        height * width, channels, WIDE=size >= _WIDE, BLOCK=_BLOCK,
    )  # fmt: skip
    return found


@triton.jit  # type: ignore[untyped-decorator]
def _map_statistics(
    maps, mean, deviation, positions, channels, POSITIONS: tl.constexpr, MAPS: tl.constexpr
):  # fmt: skip
    """Find the statistics of some maps of one image; the second turn reads from the cache."""
    image = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * MAPS + tl.arange(0, MAPS)
    known = channel < channels
    start = image * positions * channels
    total = tl.zeros([MAPS], tl.float32)
    for first in range(0, positions, POSITIONS):
        position = first + tl.arange(0, POSITIONS)
        mask = (position < positions)[:, None] & known[None, :]
        at = start + position[:, None] * channels + channel[None, :]
        total += tl.sum(tl.load(maps + at, mask=mask, other=0.0).to(tl.float32), 0)
    middle = total / positions
    squares = tl.zeros([MAPS], tl.float32)
    for first in range(0, positions, POSITIONS):
        position = first + tl.arange(0, POSITIONS)
        mask = (position < positions)[:, None] & known[None, :]
        at = start + position[:, None] * channels + channel[None, :]
        value = tl.load(maps + at, mask=mask, other=0.0).to(tl.float32) - middle[None, :]
        value = tl.where(mask, value, 0.0)
        squares += tl.sum(value * value, 0)
    tl.store(mean + image * channels + channel, middle, mask=known)
    tl.store(deviation + image * channels + channel, tl.sqrt(squares / positions), mask=known)


@triton.jit  # type: ignore[untyped-decorator]
def _centred(
    maps, mean, factors, found, size, positions: tl.constexpr, channels: tl.constexpr,
    WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Multiply one block of centred numbers by the factors of their maps."""
    program = tl.program_id(0).to(tl.int64) if WIDE else tl.program_id(0)
    place = program * BLOCK + tl.arange(0, BLOCK)
    mask = place < size
    which = place // channels // positions * channels + place % channels
    value = tl.load(maps + place, mask=mask, other=0.0).to(tl.float32)
    value -= tl.load(mean + which, mask=mask, other=0.0)
    value *= tl.load(factors + which, mask=mask, other=0.0)
    tl.store(found + place, value.to(found.dtype.element_ty), mask=mask)
