"""Kernels of the losses and the weight updates, each in one pass over its arrays.

- `cosine_cross_entropy`: the cross-entropy of cosines, with its gradient.
- `surrogate_mean`: the fast sigmoid's mean over time; `surrogate_current_gradient`: its gradient.
- `scale_rows`: rows multiplied by a factor, with their dot products before that.

Each kernel has a function `why_not_...`: it returns why the kernel does not take some arguments.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.neurons.base import Neuron
from sigprop_snn.neurons.engines.cpu.threads import (
    CACHE_LINE,
    Array,
    Kernel,
    jitable,
    kernel,
    run_kernel,
)
from sigprop_snn.neurons.engines.engine import CosineCrossEntropy
from sigprop_snn.neurons.engines.plain import why_not_fast_sigmoid
from sigprop_snn.surrogates import FastSigmoid

# The least work of one chunk: a smaller one would not pay for the hand-over to another thread.
_MIN_PRODUCTS = 1 << 18
_MIN_VOLTAGES = 1 << 16
_MIN_WEIGHTS = 1 << 16
_FLOOR = np.float32(1e-12)  # the smallest length: a row of zeros stays finite
_BLOCK = 1024  # neurons at a time: their sums stay in the first-level cache
_LIMIT = np.float32(torch.finfo(torch.float32).max / 8)  # the bound of slope * u in `surrogates`
_LINE, _PLANE = Array(torch.float32, 1), Array(torch.float32, 2)


def why_not_cosines(rows: Tensor, others: Tensor, columns: Tensor) -> str | None:
    """Return why `cosine_cross_entropy` does not take these arguments, or none."""
    for name, tensor in (("rows", rows), ("others", others)):
        if tensor.dim() != 2 or len(tensor) == 0:
            return f"{name} have shape {list(tensor.shape)}; the kernel takes [N, D]"
        reason = _why_not_float32(name, tensor)
        if reason is not None:
            return reason
    if columns.dim() != 1 or columns.dtype != torch.int64 or columns.device.type != "cpu":
        return f"the columns are {columns.dtype} {list(columns.shape)} on {columns.device}"
    return _why_not_now()


def cosine_cross_entropy(
    rows: Tensor, others: Tensor, columns: Tensor, scale: float, smoothing: float
) -> CosineCrossEntropy:
    """Compare rows with others, and find the gradient of the mean cross-entropy.

    With c = s t / (|s| |t|), dc/ds = t / (|s| |t|) - c s / |s|^2. The scores, the loss and the
    gradient of one row depend on no other row; only the gradient of the others sums over rows.

    Args:
        rows: `[N, D]`.
        others: `[M, D]`.
        columns: the index of the right other for every row, `[N]`. The loss is NaN where the
            index is outside of 0 to M - 1.
        scale: the factor of the cosines.
        smoothing: the part of the target that is spread over all others.
    """
    rows, others = rows.detach().contiguous(), others.detach().contiguous()
    scores, grad_products, radial = torch.empty(3, len(rows), len(others))
    inverse_lengths, losses = torch.empty(len(others)), torch.empty(len(rows))
    grad_rows = torch.empty_like(rows)
    arguments = (
        rows, others, columns.detach().contiguous(), scale, smoothing,
        scores, grad_products, radial, inverse_lengths, losses, grad_rows,
    )  # fmt: skip
    min_rows = -(-_MIN_PRODUCTS // max(1, others.numel()))
    run_kernel(_cosines, arguments, len(rows), min_chunk=min_rows)
    with torch.autocast("cpu", enabled=False):
        grad_others = grad_products.t() @ rows
    along_others = radial.sum(0).mul_(inverse_lengths).mul_(inverse_lengths)
    grad_others.addcmul_(along_others[:, None], others, value=-1.0)
    return CosineCrossEntropy(scores, losses, grad_rows, grad_others)


def why_not_surrogate(neuron: Neuron, voltage: Tensor) -> str | None:
    """Return why no kernel here takes a neuron's surrogate and its voltages, or none."""
    return why_not_fast_sigmoid(neuron) or _why_not_float32("voltages", voltage) or _why_not_now()


def surrogate_mean(neuron: Neuron, voltage: Tensor) -> Tensor:
    """Return the mean over time of f((U[t] - threshold) / unit), `[N, ...]`.

    Args:
        neuron: its surrogate is the fast sigmoid f.
        voltage: U, `[T, N, ...]`.
    """
    stored, channel = _in_memory_order(voltage)
    mean = torch.zeros(stored.shape[1:])
    _run_over_neurons(_mean, stored, mean.flatten(), *_surrogate_constants(neuron))
    return mean.movedim(-1, channel)


