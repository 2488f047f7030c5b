"""The cross-entropy of cosines on the CPU; `neurons/engines/cosines.py` computes it with torch.

For some hundred rows the calls of torch's twenty operations take longer than their sums.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.neurons.engines.cpu.threads import Kernel, jitable, jitable_sum, run_kernel
from sigprop_snn.neurons.engines.engine import CosineCrossEntropy, RowComparison
from sigprop_snn.neurons.engines.reference import FLOOR

MOST_OTHERS = 32  # with more of them dense products are faster
_MIN_CHUNK = 1 << 18  # multiplications for which a thread pays


def compare_rectified(
    voltage: Tensor, samples: int, columns: Tensor, scale: float, smoothing: float
) -> RowComparison:
    """Compare the rectified voltages of samples and contexts; see `Engine.compare_rectified`.

    Args:
        voltage: float32, contiguous, `[B + M, F]`.
        samples: B, at least 1.
        columns: int64, `[B]`.
        scale: as there.
        smoothing: as there.
    """
    return _compare(voltage, samples, columns, scale, smoothing, 0.0)


def cosine_cross_entropy(
    rows: Tensor, others: Tensor, columns: Tensor, scale: float, smoothing: float
) -> CosineCrossEntropy:
    """Compare rows with others; see `Engine.cosine_cross_entropy`.

    Args:
        rows: float32, `[B, F]`, at least one.
        others: float32, `[M, F]`.
        columns: int64, `[B]`.
        scale: as there.
        smoothing: as there.
    """
    count, both = len(rows), torch.cat([rows, others])
    scores, losses, grad = _compare(both, count, columns, scale, smoothing, -math.inf)
    return CosineCrossEntropy(scores, losses, grad[:count], grad[count:])


def _compare(
    both: Tensor, samples: int, columns: Tensor, scale: float, smoothing: float, lowest: float
) -> RowComparison:
    """Compare the first rows with those behind them; numbers below the lowest count as it."""
    others = both[samples:].clamp(min=lowest)
    scores = torch.empty(samples, len(others), dtype=torch.float32)
    losses = torch.empty(samples, dtype=torch.float32)
    grad = torch.empty_like(both)
    factors = torch.empty(2, samples, len(others), dtype=torch.float32)
    run_kernel(
        _compare_samples,
        (both, others, columns, scale, smoothing, lowest, scores, losses, factors, grad),
        samples, min_chunk=max(1, _MIN_CHUNK // others.numel()),
    )  # fmt: skip
    run_kernel(_compare_others, (both, others, lowest, factors, grad), len(others))
    return RowComparison(scores, losses, grad)


@jitable_sum
def scalar_product(one: Any, other: Any) -> Any:
    """Return the scalar product of two rows."""
    total = np.float32(0.0)
    for f in range(len(one)):
        total += one[f] * other[f]
    return total


@jitable
def _inverse_length(row: Any) -> Any:
    return np.float32(1.0) / max(np.sqrt(scalar_product(row, row)), np.float32(FLOOR))


@jitable
def _add_multiple(into: Any, row: Any, lowest: Any, factor: Any) -> None:
    """Add a multiple of a row."""
    for f in range(len(into)):
        into[f] += factor * max(row[f], lowest)


@jitable
def _leave_direction(grad: Any, row: Any, lowest: Any, along: Any, inverse: Any) -> None:
    """Take off what only lengthens a row, and what changes a number that counts as the lowest."""
    factor = along * inverse * inverse
    for f in range(len(grad)):
        grad[f] = grad[f] - factor * row[f] if row[f] > lowest else np.float32(0.0)


@Kernel
def _compare_samples(
    both: Any, others: Any, columns: Any, scale: Any, smoothing: Any, lowest: Any, scores: Any,
    losses: Any, factors: Any, grad: Any, first: int, last: int,
) -> None:  # fmt: skip
    """Compare samples `first` to `last` with all others.

    With c = s t / (|s| |t|), dc/ds = t / (|s| |t|) - c s / |s|^2. The derivative of a loss by c,
    over |s| |t|, and the same times c are left in `factors`.
    """
    count, zero, one = len(others), np.float32(0.0), np.float32(1.0)
    inverses, chances = np.empty(count, np.float32), np.empty(count, np.float32)
    cosines = np.empty(count, np.float32)
    for c in range(count):
        inverses[c] = _inverse_length(others[c])
    for row in range(first, last):
        given, score, into = both[row], scores[row], grad[row]
        for f in range(len(given)):
            into[f] = max(given[f], lowest)
        inverse = _inverse_length(into)
        for c in range(count):
            cosines[c] = scalar_product(into, others[c]) * (inverse * inverses[c])
            score[c] = scale * cosines[c]
        most, total = score.max(), zero
        for c in range(count):
            chances[c] = np.exp(score[c] - most)
            total += chances[c]
        column, loss, whole = columns[row], zero, np.log(total) + most
        inside = 0 <= column < count
        column = min(max(column, 0), count - 1)
        along = zero
        into[:] = zero
        for c in range(count):
            target = smoothing / np.float32(count) + (one - smoothing if c == column else zero)
            loss -= target * (score[c] - whole)
            slope = (chances[c] / total - target) * scale / np.float32(len(scores))
            factors[0, row, c] = slope * (inverse * inverses[c])
            factors[1, row, c] = slope * cosines[c]
            along += factors[1, row, c]
            _add_multiple(into, others[c], lowest, factors[0, row, c])
        losses[row] = loss if inside else np.float32(np.nan)
        _leave_direction(into, given, lowest, along, inverse)


@Kernel
def _compare_others(
    both: Any, others: Any, lowest: Any, factors: Any, grad: Any, first: int, last: int
) -> None:
    """Fill the gradients of others `first` to `last`."""
    samples, zero = factors.shape[1], np.float32(0.0)
    for c in range(first, last):
        into, along = grad[samples + c], zero
        into[:] = zero
        for row in range(samples):
            along += factors[1, row, c]
            _add_multiple(into, both[row], lowest, factors[0, row, c])
        _leave_direction(into, both[samples + c], lowest, along, _inverse_length(others[c]))
