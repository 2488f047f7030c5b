"""Event-driven products: the cost of a synapse in proportion to its spikes.

A spike that did not come needs no multiplication, and a neuron that fires at several steps in a
row is read once (`windows`). Event counts, which are more than 0 and 1, go row by row (`rows`).
What has no kernel, or would be slower by one, takes the processor's dense product.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.neurons.kernels.listing import MOST_NEURONS, Windows, list_windows
from sigprop_snn.neurons.kernels.packed import WINDOW, Packed, pack, unpacked
from sigprop_snn.neurons.kernels.rows import rows_outer, rows_product
from sigprop_snn.neurons.kernels.windows import windows_outer, windows_product

_DENSEST = 0.3  # share of the weights that are read up to which a kernel is the faster one
_DENSEST_OUTER = 0.2  # the same for the gradient of the weight of event counts
_MOST_READ = 0.14  # share of a weight's gradient that windows may touch and still be faster
_PROBED = 64  # rows looked at to tell
_WORTH_IT = 1 << 27  # products below this are quicker done densely than looked at
_DTYPES = (torch.float32, torch.bfloat16)


def event_linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return `inputs @ weight.T + bias`, by events where that is faster.

    Equal to `torch.nn.functional.linear` within rounding, gradients included, and under autocast
    to bfloat16 closer to the exact result; what has no kernel (other devices, dtypes, dense
    inputs) goes to that function.

    Args:
        inputs: mostly zeros, `[N, K]`, or `[T, N, K]` for N samples that go on in time.
        weight: `[F, K]`.
        bias: `[F]`, or none.
    """
    if inputs.dim() not in (2, 3) or not (
        fits_activity(inputs) and fits_weights(inputs.shape[:-1].numel(), weight, bias)
    ):
        return F.linear(inputs, weight, bias)
    stepped = inputs if inputs.dim() == 3 else inputs.unsqueeze(0)
    half = torch.is_autocast_enabled("cpu")
    # Read once for four steps, even weights that are all needed cost no more than multiplying them.
    sparse = len(stepped) < WINDOW and _density(stepped) <= _DENSEST
    windows = None
    if sparse or len(stepped) >= WINDOW:
        windows = _listed(stepped)
    if windows is None and (half or not (sparse or _density(stepped) <= _DENSEST)):
        return F.linear(inputs, weight, bias)
    dtype = torch.bfloat16 if half else torch.float32
    product: Tensor = _EventLinear.apply(stepped, weight, bias, windows, dtype)
    return product if inputs.dim() == 3 else product.squeeze(0)


class _EventLinear(torch.autograd.Function):
    """The product by events, and its weight's gradient by the same events."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        windows: Windows | None,
        dtype: torch.dtype,
    ) -> Tensor:
        ctx.windows = windows
        ctx.input_dtype = inputs.dtype
        if windows is not None:
            ctx.save_for_backward(weight, inputs)
            return windows_product(windows, weight, bias, dtype)
        ctx.save_for_backward(weight, inputs)
        out = rows_product(inputs.flatten(0, 1), weight, bias)
        return out.view(*inputs.shape[:2], -1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        weight, inputs = ctx.saved_tensors
        flat = grad.flatten(0, 1)
        outer = None
        if ctx.needs_input_grad[1]:
            listed = ctx.windows is not None
            outer = _outer(ctx.windows, inputs, grad) if listed else event_outer(inputs, grad)
        return (
            (grad @ weight.to(grad)).to(ctx.input_dtype) if ctx.needs_input_grad[0] else None,
            outer,
            flat.sum(0, dtype=torch.float32) if ctx.needs_input_grad[2] else None,
            None,
            None,
        )


def event_outer(inputs: Tensor | Packed, grad: Tensor) -> Tensor:
    """Return the weight's gradient of `event_linear`, `[F, K]`, by events where that is faster.

    Args:
        inputs: `[N, K]`, or `[T, N, K]`.
        grad: of the product, `[N, F]` or `[T, N, F]`.
    """
    if isinstance(inputs, Packed):
        return _outer(list_windows(inputs), inputs, grad)
    if (
        inputs.device.type == "cpu"
        and inputs.dtype in _DTYPES
        and grad.dtype in _DTYPES
        and inputs.dim() == 3  # rows without steps are traces, which are hardly ever sparse
        and inputs.shape[2] <= MOST_NEURONS
        and inputs.numel() * grad.shape[-1] >= _WORTH_IT
        and (len(inputs) >= WINDOW or _density(inputs) <= _DENSEST_OUTER)
        and importlib.util.find_spec("numba") is not None
    ):
        windows = _listed(inputs)
        if windows is not None:
            return _outer(windows, inputs, grad)
        if inputs.dtype == grad.dtype == torch.float32 and _density(inputs) <= _DENSEST_OUTER:
            return rows_outer(inputs.flatten(0, 1), grad.reshape(-1, grad.shape[-1]))
    return _dense_outer(inputs, grad)


def _listed(inputs: Tensor) -> Windows | None:
    packed = pack(inputs)
    return None if packed is None else list_windows(packed)


def _outer(windows: Windows, inputs: Tensor | Packed, grad: Tensor) -> Tensor:
    """Return the gradient of the weight of listed spikes, the faster way."""
    if windows.read() > _MOST_READ:
        return _dense_outer(unpacked(inputs), grad)
    return windows_outer(windows, grad.float())


def _dense_outer(inputs: Tensor, grad: Tensor) -> Tensor:
    flat = inputs.reshape(-1, inputs.shape[-1])
    return grad.reshape(-1, grad.shape[-1]).t() @ flat.to(grad)


def fits_activity(activity: Tensor) -> bool:
    """Return whether kernels read this activity, if it is spikes."""
    return activity.device.type == "cpu" and (
        activity.dtype == torch.float32
        or (activity.dtype == torch.bfloat16 and torch.is_autocast_enabled("cpu"))
    )


def fits_weights(rows: int, weight: Tensor, bias: Tensor | None) -> bool:
    """Return whether kernels multiply these weights, and so many rows of activity are worth it."""
    weights = [weight] if bias is None else [weight, bias]
    return (
        all(t.device.type == "cpu" and t.dtype == torch.float32 for t in weights)
        and (
            not torch.is_autocast_enabled("cpu")
            or torch.get_autocast_dtype("cpu") == torch.bfloat16
        )
        and not torch.compiler.is_compiling()
        and (weight.dim() > 2 or weight.shape[1] <= MOST_NEURONS)
        and rows * weight.numel() >= _WORTH_IT
        and importlib.util.find_spec("numba") is not None
    )


def _density(inputs: Tensor) -> float:
    """Return what share of some rows of `[..., K]` is not zero."""
    rows = inputs.detach().flatten(0, -2)
    probed = rows[:: max(1, len(rows) // _PROBED)]
    return float(torch.count_nonzero(probed)) / max(1, probed.numel())
