"""The 2x2 maximum pool behind a convolutional layer."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class HalvingPool(nn.MaxPool2d):
    """A 2x2 maximum pool; the same numbers as `nn.MaxPool2d(2)`.

    On the CPU it compares rows, then columns. torch's own pool also notes the place of every
    maximum, which takes many times as long. Inputs are `[N, C, H, W]`; an odd last row or column
    is left out. Where two inputs are equal, both get half of the gradient.
    """

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, input: Tensor) -> Tensor:
        """Return the maxima, `[N, C, H // 2, W // 2]`."""
        if input.device.type != "cpu":
            pooled: Tensor = super().forward(input)
            return pooled
        return halved(input)


def halved(maps: Tensor, larger: Callable[[Tensor, Tensor], Tensor] = torch.maximum) -> Tensor:
    """Return the maximum of every 2x2 square of `[..., H, W]`; `larger` is that of two numbers."""
    height, width = (size - size % 2 for size in maps.shape[-2:])
    rows = larger(maps[..., 0:height:2, :width], maps[..., 1:height:2, :width])
    return larger(rows[..., 0::2], rows[..., 1::2])


def is_halving(pool: nn.Module) -> bool:
    """Return whether a module is a 2x2 maximum pool and nothing else."""
    if type(pool) not in (nn.MaxPool2d, HalvingPool) or not isinstance(pool, nn.MaxPool2d):
        return False
    sizes = [(size, size) if isinstance(size, int) else tuple(size) for size in (
        pool.kernel_size, pool.stride, pool.padding, pool.dilation
    )]  # fmt: skip
    return (
        sizes == [(2, 2), (2, 2), (0, 0), (1, 1)]
        and not (pool.ceil_mode or pool.return_indices)
        and not (pool._forward_hooks or pool._forward_pre_hooks)
    )
