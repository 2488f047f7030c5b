"""Cross-entropy of the cosines of rows with a few others, and its gradient, in one pass.

With c = s t / (|s| |t|), dc/ds = t / (|s| |t|) - c s / |s|^2. A row's scores, its share of the
loss and its gradient need nothing of the other rows; only the others' gradient sums over them.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.neurons.kernels.sharing import Compiled, share

_FLOOR = np.float32(1e-12)  # keeps what is silent finite
_WORTH_A_THREAD = 1 << 18  # multiplications


class CosineCrossEntropy(NamedTuple):
    """How N rows compare with M others.

    Attributes:
        scores: the scaled cosines, `[N, M]`.
        losses: every row's cross-entropy, `[N]`.
        of_rows: the gradient of their mean, `[N, D]`.
        of_others: the same, `[M, D]`.
    """

    scores: Tensor
    losses: Tensor
    of_rows: Tensor
    of_others: Tensor


def fits_cosines(rows: Tensor, others: Tensor, columns: Tensor) -> bool:
    """Return whether `cosine_cross_entropy` takes this: float32 on the CPU, columns by number."""
    return (
        all(t.dtype == torch.float32 and t.device.type == "cpu" for t in (rows, others))
        and rows.dim() == others.dim() == 2
        and len(rows) > 0
        and columns.dim() == 1
        and columns.dtype == torch.int64
        and columns.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and importlib.util.find_spec("numba") is not None
    )


def cosine_cross_entropy(
    rows: Tensor, others: Tensor, columns: Tensor, scale: float, smoothing: float
) -> CosineCrossEntropy:
    """Compare rows with others and find the gradient of the mean cross-entropy.

    Args:
        rows: `[N, D]`.
        others: `[M, D]`.
        columns: which of the others is right for every row, `[N]`; where there is no such, the
            loss is NaN.
        scale: what cosines are multiplied by.
        smoothing: share of what is right that is spread over all others.
    """
    s, t = (of.detach().contiguous() for of in (rows, others))
    # The scores by themselves: they are kept, when the others are long gone.
    scores, by_product, along = (torch.empty(len(s), len(t)) for _ in range(3))
    lengths, losses, of_rows = torch.empty(len(t)), torch.empty(len(s)), torch.empty_like(s)
    given = (
        s, t, columns.detach().contiguous(), scale, smoothing,
        scores, by_product, along, lengths, losses, of_rows,
    )  # fmt: skip
    worth = -(-_WORTH_A_THREAD // max(1, t.numel()))
    share(_compiled(), given, len(s), worth=worth, grain=1)
    with torch.autocast("cpu", enabled=False):
        of_others = by_product.t() @ s
    aside = along.sum(0).mul_(lengths).mul_(lengths)
    return CosineCrossEntropy(
        scores, losses, of_rows, of_others.addcmul_(aside[:, None], t, value=-1.0)
    )


def _cosine_cross_entropy(
    rows: Any, others: Any, columns: Any, scale: Any, smoothing: Any,
    scores: Any, by_product: Any, along: Any, lengths: Any, losses: Any, of_rows: Any,
    start: int, stop: int,
) -> None:  # fmt: skip
    count, size = rows.shape
    many = others.shape[0]
    one = np.float32(1.0)
    by = np.empty(many, np.float32)  # one over the others' lengths
    for m in range(many):
        t = others[m]
        square = np.float32(0.0)
        for d in range(size):
            square += t[d] * t[d]
        by[m] = one / max(np.float32(math.sqrt(square)), _FLOOR)
        if start == 0:
            lengths[m] = by[m]
    spread = smoothing / np.float32(many)
    for n in range(start, stop):
        s, into, score = rows[n], of_rows[n], scores[n]
        square = np.float32(0.0)
        for d in range(size):
            square += s[d] * s[d]
        own = one / max(np.float32(math.sqrt(square)), _FLOOR)
        most = np.float32(-np.inf)
        for m in range(many):
            t = others[m]
            product = np.float32(0.0)
            for d in range(size):
                product += s[d] * t[d]
            by_product[n, m] = product * own * by[m]
            score[m] = scale * by_product[n, m]
            most = max(most, score[m])
        total = np.float32(0.0)
        for m in range(many):
            total += np.float32(math.exp(score[m] - most))
        log_total = most + np.float32(math.log(total))
        loss = np.float32(0.0) if 0 <= columns[n] < many else np.float32(np.nan)
        back = np.float32(0.0)
        for m in range(many):
            right = spread + (one - smoothing if m == columns[n] else np.float32(0.0))
            loss += right * (log_total - score[m])
            share = np.float32(math.exp(score[m] - log_total))
            grad = scale / np.float32(count) * (share - right)
            along[n, m] = grad * by_product[n, m]
            back += along[n, m]
            by_product[n, m] = grad * own * by[m]
        losses[n] = loss
        back *= own * own
        for d in range(size):
            into[d] = -back * s[d]
        for m in range(many):
            t, grad = others[m], by_product[n, m]
            for d in range(size):
                into[d] += grad * t[d]


@functools.cache
def _compiled() -> Compiled:
    from numba import types

    from sigprop_snn.neurons.kernels.compiling import compiled

    real = types.float32
    plane, line = types.Array(real, 2, "C"), types.Array(real, 1, "C")
    # Vectors keep sums of their own, in another order than number by number.
    return compiled(
        _cosine_cross_entropy, plane, plane, types.Array(types.int64, 1, "C"), real, real,
        plane, plane, plane, line, line, plane,
        fastmath={"reassoc", "contract"},
    )  # fmt: skip
