"""Number formats of an integer network: bits of weights, membranes and traces, and the decay."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sigprop_snn.arguments import number, one_of, refused, whole
from sigprop_snn.errors import SigpropError

Per = Literal["tensor", "channel"]
PERS: tuple[Per, ...] = get_args(Per)
DecayKind = Literal["shifts", "multiplier"]
DECAY_KINDS: tuple[DecayKind, ...] = get_args(DecayKind)
STATE_BITS = (16, 24)
_LARGEST_SHIFT = 10


@dataclass(frozen=True)
class Decay:
    """The decay of a membrane voltage or a trace in integer arithmetic.

    `Decay((4, 5))` is U - (U >> 4) - (U >> 5), a beta of 1 - 1/16 - 1/32. `Decay(multiplier=115,
    bits=7)` is (U * 115) >> 7, a beta of 115/128. All shifts are arithmetic: they round down.
    `Decay()` keeps everything.

    Args:
        shifts: right shifts of the parts that a step takes off, each from 1.
        multiplier: the fixed multiplier, from 0 to 2**bits, in place of shifts.
        bits: the right shift behind the multiplier, from 1 to 15.

    Raises:
        SigpropError: if a number is out of range, or both forms are given.
    """

    shifts: tuple[int, ...] = ()
    multiplier: int | None = None
    bits: int = 7

    def __post_init__(self) -> None:
        try:
            shifts = tuple(whole("shifts of Decay", shift) for shift in self.shifts)
        except TypeError as error:
            raise refused("shifts of Decay", self.shifts, "whole numbers from 1") from error
        object.__setattr__(self, "shifts", shifts)
        bits = whole("bits of Decay", self.bits)
        if bits > 15 or any(shift > 31 for shift in shifts):
            raise SigpropError(f"bits of {self} are out of range; expected 15 at most")
        if self.multiplier is None:
            return
        if whole("multiplier of Decay", self.multiplier, 0) > 1 << bits or shifts:
            raise SigpropError(
                f"{self} can't be used; expected either shifts, or a multiplier up to {1 << bits}"
            )

    @property
    def beta(self) -> float:
        """The fraction of the voltage that remains, but for rounding."""
        if self.multiplier is not None:
            return self.multiplier / (1 << self.bits)
        return 1.0 - sum(2.0**-shift for shift in self.shifts)

    @classmethod
    def of(cls, beta: float, kind: DecayKind = "shifts", state_bits: int = 16) -> Decay:
        """Return the nearest decay of a kind.

        Args:
            beta: the fraction of the voltage that remains, in [0, 1].
            kind: "shifts" uses at most two; "multiplier" uses 15 bits beside a state of 16 bits
                and 7 bits beside one of 24, so that products fit 32 bits.
            state_bits: bits of what decays.

        Raises:
            SigpropError: if beta is not in [0, 1], or the kind is unknown.
        """
        beta = number("beta", beta, "a number from 0 to 1", lambda x: 0 <= x <= 1)
        one_of("kind of decay", kind, DECAY_KINDS)
        if kind == "multiplier":
            bits = 31 - one_of_bits("state_bits", state_bits)
            return cls(multiplier=round(beta * (1 << bits)), bits=bits)
        if beta == 0.0:
            return cls(multiplier=0)
        single = range(1, _LARGEST_SHIFT + 1)
        candidates = [(), *((a,) for a in single), *itertools.combinations(single, 2)]
        best = min(candidates, key=lambda shifts: abs(cls(shifts).beta - beta))
        return cls(best)


@dataclass(frozen=True)
class Format:
    """The number formats of an integer network.

    Args:
        weight_bits: bits of a weight, from 2 to 8, in a symmetric range: 8 bits are -127 to 127.
        per: one scale of the weights per "channel" (output neuron or map) or per "tensor".
        membrane_bits: bits of a membrane voltage, 16 or 24; it saturates.
        trace_bits: bits of a presynaptic trace, 16 or 24; it saturates.
        decay: how voltages and traces decay: "shifts" or "multiplier"; see `Decay`.

    Raises:
        SigpropError: if a number of bits is not one of these, or a trace has more bits than the
            membrane although the decay is a multiplier.
        UnknownNameError: if a name is unknown.
    """

    weight_bits: int = 8
    per: Per = "channel"
    membrane_bits: int = 16
    trace_bits: int = 16
    decay: DecayKind = "shifts"

    def __post_init__(self) -> None:
        weight_bits_of("weight_bits", self.weight_bits)
        one_of_bits("membrane_bits", self.membrane_bits)
        one_of_bits("trace_bits", self.trace_bits)
        one_of("per", self.per, PERS)
        one_of("kind of decay", self.decay, DECAY_KINDS)
        if self.decay == "multiplier" and self.trace_bits > self.membrane_bits:
            raise SigpropError(
                f"trace_bits is {self.trace_bits} with membrane_bits {self.membrane_bits} and a "
                "multiplier; expected no more bits than the membrane's, so that products fit 32"
            )

    @property
    def largest_weight(self) -> int:
        """The largest weight; the smallest is its negative."""
        return largest(self.weight_bits)


def largest(bits: int) -> int:
    """Return the largest number of a symmetric range of so many bits."""
    return (1 << (bits - 1)) - 1


def weight_bits_of(name: str, value: Any) -> int:
    """Return a number of bits from 2 to 8.

    Raises:
        SigpropError: if it is none.
    """
    bits = whole(name, value, 2)
    if bits > 8:
        raise refused(name, value, "a whole number from 2 to 8")
    return bits


def one_of_bits(name: str, value: Any) -> int:
    """Return 16 or 24.

    Raises:
        SigpropError: if it is another number.
    """
    bits = whole(name, value)
    if bits not in STATE_BITS:
        raise refused(name, value, "16 or 24")
    return bits
