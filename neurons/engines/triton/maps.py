"""Feature maps on a GPU: the 2x2 maximum pool, and means over a grid of positions.

The sizes of the maps are constants of a kernel: a division by a constant takes a few instructions,
one by a variable dozens, and there are more divisions here than anything else.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from sigprop_snn.neurons.engines.order import Order

_BLOCK = 1024  # numbers of one program
_WIDE = 1 << 31  # numbers from which places need 64 bits


def halved(values: Tensor) -> Tensor:
    """Return the maximum of every 2x2 square of `[T, N, C, H, W]`; of bytes, every bit's."""
    order = Order.of(values)
    *rows, height, width = values.shape
    found = order.empty((*rows, height // 2, width // 2), values.dtype, values.device)
    size = found.numel()
    if size:
        between = values.shape[2] if order.channels_last else 1
        _halve[(triton.cdiv(size, _BLOCK),)](
            order.apply(values), order.apply(found), size,
            height, width, height // 2, width // 2, between,
            WIDE=values.numel() >= _WIDE, BLOCK=_BLOCK,
        )  # fmt: skip
    return found


def grid_mean(maps: Tensor, grid: int, *, rectifies: bool = False) -> Tensor:
    """Return maps `[N, C, H, W]`, float32, averaged to `grid` x `grid` positions.

    Args:
        maps: the maps.
        grid: positions a side.
        rectifies: whether negative numbers count as 0.
    """
    order = Order.of(maps[None])
    rows, channels, height, width = maps.shape
    found = order.empty((rows, channels, grid, grid), maps.dtype, maps.device)
    size = found.numel()
    if size:
        between = channels if order.channels_last else 1
        _grid_mean[(triton.cdiv(size, _BLOCK),)](
            order.apply(maps), order.apply(found), size, height, width, grid, between,
            -(-height // grid) + 1, -(-width // grid) + 1, RECTIFIES=rectifies,
            WIDE=maps.numel() >= _WIDE, BLOCK=_BLOCK,
        )  # fmt: skip
    return found


def grid_mean_gradient(
    maps: Tensor,
    grid: int,
    grad: Tensor,
    *,
    rectified: Tensor | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the gradient of the maps, in their order.

    Args:
        maps: the maps `[N, C, H, W]`.
        grid: positions a side.
        grad: the gradient of the means.
        rectified: numbers of the maps' shape; where they are not above 0, the gradient is 0.
        dtype: of the result.
    """
    order = Order.of(maps[None])
    _, channels, height, width = maps.shape
    found = order.empty(maps.shape, dtype, maps.device)
    size = found.numel()
    if size:
        between = channels if order.channels_last else 1
        turned = order.apply(grad)
        _grid_mean_gradient[(triton.cdiv(size, _BLOCK),)](
            turned,
            turned if rectified is None else order.apply(rectified),
            order.apply(found),
            size,
            height,
            width,
            grid,
            between,
            RECTIFIES=rectified is not None,
            WIDE=size >= _WIDE,
            BLOCK=_BLOCK,
        )
    return found


def rectified(voltage: Tensor, dtype: torch.dtype) -> Tensor:
    """Return max(0, U) of voltages `[N, ...]` in a dtype, in their order."""
    order = Order.of(voltage[None])
    found = order.empty(voltage.shape, dtype, voltage.device)
    size = found.numel()
    if size:
        _rectify[(triton.cdiv(size, _BLOCK),)](
            order.apply(voltage), order.apply(found), size, BLOCK=_BLOCK
        )
    return found


@triton.jit  # type: ignore[untyped-decorator]
def _rectify(voltages, found, size, BLOCK: tl.constexpr):
    """Rectify one block of numbers."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(voltages + place, mask=place < size, other=0.0)
    tl.store(found + place, tl.maximum(value, 0.0).to(found.dtype.element_ty), mask=place < size)


@triton.jit  # type: ignore[untyped-decorator]
def _halve(
    values, found, size,
    height: tl.constexpr, width: tl.constexpr, half_height: tl.constexpr, half_width: tl.constexpr,
    between: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Take the maximum of 2x2 squares; `between` numbers lie between two columns."""
    program = tl.program_id(0).to(tl.int64) if WIDE else tl.program_id(0)
    place = program * BLOCK + tl.arange(0, BLOCK)
    mask = place < size
    within = place % between
    column = (place // between) % half_width
    row = (place // between // half_width) % half_height
    plane = place // between // half_width // half_height
    first = ((plane * height + 2 * row) * width + 2 * column) * between + within
    a = tl.load(values + first, mask=mask, other=0)
    b = tl.load(values + first + between, mask=mask, other=0)
    c = tl.load(values + first + width * between, mask=mask, other=0)
    d = tl.load(values + first + width * between + between, mask=mask, other=0)
    if values.dtype.element_ty == tl.uint8:
        tl.store(found + place, (a | b) | (c | d), mask=mask)
    else:
        tl.store(found + place, tl.maximum(tl.maximum(a, b), tl.maximum(c, d)), mask=mask)


@triton.jit  # type: ignore[untyped-decorator]
def _grid_mean(
    maps, found, size,
    height: tl.constexpr, width: tl.constexpr, grid: tl.constexpr, between: tl.constexpr,
    most_rows: tl.constexpr, most_columns: tl.constexpr, RECTIFIES: tl.constexpr,
    WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Average the windows of one block of positions of the grid."""
    program = tl.program_id(0).to(tl.int64) if WIDE else tl.program_id(0)
    place = program * BLOCK + tl.arange(0, BLOCK)
    mask = place < size
    within = place % between
    column = (place // between) % grid
    row = (place // between // grid) % grid
    plane = place // between // grid // grid
    top, bottom = row * height // grid, ((row + 1) * height + grid - 1) // grid
    left, right = column * width // grid, ((column + 1) * width + grid - 1) // grid
    total = tl.zeros([BLOCK], tl.float32)
    for down in range(most_rows):
        for across in range(most_columns):
            inside = mask & (top + down < bottom) & (left + across < right)
            at = ((plane * height + top + down) * width + left + across) * between + within
            value = tl.load(maps + at, mask=inside, other=0.0)
            total += tl.maximum(value, 0.0) if RECTIFIES else value
    area = ((bottom - top) * (right - left)).to(tl.float32)
    tl.store(found + place, total / area, mask=mask)


@triton.jit  # type: ignore[untyped-decorator]
def _grid_mean_gradient(
    grad, rectified, found, size,
    height: tl.constexpr, width: tl.constexpr, grid: tl.constexpr, between: tl.constexpr,
    RECTIFIES: tl.constexpr, WIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gather the gradient of one block of numbers from the windows that they are in.

    The grid is no finer than the maps, so a row is in one window or in two.
    """
    program = tl.program_id(0).to(tl.int64) if WIDE else tl.program_id(0)
    place = program * BLOCK + tl.arange(0, BLOCK)
    mask = place < size
    within = place % between
    x = (place // between) % width
    y = (place // between // width) % height
    plane = place // between // width // height
    first_row, last_row = y * grid // height, ((y + 1) * grid + height - 1) // height
    first_column, last_column = x * grid // width, ((x + 1) * grid + width - 1) // width
    total = tl.zeros([BLOCK], tl.float32)
    for down in tl.static_range(2):
        for across in tl.static_range(2):
            row, column = first_row + down, first_column + across
            inside = mask & (row < last_row) & (column < last_column)
            rows = ((row + 1) * height + grid - 1) // grid - row * height // grid
            columns = ((column + 1) * width + grid - 1) // grid - column * width // grid
            at = ((plane * grid + row) * grid + column) * between + within
            value = tl.load(grad + at, mask=inside, other=0.0)
            total += value / tl.where(inside, rows * columns, 1).to(tl.float32)
    if RECTIFIES:
        total = tl.where(tl.load(rectified + place, mask=mask, other=0.0) > 0.0, total, 0.0)
    tl.store(found + place, total.to(found.dtype.element_ty), mask=mask)
