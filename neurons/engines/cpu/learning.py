"""The weight gradient of a linear layer from traces, where most of the errors are 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.neurons.engines.cpu.rows import add_weighted_rows
from sigprop_snn.neurons.engines.cpu.threads import Kernel, jitable_sum, run_kernel

_MOST_ERRORS = 0.5  # fraction of a gradient that is not 0: up to it, rows are faster
_SEEN = 16  # one of so many rows tells the fraction
_MIN_ROWS = 32
_PANEL = 64  # columns: those of all rows stay in the first-level cache


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
