"""Spikes on a GPU: as bits, eight steps in a byte, or as numbers; kernels for what learning asks.

At T = 8 or less a neuron's whole sample is one byte, so pools, traces and joins move a sixteenth of
what they would in bfloat16 at T = 8, and memory does not grow with T.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from sigprop_snn.neurons.engines.dense import DenseSpikes
from sigprop_snn.neurons.engines.order import Order
from sigprop_snn.neurons.engines.triton.maps import halved
from sigprop_snn.neurons.pooling import is_halving

STEPS_OF_BYTE = 8
BITS = tl.constexpr(STEPS_OF_BYTE)  # for the kernels

_BLOCK = 1024  # numbers of one program
_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def bytes_of(steps: int) -> int:
    """Return how many bytes hold the spikes of T steps of one neuron."""
    return -(-steps // STEPS_OF_BYTE)


class DeviceSpikes(DenseSpikes):
    """Activity `[T, N, ...]` on a GPU, without a gradient; feature maps may be channels-last.

    Args:
        values: the activity.
    """

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Return the sum over time of weight times activity, `[N, ...]`, float32."""
        if self._values.dtype not in _DTYPES:
            return super().weighted_sum(weights)
        return _weighted_sum(self._values, on_device(weights, self._values.device), as_bits=False)

    def count(self) -> Tensor:
        """Return the sum of the activity over time, `[N, ...]`, float32."""
        if self._values.dtype not in _DTYPES:
            return super().count()
        return self.weighted_sum(torch.ones(len(self._values), dtype=torch.float32))

    def rows(self, first: int, last: int | None = None) -> DeviceSpikes:
        """Return the rows `first` to `last`."""
        return DeviceSpikes(self._values[:, first:last])

    def flatten(self) -> DeviceSpikes:
        """Return the same with one axis of neurons, `[T, N, K]`."""
        return DeviceSpikes(self._values.flatten(2))

    def pooled(self, pool: nn.Module) -> DeviceSpikes:
        """Return the output of a module for every step, without a gradient."""
        if is_halving(pool) and self._values.dim() == 5 and self._values.dtype in _DTYPES:
            return DeviceSpikes(halved(self._values))
        return DeviceSpikes(super().pooled(pool).dense())


class BitSpikes:
    """Spikes `[T, N, ...]` on a GPU, as bits; feature maps may be channels-last.

    Args:
        bits: `[T / 8, N, ...]`, uint8: bit s of byte p is the spike of step 8p + s.
        steps: T.
        dtype: of the spikes as numbers.
    """

    constant = False

    def __init__(self, bits: Tensor, steps: int, dtype: torch.dtype) -> None:
        self.bits = bits
        self.steps = steps
        self.dtype = dtype

    @property
    def shape(self) -> torch.Size:
        """The shape of the spikes, `[T, N, ...]`."""
        return torch.Size((self.steps, *self.bits.shape[1:]))

    def dense(self) -> Tensor:
        """Return the spikes as numbers, `[T, N, ...]`."""
        order = Order.of(self.bits)
        turned = order.apply(self.bits)
        found = order.empty(self.shape, self.dtype, self.bits.device)
        size = turned[0].numel()
        if size:
            _unpack[(triton.cdiv(size, _BLOCK), len(turned))](
                turned, order.apply(found), self.steps, size, turned.stride(0), BLOCK=_BLOCK
            )
        return found

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Return the sum over time of weight times spike, `[N, ...]`, float32."""
        return _weighted_sum(self.bits, on_device(weights, self.bits.device), as_bits=True)

    def count(self) -> Tensor:
        """Return the number of spikes, `[N, ...]`, float32."""
        return self.weighted_sum(torch.ones(self.steps, dtype=torch.float32))

    def rows(self, first: int, last: int | None = None) -> BitSpikes:
        """Return the rows `first` to `last`."""
        return BitSpikes(self.bits[:, first:last], self.steps, self.dtype)

    def flatten(self) -> BitSpikes:
        """Return the same with one axis of neurons, `[T, N, K]`."""
        return BitSpikes(self.bits.flatten(2), self.steps, self.dtype)

    def pooled(self, pool: nn.Module) -> BitSpikes | DeviceSpikes:
        """Return the output of a module for every step, without a gradient."""
        if isinstance(pool, nn.Identity):
            return self
        if is_halving(pool) and self.bits.dim() == 5:
            return BitSpikes(halved(self.bits), self.steps, self.dtype)
        return DeviceSpikes(self.dense()).pooled(pool)

    def __repr__(self) -> str:
        return f"BitSpikes(shape={list(self.shape)}, dtype={self.dtype})"


def side_by_side(parts: Sequence[BitSpikes]) -> BitSpikes:
    """Return spikes of one size of maps, `[T, N, C, ...]`, joined along their channels."""
    order = Order.of(parts[0].bits)
    axis = -1 if order.channels_last else 2
    whole = torch.cat([order.apply(part.bits) for part in parts], dim=axis)
    bits = whole.movedim(-1, -3) if order.channels_last else whole
    return BitSpikes(bits, parts[0].steps, parts[0].dtype)


def on_device(weights: Tensor, device: torch.device) -> Tensor:
    """Return weights in float32 on a device; the same ones are copied there once."""
    return _kept(tuple(weights.tolist()), device)


@functools.lru_cache(maxsize=64)
def _kept(weights: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(weights, dtype=torch.float32, device=device)


def _weighted_sum(values: Tensor, weights: Tensor, *, as_bits: bool) -> Tensor:
    """Return the weighted sum of all steps of numbers `[T, ...]`, or of bits `[T / 8, ...]`."""
    order = Order.of(values)
    turned = order.apply(values)
    found = order.empty(values.shape[1:], torch.float32, values.device)
    size = found.numel()
    if size:
        kernel = _sum_bits if as_bits else _sum_steps
        kernel[(triton.cdiv(size, _BLOCK),)](
            turned, weights, order.apply(found), len(weights), size, turned.stride(0), BLOCK=_BLOCK
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


@triton.jit  # type: ignore[untyped-decorator]
def _sum_bits(bits, weights, found, steps, size, stride, BLOCK: tl.constexpr):
    """Sum the steps of one block of neurons."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = place < size
    total = tl.zeros([BLOCK], tl.float32)
    for begin in range(0, steps, BITS):
        at = tl.cast(begin // BITS, tl.int64) * stride + place
        byte = tl.load(bits + at, mask=mask, other=0).to(tl.int32)
        for ahead in tl.static_range(BITS):
            # A step behind the last has no weight.
            weight = tl.load(weights + begin + ahead, mask=begin + ahead < steps, other=0.0)
            total += tl.where((byte >> ahead) & 1 != 0, weight, 0.0)
    tl.store(found + place, total, mask=mask)


@triton.jit  # type: ignore[untyped-decorator]
def _unpack(bits, found, steps, size, stride, BLOCK: tl.constexpr):
    """Write the steps of one byte of one block of neurons as numbers."""
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = place < size
    plane = tl.program_id(1).to(tl.int64)
    byte = tl.load(bits + plane * stride + place, mask=mask, other=0).to(tl.int32)
    for ahead in tl.static_range(BITS):
        step = plane * BITS + ahead
        # By way of float32: Triton's interpreter turns no integer into bfloat16.
        spike = ((byte >> ahead) & 1).to(tl.float32).to(found.dtype.element_ty)
        tl.store(found + step * size + place, spike, mask=mask & (step < steps))
