"""The local loss of rectified voltages and its gradient, in one kernel.

The arrays are small, so torch's twenty operations on them cost more than the numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.neurons.engines.cpu.linear import dot
from sigprop_snn.neurons.engines.cpu.rows import LANES, add_weighted_rows
from sigprop_snn.neurons.engines.cpu.threads import Kernel, run_kernel
from sigprop_snn.neurons.engines.engine import Compared
from sigprop_snn.neurons.engines.reference import FLOOR

MOST_OTHERS = 1 << 16  # numbers of the contexts: they stay in a core's cache from row to row
_MIN_ROWS = 16


def compare_rectified(
    voltage: Tensor, samples: int, columns: Tensor, scale: float, smoothing: float
) -> Compared:
    """Do what `Engine.compare_rectified` does; the voltages are float32 and contiguous."""
    shown = F.pad(voltage.relu(), (0, -voltage.shape[1] % LANES))
    rows, others = shown[:samples], shown[samples:]
    inverse = torch.linalg.vector_norm(others, dim=1).clamp_(min=FLOOR).reciprocal_()
    scores, losses = shown.new_empty(samples, len(others)), shown.new_empty(samples)
    # How the loss changes with the product of a row and a context, and with its cosine in parts.
    products, along, grad = (torch.empty_like(each) for each in (scores, scores, shown))
    arguments = rows, others, inverse, columns, float(scale), float(smoothing)
    found = scores, losses, products, along, grad
    run_kernel(_compare_rows, (*arguments, *found), samples, min_chunk=_MIN_ROWS)
    back = along.sum(0).mul_(inverse.square_())[:, None]
    by_others = torch.addmm(back * others, products.t(), rows, beta=-1.0)
    grad[samples:] = torch.ops.aten.threshold_backward(by_others, others, 0)
    return Compared(scores, losses, grad[:, : voltage.shape[1]].contiguous())


@Kernel
def _compare_rows(
    rows: Any, others: Any, inverse: Any, columns: Any, scale: float, smoothing: float,
    scores: Any, losses: Any, products: Any, along: Any, grad: Any, first: int, last: int,
) -> None:  # fmt: skip
    """Compare rows `first` to `last` with all contexts; write their part of the gradient.

    With c = s t / (|s| |t|), dc/ds = t / (|s| |t|) - c s / |s|^2.
    """
    count, width = others.shape
    every = np.arange(count).astype(np.uint16)
    total = np.empty(width, np.float32)
    for n in range(first, last):
        shown, score, slopes, factors = rows[n], scores[n], along[n], products[n]
        own = np.float32(1.0) / max(np.sqrt(dot(shown, shown)), np.float32(FLOOR))
        most, odds, column = np.float32(-np.inf), np.float32(0.0), columns[n]
        for m in range(count):
            factors[m] = own * inverse[m]
            score[m] = scale * factors[m] * dot(shown, others[m])
            most = max(most, score[m])
        for m in range(count):
            slopes[m] = np.exp(score[m] - most)
            odds += slopes[m]
        loss, back = most + np.log(odds), np.float32(0.0)
        for m in range(count):
            target = smoothing / np.float32(count)
            target += np.float32(1.0) - smoothing if m == column else np.float32(0.0)
            loss -= target * score[m]
            slope = (slopes[m] / odds - target) / np.float32(len(rows))
            slopes[m] = slope * score[m]
            factors[m] *= slope * scale
            back += slopes[m]
        losses[n] = loss if 0 <= column < count else np.float32(np.nan)
        back *= own * own
        for f in range(width):
            total[f] = -back * shown[f]
        add_weighted_rows(total, 0, others, 0, width, every, 0, count, factors, width)
        into = grad[n]
        for f in range(width):  # where nothing shows, nothing is learned; a NaN stays one
            into[f] = np.float32(0.0) if shown[f] <= 0 else total[f]
