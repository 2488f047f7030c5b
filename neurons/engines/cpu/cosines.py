"""The local loss of rectified voltages and its gradient, in two kernels.

The arrays are small, so torch's twenty operations on them cost more than the numbers.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.neurons.engines.cpu.linear import dot
from sigprop_snn.neurons.engines.cpu.rows import LANES, add_weighted_rows
from sigprop_snn.neurons.engines.cpu.threads import Kernel, jitable, run_kernel
from sigprop_snn.neurons.engines.engine import Compared
from sigprop_snn.neurons.engines.reference import FLOOR

MOST_OTHERS = 1 << 16  # numbers of the contexts: they stay in a core's cache from row to row
_MIN_ROWS = 16
_CHUNK = 64  # features


def compare_rectified(
    voltage: Tensor, samples: int, columns: Tensor, scale: float, smoothing: float
) -> Compared:
    """Do what `Engine.compare_rectified` does; the voltages are float32 and contiguous."""
    others = F.pad(voltage[samples:].relu(), (0, -voltage.shape[1] % LANES))
    inverse = torch.linalg.vector_norm(others, dim=1).clamp_(min=FLOOR).reciprocal_()
    scores, losses = voltage.new_empty(samples, len(others)), voltage.new_empty(samples)
    # How the loss changes with the product of a row and a context, and with its cosine in parts.
    products, along = voltage.new_empty(len(others), samples), torch.empty_like(scores)
    grad = torch.empty_like(voltage)
    arguments = voltage, others, inverse, columns, float(scale), float(smoothing)
    found = scores, losses, products, along, grad
    run_kernel(_compare_rows, (*arguments, *found), samples, min_chunk=_MIN_ROWS)
    back = along.sum(0).mul_(inverse.square_())
    chunks = math.ceil(voltage.shape[1] / _CHUNK)
    run_kernel(_compare_others, (voltage, products, back, grad), chunks)
    return Compared(scores, losses, grad)


@jitable
def _rectified(value: Any) -> Any:
    return np.float32(0.0) if value <= 0 else value  # a NaN stays one, as in torch


@Kernel
def _compare_rows(
    voltage: Any, others: Any, inverse: Any, columns: Any, scale: float, smoothing: float,
    scores: Any, losses: Any, products: Any, along: Any, grad: Any, first: int, last: int,
) -> None:  # fmt: skip
    """Compare rows `first` to `last` with all contexts; write their part of the gradient.

    With c = s t / (|s| |t|), dc/ds = t / (|s| |t|) - c s / |s|^2.
    """
    count, width = others.shape
    rows, features = len(scores), voltage.shape[1]
    every = np.arange(count).astype(np.uint16)
    factors, shown = np.empty(count, np.float32), np.zeros(width, np.float32)
    total = np.zeros(width, np.float32)
    for n in range(first, last):
        given, score, slopes = voltage[n], scores[n], along[n]
        for f in range(features):
            shown[f] = _rectified(given[f])
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
            slope = (slopes[m] / odds - target) / np.float32(rows)
            slopes[m] = slope * score[m]
            factors[m] *= slope * scale
            products[m, n] = factors[m]
            back += slopes[m]
        losses[n] = loss if 0 <= column < count else np.float32(np.nan)
        back *= own * own
        for f in range(width):
            total[f] = -back * shown[f]
        add_weighted_rows(total, 0, others, 0, width, every, 0, count, factors, width)
        into = grad[n]
        for f in range(features):
            into[f] = np.float32(0.0) if given[f] <= 0 else total[f]


@Kernel
def _compare_others(
    voltage: Any, products: Any, back: Any, grad: Any, first: int, last: int
) -> None:
    """Write the gradient of the contexts, behind that of the rows, for some chunks of features."""
    count, rows = products.shape
    every = np.arange(rows).astype(np.uint16)
    shown, total = np.zeros((rows, _CHUNK), np.float32), np.empty(_CHUNK, np.float32)
    for chunk in range(first, last):
        left = chunk * _CHUNK
        here = min(_CHUNK, voltage.shape[1] - left)
        for n in range(rows):
            given, into = voltage[n, left : left + here], shown[n]
            for f in range(here):
                into[f] = _rectified(given[f])
        for m in range(count):
            given = voltage[rows + m, left : left + here]
            total[:] = 0
            for f in range(here):
                total[f] = -back[m] * _rectified(given[f])
            add_weighted_rows(total, 0, shown, 0, _CHUNK, every, 0, rows, products[m], _CHUNK)
            into = grad[rows + m, left : left + here]
            for f in range(here):
                into[f] = np.float32(0.0) if given[f] <= 0 else total[f]
