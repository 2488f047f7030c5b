"""Rows multiplied and compared in one pass: what a weight's gradient goes through."""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.neurons.kernels.sharing import Compiled, share

_WORTH_A_THREAD = 1 << 16  # numbers


def scale_rows(rows: Tensor, factor: Tensor, other: Tensor) -> Tensor:
    """Multiply every row of `rows` by its factor, in place.

    Args:
        rows: `[F, ...]`.
        factor: `[F]`.
        other: of the shape of `rows`.

    Returns:
        Every row's dot product with that of `other` before it was multiplied, `[F]`.
    """
    of = rows.flatten(1), other.flatten(1)
    if not (
        all(t.dtype == torch.float32 and t.device.type == "cpu" and t.is_contiguous() for t in of)
        and rows.is_contiguous()
        and factor.dtype == torch.float32
        and importlib.util.find_spec("numba") is not None
    ):
        dots: Tensor = torch.linalg.vecdot(*of)
        rows.mul_(factor.view(-1, *[1] * (rows.dim() - 1)))
        return dots
    dots = torch.empty(len(rows))
    worth = -(-_WORTH_A_THREAD // max(1, of[0].shape[1]))
    share(_compiled(), (*of, factor.contiguous(), dots), len(rows), worth, grain=1)
    return dots


def _scale(rows: Any, other: Any, factor: Any, dots: Any, start: int, stop: int) -> None:
    for f in range(start, stop):
        row, beside, by = rows[f], other[f], factor[f]
        dot = np.float32(0.0)
        for k in range(rows.shape[1]):
            dot += row[k] * beside[k]
            row[k] *= by
        dots[f] = dot


@functools.cache
def _compiled() -> Compiled:
    from numba import types

    from sigprop_snn.neurons.kernels.compiling import compiled

    plane, line = (types.Array(types.float32, axes, "C") for axes in (2, 1))
    # Vectors keep sums of their own, in another order than row by row.
    return compiled(_scale, plane, plane, line, line, fastmath={"reassoc", "contract"})