def surrogate_current_gradient(
    neuron: Neuron, voltage: Tensor, grad_mean: Tensor, first: float, ratio: float
) -> Tensor:
    """Return the gradient of the currents `[T, N, ...]`, with the resets held constant.

    Args:
        neuron: as in `surrogate_mean`.
        voltage: its voltages, `[T, N, ...]`.
        grad_mean: the gradient of the result of `surrogate_mean`, `[N, ...]`.
        first: the membrane's response to a unit current in the step of that current.
        ratio: the part of the response that is left after each further step.
    """
    stored, channel = _in_memory_order(voltage)
    grad_step = (grad_mean / (len(voltage) * neuron.unit)).movedim(channel, -1)
    grad = torch.empty_like(stored)
    constants = (*_surrogate_constants(neuron), first, ratio)
    _run_over_neurons(
        _gradient, stored, grad_step.flatten().contiguous(), grad.flatten(1), *constants
    )
    return grad.movedim(-1, channel)


def _run_over_neurons(kernel: Kernel, voltage: Tensor, *arguments: Any) -> None:
    steps = voltage.flatten(1)
    run_kernel(
        kernel, (steps, *arguments), steps.shape[1],
        min_chunk=_MIN_VOLTAGES // len(steps), chunk_multiple=CACHE_LINE,
    )  # fmt: skip


def why_not_rows(rows: Tensor, factor: Tensor, other: Tensor) -> str | None:
    """Return why `scale_rows` does not take these arguments, or none."""
    for name, tensor in (("rows", rows), ("factors", factor), ("other rows", other)):
        reason = _why_not_float32(name, tensor)
        if reason is not None:
            return reason
    if not (rows.is_contiguous() and other.is_contiguous()):
        return "the rows are not contiguous"
    return _why_not_now()


