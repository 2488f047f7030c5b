"""Activity as bytes, for another process: spikes as bits, other numbers as they are.

What is unpacked equals what was packed, also in the order of its numbers in memory, so that sums
over it are equal to the bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sigprop_snn.neurons.engines.choice import engine_for
from sigprop_snn.neurons.engines.dense import DenseSpikes
from sigprop_snn.neurons.engines.engine import Spikes
from sigprop_snn.neurons.engines.order import Order
from sigprop_snn.neurons.stepwise import is_constant

_NUMBERS, _BITS, _WINDOWS, _BYTES = range(4)  # forms
_HALF = 4  # bits of half a byte
_DTYPES = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.uint8, torch.bool,
)  # fmt: skip


class Parcel(NamedTuple):
    """A tensor or spikes as bytes.

    Attributes:
        words: how to unpack it, whole numbers.
        data: the bytes, uint8 `[S]`.
    """

    words: tuple[int, ...]
    data: Tensor


def pack_tensor(values: Tensor) -> Parcel:
    """Return a tensor without its gradient. One of only 0 and 1 takes a bit for each number."""
    values = values.detach()
    repeated = values.dim() > 0 and values.shape[0] > 1 and is_constant(values)
    distinct = values[:1] if repeated else values
    # The axes from the one with the largest step in memory to the smallest.
    axes = sorted(range(values.dim()), key=distinct.stride().__getitem__, reverse=True)
    flat = distinct.permute(axes).reshape(-1)
    form, data = _NUMBERS, None
    if values.dim() > 2 and values.is_floating_point():
        fires = flat.bool()
        if torch.equal(fires.to(flat.dtype), flat):
            form, data = _BITS, _bits(fires)
    if data is None:
        data = flat.contiguous().view(torch.uint8)
    dtype = _DTYPES.index(values.dtype)
    return Parcel((form, dtype, int(repeated), values.dim(), *values.shape, *axes), data)


def unpack_tensor(words: Sequence[int], data: Tensor) -> Tensor:
    """Return the tensor of a parcel."""
    form, dtype, repeated, dims, *rest = words
    shape, axes = rest[:dims], rest[dims:]
    distinct = [1, *shape[1:]] if repeated else shape
    inside = [distinct[axis] for axis in axes]
    if form == _BITS:
        flat = _of_bits(data, math.prod(inside)).to(_DTYPES[dtype])
    else:
        flat = data.view(_DTYPES[dtype])
    values = flat.view(inside).permute([axes.index(axis) for axis in range(dims)])
    return values.expand(shape) if repeated else values


def pack_spikes(spikes: Spikes) -> Parcel:
    """Return spikes as any engine stores them."""
    if isinstance(spikes, DenseSpikes):
        packed = pack_tensor(spikes.dense())
        plain = int(type(spikes) is DenseSpikes)
        return Parcel((_NUMBERS, plain, *packed.words), packed.data)
    from sigprop_snn.neurons.engines.cpu.spikes import PackedSpikes

    if isinstance(spikes, PackedSpikes):
        shape, data = _in_memory(spikes.patterns)
        return Parcel((_WINDOWS, spikes.steps, *shape), _nibbles(data))
    from sigprop_snn.neurons.engines.triton.spikes import BitSpikes

    assert isinstance(spikes, BitSpikes)
    shape, data = _in_memory(spikes.bits)
    words = (_BYTES, spikes.steps, _DTYPES.index(spikes.dtype), *shape)
    return Parcel(words, _nibbles(data) if spikes.steps <= _HALF else data)


def unpack_spikes(words: Sequence[int], data: Tensor) -> Spikes:
    """Return the spikes of a parcel."""
    form, steps, *shape = words
    if form == _WINDOWS:
        from sigprop_snn.neurons.engines.cpu.spikes import PackedSpikes

        return PackedSpikes(_in_shape(_whole(data, shape), shape), steps)
    if form == _BYTES:
        from sigprop_snn.neurons.engines.triton.spikes import BitSpikes

        dtype, *shape = shape
        bits = _whole(data, shape) if steps <= _HALF else data
        return BitSpikes(_in_shape(bits, shape), steps, _DTYPES[dtype])
    values = unpack_tensor(words[2:], data)
    return DenseSpikes(values) if words[1] else engine_for(values.device).spikes(values)


def _in_memory(values: Tensor) -> tuple[tuple[int, ...], Tensor]:
    """Return the shape of bytes in words, and the bytes in their order in memory, `[S]`."""
    order = Order.of(values)
    turned = order.apply(values)
    return (int(order.channels_last), turned.dim(), *turned.shape), turned.reshape(-1)


def _in_shape(flat: Tensor, words: Sequence[int]) -> Tensor:
    """Return bytes `[S]` in the shape that `_in_memory` gave."""
    channels_last, dims, *shape = words
    turned = flat.view(shape[:dims])
    return turned.movedim(-1, 2) if channels_last else turned


def _nibbles(flat: Tensor) -> Tensor:
    """Return bytes `[S]` of four bits as `[S / 2]`: the second half goes into the upper bits."""
    half = (len(flat) + 1) // 2
    data = flat[:half].clone()
    data[: len(flat) - half] |= flat[half:] << _HALF
    return data


def _whole(data: Tensor, words: Sequence[int]) -> Tensor:
    """Return the bytes of four bits of `_nibbles`, given the words of their shape."""
    _, dims, *shape = words
    count, half = math.prod(shape[:dims]), len(data)
    flat = torch.empty(count, dtype=torch.uint8, device=data.device)
    torch.bitwise_and(data, (1 << _HALF) - 1, out=flat[:half])
    torch.bitwise_right_shift(data[: count - half], _HALF, out=flat[half:])
    return flat


def _bits(fires: Tensor) -> Tensor:
    """Return truth values `[S]` as bits, uint8 `[S / 8]`."""
    if fires.device.type == "cpu":
        import numpy as np

        return torch.from_numpy(np.packbits(fires.numpy(), bitorder="little"))
    padded = torch.nn.functional.pad(fires.to(torch.uint8), (0, -len(fires) % 8)).view(-1, 8)
    return (padded << _shifts(fires.device)).sum(1, dtype=torch.uint8)


def _of_bits(data: Tensor, count: int) -> Tensor:
    """Return the first bits as truth values or as 0 and 1, `[count]`."""
    if data.device.type == "cpu":
        import numpy as np

        return torch.from_numpy(np.unpackbits(data.numpy(), count=count, bitorder="little"))
    return ((data[:, None] >> _shifts(data.device)) & 1).flatten()[:count]


def _shifts(device: torch.device) -> Tensor:
    return torch.arange(8, dtype=torch.uint8, device=device)
