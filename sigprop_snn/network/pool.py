"""The pool behind a convolutional block."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class HalvingPool(nn.MaxPool2d):
    """A 2x2 maximum pool; the same numbers as `nn.MaxPool2d(2)`.

    On the CPU it compares rows, then columns, many times faster than torch's own pool, which also
    notes where each maximum was. Inputs are `[N, C, H, W]`; an odd last row or column is left out.
    """

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, input: Tensor) -> Tensor:
        """Return the maxima, `[N, C, H // 2, W // 2]`."""
        if input.device.type != "cpu":
            pooled: Tensor = super().forward(input)
            return pooled
        height, width = (size - size % 2 for size in input.shape[-2:])
        rows = torch.maximum(input[..., 0:height:2, :width], input[..., 1:height:2, :width])
        return torch.maximum(rows[..., 0::2], rows[..., 1::2])
