"""The activity of several layers as the input of one: side by side, or added."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.pooling import HalvingPool

Join = Literal["side-by-side", "sum"]
JOINS: tuple[Join, ...] = get_args(Join)

_POOLS = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}


def joined_shape(shapes: Sequence[tuple[int, ...]], join: Join) -> tuple[int, ...]:
    """Return the shape of one row of joined activity.

    Args:
        shapes: the shapes of one row of every part, `[C, ...]` or `[K]`.
        join: how they are joined.

    Raises:
        SigpropError: if a sum has parts with different numbers of maps or neurons.
    """
    shapes = [tuple(shape) for shape in shapes]
    if len({len(shape) for shape in shapes}) > 1:
        shapes = [(math.prod(shape),) for shape in shapes]
    channels = [shape[0] for shape in shapes]
    if join == "sum" and len(set(channels)) > 1:
        raise SigpropError(
            f"a sum has parts with {channels} maps or neurons; expected the same number"
        )
    smallest = tuple(min(sizes) for sizes in zip(*(shape[1:] for shape in shapes), strict=True))
    return (channels[0] if join == "sum" else sum(channels), *smallest)


def joined(parts: Sequence[Tensor], join: Join) -> Tensor:
    """Return the joined activity `[T, N, ...]` of several parts, with their gradients.

    Maps of different sizes are pooled to the smallest by the maximum: 2x2 where that gives the
    size, else `adaptive_max_pool2d`. Vectors beside maps: the maps are flattened. Side by side
    joins along the axis of channels or neurons.

    Args:
        parts: the activity of every part, `[T, N, C, ...]` or `[T, N, K]`.
        join: how they are joined.

    Raises:
        SigpropError: if a sum has parts with different numbers of maps or neurons.
    """
    if len(parts) == 1:
        return parts[0]
    size = joined_shape([tuple(part.shape[2:]) for part in parts], join)[1:]
    if len({part.dim() for part in parts}) > 1:
        parts = [part.flatten(2) for part in parts]
    # Without an axis of steps, torch keeps maps in memory with their channels last.
    rows = [pooled_to(part.flatten(0, 1), size) for part in parts]
    whole = torch.cat(rows, dim=1) if join == "side-by-side" else _sum(rows)
    return whole.view(*parts[0].shape[:2], *whole.shape[1:])


def pooled_to(maps: Tensor, size: tuple[int, ...]) -> Tensor:
    """Return maps `[N, C, ...]` pooled to a size by the maximum; vectors as they are."""
    times = halvings(tuple(maps.shape[2:]), size)
    if times is None:
        return _POOLS[len(size)](maps, size)
    for _ in range(times):
        maps = HalvingPool()(maps)
    return maps


def halvings(found: tuple[int, ...], size: tuple[int, ...]) -> int | None:
    """Return how many 2x2 pools lead from one size of maps to another, or none."""
    times = 0
    while found != size:
        if len(found) != 2 or any(a <= b for a, b in zip(found, size, strict=True)):
            return None
        found = tuple(a // 2 for a in found)
        times += 1
    return times


def _sum(parts: Sequence[Tensor]) -> Tensor:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
