"""Weights in panels: a few columns that lie together, and stay in the processor's cache."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.neurons.kernels.processor import adds_float16
from sigprop_snn.neurons.kernels.vectors import PANEL

_ROOM = 2.0**15  # that float16 sums keep below
_SMALL = 2.0**-8  # largest weight whose company float16 still tells apart


class Panels(NamedTuple):
    """A weight `[F, K]` as kernels read it.

    Attributes:
        table: float32, or the bits of float16, `[P, K + 1, panel]`; a panel is 32 columns of
            float32 or 64 of float16; columns behind F are zero, and so are the weights of nobody.
        start: what every column's sum begins at, its bias, float32, `[P * panel]`.
        unit: what a number in the table stands for: a power of two; 1 in float32.
    """

    table: Tensor
    start: Tensor
    unit: float


def panels_of(weight: Tensor, bias: Tensor | None, *, half: bool = False) -> Panels:
    """Return a weight `[F, K]` and a bias `[F]` in panels.

    Args:
        weight: float32.
        bias: float32, or none.
        half: whether sums of float16 will do, where the processor adds those itself: twice as
            many weights come at once, each rounded to 11 bits, finer than bfloat16's 8.
    """
    unit = 1.0
    table = weight.detach()
    if half and adds_float16():
        unit = _unit(table)
        if unit != 1.0:
            table = table / unit
        table = table.half()
    panel = PANEL if table.dtype == torch.float32 else 2 * PANEL
    columns, neurons = table.shape
    missing = -columns % panel
    start = torch.zeros(columns + missing)
    if bias is not None:
        start[:columns] = bias.detach()
    if missing:
        table = F.pad(table, (0, 0, 0, missing))
    whole = table.new_empty(len(start) // panel, neurons + 1, panel)
    whole[:, :neurons] = table.view(-1, panel, neurons).transpose(1, 2)
    whole[:, neurons] = 0.0
    return Panels(whole if whole.dtype == torch.float32 else whole.view(torch.uint16), start, unit)


def _unit(table: Tensor) -> float:
    """Return a power of two; divided by it, no sum of a row's numbers leaves float16's range.

    It is 1 where the numbers are neither too large nor too small for it as they are.
    """
    width = table.shape[1]
    # The length of all bounds the largest, from both sides, and the sums: it takes one quick pass.
    length = float(torch.linalg.vector_norm(table))
    if length >= _SMALL * math.sqrt(table.numel()) and length * math.sqrt(width) <= _ROOM:
        return 1.0
    low, high = torch.aminmax(table)
    largest = max(-float(low), float(high))
    if _SMALL <= largest <= _ROOM / width or not 0 < largest < float("inf"):
        return 1.0
    return 2.0 ** math.ceil(math.log2(largest * width / _ROOM))
