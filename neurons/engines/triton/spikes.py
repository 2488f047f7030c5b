"""Dense spikes on a GPU, with kernels for what learning asks of them."""

from __future__ import annotations

import functools

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from sigprop_snn.neurons.engines.dense import DenseSpikes
from sigprop_snn.neurons.engines.order import Order
from sigprop_snn.neurons.engines.triton.maps import halved
from sigprop_snn.neurons.pooling import halves

_BLOCK = 1024  # numbers of one program
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class DeviceSpikes(DenseSpikes):
    """Activity `[T, N, ...]` on a GPU, without a gradient; feature maps may be channels-last.

    Args:
        values: the activity.
    """

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Return the sum over time of weight times activity, `[N, ...]`, float32."""
        if self._values.dtype not in _DTYPES:
            return super().weighted_sum(weights)
        return _weighted_sum(self._values, on_device(weights, self._values.device))

    def count(self) -> Tensor:
        """Return the sum of the activity over time, `[N, ...]`, float32."""
        if self._values.dtype not in _DTYPES:
            return super().count()
        return _weighted_sum(
            self._values, on_device(torch.ones(len(self._values)), self._values.device)
        )

    def rows(self, first: int, last: int | None = None) -> DeviceSpikes:
        """Return the rows `first` to `last`."""
        return DeviceSpikes(self._values[:, first:last])

    def flatten(self) -> DeviceSpikes:
        """Return the same with one axis of neurons, `[T, N, K]`."""
        return DeviceSpikes(self._values.flatten(2))

    def pooled(self, pool: nn.Module) -> DeviceSpikes:
        """Return the output of a module for every step, without a gradient."""
        if halves(pool) and self._values.dim() == 5 and self._values.dtype in _DTYPES:
            return DeviceSpikes(halved(self._values))
        return DeviceSpikes(super().pooled(pool).dense())


def on_device(weights: Tensor, device: torch.device) -> Tensor:
    """Return weights in float32 on a device; the same ones are copied there once."""
    return _kept(tuple(weights.tolist()), device)


@functools.lru_cache(maxsize=64)
def _kept(weights: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(weights, dtype=torch.float32, device=device)


def _weighted_sum(values: Tensor, weights: Tensor) -> Tensor:
    order = Order.of(values)
    turned = order.apply(values)
    found = order.empty(values.shape[1:], torch.float32, values.device)
    size = found.numel()
    _sum_steps[(triton.cdiv(size, _BLOCK),)](
        turned, weights, order.apply(found), len(values), size, turned.stride(0), BLOCK=_BLOCK
    )
    return found


@triton.jit  # type: ignore[untyped-decorator]
def _sum_steps(values, weights, found, steps, size, stride, BLOCK: tl.constexpr):
    """Sum the steps of one block of numbers."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = place < size
    total = tl.zeros([BLOCK], tl.float32)
    for t in range(steps):
        value = tl.load(values + tl.cast(t, tl.int64) * stride + place, mask=mask, other=0.0)
        total += tl.load(weights + t) * value.to(tl.float32)
    tl.store(found + place, total, mask=mask)
