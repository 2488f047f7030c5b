"""Integer arithmetic on int32 tensors: the definition that the exported C code equals to the bit.

Right shifts are arithmetic and round down; `shifted` rounds to the nearest. Values have fixed
points where a name says so: Q12 is a number times 4096.

Products of matrices are sums of products of integers. Where a bound on the sums proves that a
float holds every partial sum, `product` computes them by a float product, which is much faster and
gives the same integers: sums below 2**24 in float32, below 2**53 in float64. `root` and
`bit_length` use float64 in the same way: it holds every int32, its square root is rounded
correctly, and the root of k**2 - 1 is 1/(2k) below k, far more than the rounding. Everything else
is computed on int32 tensors. Under `plain_integers()` no float is used at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from sigprop_snn.fixed_point.formats import Decay, largest

ONE = 1 << 12
"""One in Q12: the length of `unit_rows`, and the sum of `softmax`."""

EXPONENTS = tuple(round(2.0 ** (16 - index / 64)) for index in range(64))
"""2**(16 - i/64): the table of `softmax`."""

LOG2_E = 92
"""log2(e) in units of 1/64, the resolution of `EXPONENTS`."""

_LARGEST_DIFFERENCE = 1 << 16
_EXACT_IN_FLOAT32 = 1 << 24

_PLAIN: ContextVar[bool] = ContextVar("plain_integers", default=False)


@contextmanager
def plain_integers() -> Iterator[None]:
    """Use integer tensors for the products of matrices too, in the `with` block.

    The results are the same; it is slow. Tests use it to show that no float is needed.
    """
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def saturated(values: Tensor, bits: int) -> Tensor:
    """Return values limited to the range of signed integers of so many bits."""
    top = 1 << (bits - 1)
    return values.clamp(-top, top - 1)


def shifted(values: Tensor, shift: int) -> Tensor:
    """Return values times 2**-shift: rounded to the nearest, halves up, for a shift above 0."""
    if shift > 0:
        return (values + (1 << (shift - 1))) >> shift
    return values * (1 << -shift) if shift else values


def decayed(values: Tensor, decay: Decay) -> Tensor:
    """Return values after the decay of one step."""
    if decay.multiplier is not None:
        return (values * decay.multiplier) >> decay.bits
    left = values
    for shift in decay.shifts:
        left = left - (values >> shift)
    return left


def product(rows: Tensor, weights: Tensor, bound: int) -> Tensor:
    """Return rows `[N, K]` times weights `[M, K]` transposed, `[N, M]`, all int32.

    Args:
        rows: int32.
        weights: int32.
        bound: no partial sum of absolute products is above it; below 2**31.
    """
    if _PLAIN.get():
        return rows @ weights.t()
    wide = torch.float32 if bound < _EXACT_IN_FLOAT32 else torch.float64
    return (rows.to(wide) @ weights.to(wide).t()).to(torch.int32)


def random_bits(count: int, start: int, size: int, bits: int) -> Tensor:
    """Return random integers from 0 to 2**bits - 1, `[size]`, int32.

    They are a hash of the pair (count, index), so nothing is stored but the count. The hash is a
    finaliser of two multiplications and three shifts by exclusive or, on 32 bits.

    Args:
        count: the number of the update, mixed with the seed; 32 bits.
        start: the first index.
        size: how many.
        bits: from 1 to 31.
    """
    index = torch.arange(start, start + size, dtype=torch.int32)
    mixed = (index * _signed(0x9E3779B9)) ^ _signed(count)
    mixed = (mixed ^ _right(mixed, 16)) * 0x7FEB352D
    mixed = (mixed ^ _right(mixed, 15)) * _signed(0x846CA68B)
    return (mixed ^ _right(mixed, 16)) & ((1 << bits) - 1)


def next_count(count: int) -> int:
    """Return the next count of `random_bits`: a step of a xorshift generator of 32 bits."""
    count ^= (count << 13) & 0xFFFFFFFF
    count ^= count >> 17
    count ^= (count << 5) & 0xFFFFFFFF
    return count


def bit_length(values: Tensor) -> Tensor:
    """Return the number of bits of values from 0, as `int.bit_length` does."""
    if not _PLAIN.get():
        return values.double().frexp().exponent
    found = torch.zeros_like(values)
    for step in (16, 8, 4, 2, 1):
        high = values >> step
        more = high > 0
        found = found + more.to(torch.int32) * step
        values = torch.where(more, high, values)
    return found + values


def root(values: Tensor) -> Tensor:
    """Return the integer square root of values from 0, rounded down."""
    if not _PLAIN.get():
        return values.double().sqrt().to(torch.int32)
    found, rest = torch.zeros_like(values), values
    for place in range(30, -1, -2):
        bit = 1 << place
        takes = rest >= found + bit
        rest = torch.where(takes, rest - found - bit, rest)
        found = torch.where(takes, (found >> 1) + bit, found >> 1)
    return found


def unit_rows(values: Tensor) -> Tensor:
    """Return the rectified rows of `[N, n]` with length 1 in Q12; a row without a positive stays 0.

    Each row is shifted so that its largest number has `mantissa_bits`; then its square sum fits
    31 bits, and each number is divided by its integer square root.
    """
    positive = values.clamp(min=0)
    top = positive.amax(1, keepdim=True)
    shift = bit_length(top) - mantissa_bits(values.shape[1])
    down, up = shift.clamp(min=0), (-shift).clamp(min=0)
    scaled = torch.where(top > 0, (positive >> down) << up, 0)
    length = root((scaled * scaled).sum(1, keepdim=True, dtype=torch.int32)).clamp(min=1)
    return (scaled * ONE + (length >> 1)).div(length, rounding_mode="floor")


def mantissa_bits(size: int) -> int:
    """Return the bits of the numbers whose squares, `size` of them, add up to less than 2**31."""
    return min(10, (31 - size.bit_length()) // 2)


def softmax(scores: Tensor, factor: int) -> Tensor:
    """Return the softmax of factor * scores in Q12 `[N, C]`; the exponentials are from a table.

    Args:
        scores: Q12.
        factor: from 1 to 64.
    """
    top = scores.amax(1, keepdim=True)
    below = (top - scores).clamp(max=_LARGEST_DIFFERENCE)
    halvings = (below * factor >> 6) * LOG2_E >> 6  # in units of 1/64
    table = torch.tensor(EXPONENTS, dtype=torch.int32)
    power = table[(halvings & 63).long()] >> (halvings >> 6).clamp(max=31)
    total = power.sum(1, keepdim=True, dtype=torch.int32)
    return (power * ONE).div(total, rounding_mode="floor")


def winner_errors(scores: Tensor, labels: Tensor, margin: int) -> Tensor:
    """Return the errors of a margin against the strongest wrong score, Q12 `[N, C]`.

    Where the right score leads by less than the margin, its error is -1 and that of the strongest
    wrong one is 1; all others are 0.

    Args:
        scores: Q12, `[N, C]`.
        labels: int64, `[N]`.
        margin: Q12.
    """
    right = scores.gather(1, labels[:, None])
    lowest = torch.full_like(right, -(1 << 31))
    wrong = scores.scatter(1, labels[:, None], lowest)
    winner = wrong.argmax(1, keepdim=True)
    near = (right - wrong.gather(1, winner) < margin).to(torch.int32) * ONE
    return torch.zeros_like(scores).scatter(1, labels[:, None], -near).scatter(1, winner, near)


def weight_range(bits: int) -> tuple[int, int]:
    """Return the smallest and the largest weight of so many bits."""
    return -largest(bits), largest(bits)


def _right(values: Tensor, shift: int) -> Tensor:
    """Shift int32 values to the right as if they had no sign."""
    return (values >> shift) & ((1 << (32 - shift)) - 1)


def _signed(value: int) -> int:
    """Return 32 bits as a signed integer."""
    return value - (1 << 32) if value >= 1 << 31 else value