def scale_rows(rows: Tensor, factor: Tensor, other: Tensor) -> Tensor:
    """Multiply every row by its factor, in place.

    Args:
        rows: `[F, ...]`.
        factor: `[F]`.
        other: in the shape of `rows`.

    Returns:
        The dot product of every row, before the multiplication, with that of `other`, `[F]`.
    """
    flat = rows.flatten(1)
    dots = torch.empty(len(rows))
    min_rows = -(-_MIN_WEIGHTS // max(1, flat.shape[1]))
    arguments = flat, other.flatten(1), factor.contiguous(), dots
    run_kernel(_scale, arguments, len(rows), min_chunk=min_rows)
    return dots


def _why_not_float32(name: str, tensor: Tensor) -> str | None:
    if tensor.dtype == torch.float32 and tensor.device.type == "cpu":
        return None
    return f"the {name} are {tensor.dtype} on {tensor.device}; the kernel takes float32 on the CPU"


def _why_not_now() -> str | None:
    return "torch.compile traces eager operations" if torch.compiler.is_compiling() else None


def _in_memory_order(voltage: Tensor) -> tuple[Tensor, int]:
    """Return voltages as contiguous memory, and where their last axis belongs.

    Feature maps that are stored with their channels last become `[T, N, H, W, C]`.
    """
    if voltage.dim() == 5 and not voltage.is_contiguous():
        channels_last = voltage.movedim(2, -1)
        if channels_last.is_contiguous():
            return channels_last, -3
    return voltage.contiguous(), -1


def _surrogate_constants(neuron: Neuron) -> tuple[float, float, float]:
    surrogate = neuron.surrogate
    assert isinstance(surrogate, FastSigmoid)
    assert isinstance(surrogate.slope, float | int)
    return float(neuron.threshold), float(neuron.unit), float(surrogate.slope)


@jitable
def _dot(row: Any, other: Any) -> Any:
    total = np.float32(0.0)
    for d in range(row.shape[0]):
        total += row[d] * other[d]
    return total


@jitable
def _inverse_length(row: Any) -> Any:
    return np.float32(1.0) / max(np.float32(math.sqrt(_dot(row, row))), _FLOOR)


@jitable
def _cross_entropy(
    cosines: Any, column: Any, scale: Any, smoothing: Any, scores: Any, grad_cosines: Any
) -> Any:
    """Write the scores of one row and the gradient of its cosines; return its loss."""
    count = cosines.shape[0]
    largest = np.float32(-np.inf)
    for m in range(count):
        scores[m] = scale * cosines[m]
        largest = max(largest, scores[m])
    total = np.float32(0.0)
    for m in range(count):
        total += np.float32(math.exp(scores[m] - largest))
    log_total = largest + np.float32(math.log(total))
    loss = np.float32(0.0) if 0 <= column < count else np.float32(np.nan)
    spread = smoothing / np.float32(count)
    for m in range(count):
        target = spread + (np.float32(1.0) - smoothing if m == column else np.float32(0.0))
        loss += target * (log_total - scores[m])
        grad_cosines[m] = scale * (np.float32(math.exp(scores[m] - log_total)) - target)
    return loss


@kernel(
    _PLANE, _PLANE, Array(torch.int64, 1), float, float,
    _PLANE, _PLANE, _PLANE, _LINE, _LINE, _PLANE,
    fastmath={"reassoc", "contract"},  # dot products by vectors
)  # fmt: skip
def _cosines(
    rows: Any, others: Any, columns: Any, scale: Any, smoothing: Any,
    scores: Any, grad_products: Any, radial: Any, inverse_lengths: Any, losses: Any,
    grad_rows: Any, start: int, stop: int,
) -> None:  # fmt: skip
    """Compare rows `start` to `stop`.

    `grad_products` takes the gradient of the dot products s t, and `radial` that of the cosines
    times the cosines, both `[N, M]`.
    """
    count = others.shape[0]
    inverse_others = np.empty(count, np.float32)
    for m in range(count):
        inverse_others[m] = _inverse_length(others[m])
    if start == 0:
        inverse_lengths[:] = inverse_others
    cosines = np.empty(count, np.float32)
    weight = np.float32(1.0) / np.float32(rows.shape[0])
    for n in range(start, stop):
        row, grad_row, grads = rows[n], grad_rows[n], grad_products[n]
        inverse = _inverse_length(row)
        for m in range(count):
            cosines[m] = _dot(row, others[m]) * inverse * inverse_others[m]
        losses[n] = _cross_entropy(cosines, columns[n], scale, smoothing, scores[n], grads)
        along_row = np.float32(0.0)
        for m in range(count):
            grad_cosine = weight * grads[m]
            radial[n, m] = grad_cosine * cosines[m]
            along_row += radial[n, m]
            grads[m] = grad_cosine * inverse * inverse_others[m]
        along_row *= inverse * inverse
        for d in range(row.shape[0]):
            grad_row[d] = -along_row * row[d]
        for m in range(count):
            other, grad = others[m], grads[m]
            for d in range(row.shape[0]):
                grad_row[d] += grad * other[d]


@jitable
def _scaled(voltage: Any, threshold: Any, unit: Any, slope: Any) -> Any:
    """Return slope * u, kept finite, for u = (U - threshold) / unit."""
    return min(max(slope * ((voltage - threshold) / unit), -_LIMIT), _LIMIT)


@kernel(_PLANE, _LINE, float, float, float)
def _mean(
    voltage: Any, mean: Any, threshold: Any, unit: Any, slope: Any, start: int, stop: int
) -> None:
    """Fill neurons `start` to `stop` of `mean`, which starts at zero."""
    steps = voltage.shape[0]
    one, half = np.float32(1.0), np.float32(0.5)
    for first in range(start, stop, _BLOCK):
        last = min(first + _BLOCK, stop)
        total = mean[first:last]
        for t in range(steps):
            u = voltage[t, first:last]
            for n in range(last - first):
                x = _scaled(u[n], threshold, unit, slope)
                total[n] += half + half * (x / (one + abs(x)))
        for n in range(last - first):
            total[n] /= np.float32(steps)


@kernel(_PLANE, _LINE, _PLANE, float, float, float, float, float)
def _gradient(
    voltage: Any, grad_step: Any, grad: Any, threshold: Any, unit: Any, slope: Any,
    response: Any, ratio: Any, start: int, stop: int,
) -> None:  # fmt: skip
    """Fill neurons `start` to `stop` of `grad`: filter the derivative back through time."""
    one, half = np.float32(1.0), np.float32(0.5)
    filtered = np.empty(_BLOCK, np.float32)
    for first in range(start, stop, _BLOCK):
        last = min(first + _BLOCK, stop)
        filtered[:] = 0
        of_step = grad_step[first:last]
        for t in range(voltage.shape[0] - 1, -1, -1):
            u, into = voltage[t, first:last], grad[t, first:last]
            for n in range(last - first):
                below = one + abs(_scaled(u[n], threshold, unit, slope))
                derivative = half * slope / (below * below)
                filtered[n] = derivative * of_step[n] + ratio * filtered[n]
                into[n] = response * filtered[n]


@kernel(_PLANE, _PLANE, _LINE, _LINE, fastmath={"reassoc", "contract"})
def _scale(rows: Any, other: Any, factor: Any, dots: Any, start: int, stop: int) -> None:
    """Scale rows `start` to `stop`."""
    for f in range(start, stop):
        row, row_factor = rows[f], factor[f]
        dots[f] = _dot(row, other[f])
        for k in range(row.shape[0]):
            row[k] *= row_factor
