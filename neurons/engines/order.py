"""The order of a layer's numbers in memory: feature maps may be channels-last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Order:
    """Whether the rows of a layer, `[..., C, H, W]`, are kept in memory as `[..., H, W, C]`.

    Attributes:
        channels_last: whether they are. Rows that are no feature maps never are.
    """

    channels_last: bool

    @classmethod
    def of(cls, values: Tensor) -> Order:
        """Return the order of `[T, N, ...]`, or of anything else with two axes before a row."""
        maps = values.dim() == 5 and len(values) > 0 and not values[0].is_contiguous()
        return cls(maps and values[0].is_contiguous(memory_format=torch.channels_last))

    def apply(self, values: Tensor) -> Tensor:
        """Return steps or rows as they are in memory, contiguous but for a repeated first axis."""
        turned = values.movedim(-3, -1) if self.channels_last else values
        if turned.stride(0) == 0 and turned[0].is_contiguous():
            return turned
        return turned.contiguous()

    def empty(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return new values of a shape, `[T, N, C, H, W]` or `[N, C, H, W]`, in this order."""
        if not self.channels_last:
            return torch.empty(tuple(shape), dtype=dtype, device=device)
        *rows, channels, height, width = shape
        made = torch.empty((*rows, height, width, channels), dtype=dtype, device=device)
        return made.movedim(-1, -3)


def channels_last(maps: Tensor) -> Tensor:
    """Return feature maps `[N, C, H, W]` that are kept in memory, and marked, as channels-last.

    With one channel both orders are the same memory. torch takes such maps for channels-first
    unless their strides say otherwise, and then copies the other maps of a convolution into that
    order, which can take longer than the convolution.
    """
    maps = maps.contiguous(memory_format=torch.channels_last)
    _, channels, height, width = maps.shape
    return maps.as_strided(maps.shape, (channels * height * width, 1, width * channels, channels))
