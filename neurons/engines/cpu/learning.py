"""What a linear layer learns from at one time step: its local loss and its weight gradient."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.neurons.engines.cpu.rows import add_weighted_rows
from sigprop_snn.neurons.engines.cpu.threads import Kernel, jitable_sum, run_kernel
from sigprop_snn.neurons.engines.engine import Compared, CosineCrossEntropy
from sigprop_snn.neurons.engines.reference import FLOOR

_MOST_ERRORS = 0.5  # fraction of a gradient that is not 0: up to it, rows are faster
_SEEN = 16  # one of so many rows tells the fraction
_MIN_ROWS = 32
_MOST_OTHERS = 32  # beyond them, products of torch are faster
_PANEL = 64  # columns: those of all rows stay in the first-level cache


def compares(rows: int, others: int, columns: Tensor) -> bool:
    """Return whether the kernel compares so many rows with so many others."""
    return rows > 0 and 0 < others <= _MOST_OTHERS and columns.dtype == torch.int64


def is_sparse(grad: Tensor) -> bool:
    """Return whether the product of a gradient `[N, F]` is faster by the rows that are not 0."""
    seen = grad[::_SEEN]
    return int(seen.count_nonzero()) <= _MOST_ERRORS * seen.numel()


def scaled_weight_gradient(
    rows: Tensor, grad: Tensor, weight: Tensor, factors: Tensor
) -> tuple[Tensor, Tensor]:
    """Do what `Engine.scaled_weight_gradient` does for a linear layer, where most of `grad` is 0.

    Args:
        rows: the traces, `[N, K]`; all tensors are float32, and contiguous but for this one.
        grad: the gradient of the currents, `[N, F]`.
        weight: `[F, K]`.
        factors: `[F]`.
    """
    product, dots = torch.empty_like(weight), torch.zeros(len(weight))
    run_kernel(
        _gradient, (rows, grad, weight, factors, product, dots), len(weight), min_chunk=_MIN_ROWS
    )
    return product, dots


def cosine_cross_entropy(
    rows: Tensor, others: Tensor, columns: Tensor, scale: float, smoothing: float
) -> CosineCrossEntropy:
    """Do what `Engine.cosine_cross_entropy` does; rows and others are float32 and contiguous."""
    grads = torch.empty_like(rows), torch.empty_like(others)
    found = _compare_above(-inf, rows, others, columns, scale, smoothing, *grads)
    return CosineCrossEntropy(*found)


def compare_rectified(
    voltage: Tensor, samples: int, columns: Tensor, scale: float, smoothing: float
) -> Compared:
    """Do what `Engine.compare_rectified` does; the voltages are float32 and contiguous."""
    rows, others = voltage[:samples], voltage[samples:]
    grad = torch.empty_like(voltage)
    scores, losses, *_ = _compare_above(
        0.0, rows, others, columns, scale, smoothing, grad[:samples], grad[samples:]
    )
    return Compared(scores, losses, grad)


def _compare_above(
    least: float, rows: Tensor, others: Tensor, columns: Tensor, scale: float, smoothing: float,
    grad_rows: Tensor, grad_others: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Compare max(rows, least) with max(others, least); fill the gradients of rows and others.

    Returns:
        What `CosineCrossEntropy` has.
    """
    others = others.clamp(min=least)
    inverse = torch.linalg.vector_norm(others, dim=1).clamp_(min=FLOOR).reciprocal_()
    scores = torch.empty(len(rows), len(others))  # alone: it outlives the step
    weights, along = torch.empty(2, len(rows), len(others)).unbind()
    losses, shown = torch.empty(len(rows)), torch.empty_like(rows)
    arguments = (
        rows, others, inverse, columns, float(least), float(scale), float(smoothing),
        scores, weights, along, losses, shown, grad_rows,
    )  # fmt: skip
    run_kernel(_compare, arguments, len(rows), min_chunk=_MIN_ROWS)
    of_others = weights.t() @ shown
    of_others.addcmul_((along.sum(0) * inverse.square())[:, None], others, value=-1.0)
    torch.mul(of_others, others > least, out=grad_others)
    return scores, losses, grad_rows, grad_others


@jitable_sum
def dot(one: Any, other: Any) -> Any:
    """Return the dot product of two rows."""
    total = np.float32(0.0)
    for i in range(len(one)):
        total += one[i] * other[i]
    return total


@Kernel
def _gradient(
    rows: Any, grad: Any, weight: Any, factors: Any, product: Any, dots: Any, first: int, last: int
) -> None:
    """Fill rows `first` to `last` of `[F, K]`, from the rows of traces where they have an error."""
    count, width = rows.shape
    events = np.empty((last - first, count + 1), np.uint16)
    values = np.empty((last - first, count + 1), np.float32)
    found = np.zeros(last - first, np.int64)
    for n in range(count):
        given = grad[n]
        for f in range(last - first):  # without a branch: an error moves the index
            place = found[f]
            events[f, place], values[f, place] = n, given[first + f]
            found[f] = place + (given[first + f] != 0)
    table, total = np.zeros((count, _PANEL), np.float32), np.empty(_PANEL, np.float32)
    for left in range(0, width, _PANEL):
        here = min(_PANEL, width - left)
        for n in range(count):
            into, given = table[n], rows[n][left : left + here]
            for i in range(here):
                into[i] = given[i]
        for f in range(last - first):
            total[:] = 0
            add_weighted_rows(total, 0, table, 0, _PANEL, events[f], 0, found[f], values[f], _PANEL)
            into, factor = product[first + f][left : left + here], factors[first + f]
            dots[first + f] += dot(weight[first + f][left : left + here], total)
            for i in range(here):
                into[i] = factor * total[i]


@Kernel
def _compare(
    rows: Any, others: Any, inverse: Any, columns: Any, least: Any, scale: Any, smoothing: Any,
    scores: Any, weights: Any, along: Any, losses: Any, shown: Any, grad: Any,
    first: int, last: int,
) -> None:  # fmt: skip
    """Compare rows `first` to `last` with the others; see `neurons/engines/cosines.py`."""
    count, width = others.shape
    zero, one = np.float32(0.0), np.float32(1.0)
    for row in range(first, last):
        given, seen, turned = rows[row], shown[row], grad[row]
        for i in range(width):
            seen[i] = max(given[i], least)
        own = one / max(np.sqrt(dot(seen, seen)), np.float32(FLOOR))
        largest = np.float32(-np.inf)
        for m in range(count):
            along[row, m] = dot(seen, others[m]) * own * inverse[m]
            scores[row, m] = scale * along[row, m]
            largest = max(largest, scores[row, m])
        total = zero
        for m in range(count):
            total += np.exp(scores[row, m] - largest)
        loss, back, shift = zero, zero, largest + np.log(total)
        for m in range(count):
            odds = scores[row, m] - shift
            target = smoothing / np.float32(count)
            if m == columns[row]:
                target += one - smoothing
            loss -= target * odds
            gradient = (np.exp(odds) - target) * scale / np.float32(len(scores))
            weights[row, m] = gradient * own * inverse[m]
            along[row, m] *= gradient
            back += along[row, m]
        losses[row] = loss if 0 <= columns[row] < count else np.float32(np.nan)
        back *= own * own
        for i in range(width):
            turned[i] = -back * seen[i]
        for m in range(count):
            weight, other = weights[row, m], others[m]
            for i in range(width):
                turned[i] += weight * other[i]
        for i in range(width):
            turned[i] = turned[i] if seen[i] > least else zero
