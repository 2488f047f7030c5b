"""What kernels call for vector code: names that `compiled` code knows the code of.

Every array is followed by where in its memory to begin: a view would cost more than the work.
"""

from __future__ import annotations

from typing import Any

LANES = 16  # float32 numbers that the widest vector units take at once
VECTORS = 2  # of these, or of twice as many float16, in a panel's row
PANEL = VECTORS * LANES  # columns of float32, or half those of float16
TOGETHER = 2  # events that are read at once: every list's number of them is a multiple
PICKED = 32  # numbers that are looked at together when some are picked


def sum_patterns(
    table: Any, weights: int, unit: float, events: Any, listed: int, starts: Any, row: int,
    bias: Any, left: int, out: Any, there: int,
) -> None:  # fmt: skip
    """Write the currents of a window's four steps for one panel's columns."""
    raise AssertionError("compiled code only")


def add_patterns(
    sums: Any, rows: int, events: Any, listed: int, starts: Any, row: int,
    grad: Any, here: int, stride: int,
) -> None:  # fmt: skip
    """Add the gradients of a window's four steps to the rows of the neurons that fired then."""
    raise AssertionError("compiled code only")


def add_kernels(
    out: Any, there: int, apart: int, table: Any, which: Any, first: int, last: int,
    rows: int, length: int,
) -> None:  # fmt: skip
    """Add the kernels of the channels that fire at a place and a time to the currents there.

    Args:
        out: the currents.
        there: the place of the kernels' first row.
        apart: from one row's place to that of the next.
        table: the kernels, one behind the other.
        which: the channels that fire, of this place and others.
        first: where this place's begin among them.
        last: where they end.
        rows: of a kernel.
        length: of a row, whole vectors.
    """
    raise AssertionError("compiled code only")


def give_kernels(
    sums: Any, which: Any, first: int, last: int, grad: Any, there: int, apart: int,
    rows: int, length: int,
) -> None:  # fmt: skip
    """Add the gradient of the currents around a place to the kernels that fire there.

    The same as `add_kernels`, the other way round.

    Args:
        sums: the kernels' gradients, one behind the other.
        which: the channels that fire, of this place and others.
        first: where this place's begin among them.
        last: where they end.
        grad: of the currents.
        there: the place of the kernels' first row.
        apart: from one row's place to that of the next.
        rows: of a kernel.
        length: of a row, whole vectors.
    """
    raise AssertionError("compiled code only")


def copy_lanes(out: Any, there: int, of: Any, here: int) -> None:
    """Copy sixteen float32 numbers from `of[here]` on to `out[there]` on."""
    raise AssertionError("compiled code only")


def fire(
    sums: Any, there: int, apart: int, own: Any, place: int, beside: int, along: int,
    gains: Any, shifts: Any, left: int, on: int, count: int, length: int,
    beta: Any, gain: Any, threshold: Any, taken: Any, emptied: bool,
    sent: Any, to: int, keep: bool, kept: Any, into: int, later: int, onward: int,
) -> None:  # fmt: skip
    """Run LIF neurons through the steps of a window, sixteen at a time.

    Args:
        sums: the currents of the four steps before their scale; zero after.
        there: the place of the first step's.
        apart: from one step's place to the next one's.
        own: the voltage, and its sum over the steps; both go on.
        place: of the voltage.
        beside: from there to the sum.
        along: from one sixteen's place to the next one's, in `sums` and `own`.
        gains: what the current is multiplied with.
        shifts: what is then added.
        left: the place in both.
        on: from one sixteen's place to the next one's in both.
        count: how many sixteens there are, at least one.
        length: how many steps there are.
        beta: share of the voltage that stays.
        gain: share of the current that enters.
        threshold: voltage above which a neuron fires.
        taken: what a spike takes off the voltage, if not all of it.
        emptied: whether a spike takes all of it.
        sent: where the patterns go, sixteen bytes at a time.
        to: their place.
        keep: whether the voltages before the reset are kept.
        kept: where they go then.
        into: the place of the first step's.
        later: from one step's place to the next one's.
        onward: from one sixteen's place to the next one's, in `sent` and `kept`.
    """
    raise AssertionError("compiled code only")


def weigh(
    out: Any, there: int, patterns: Any, here: int, apart: int, weights: Any, windows: int
) -> None:
    """Write what the steps at which sixteen neurons fire weigh together.

    Args:
        out: where the sums go.
        there: the first one's place.
        patterns: of the neurons, window by window.
        here: the place of the first one's first.
        apart: from one window's place to the next one's.
        weights: of the steps, four a window.
        windows: how many there are.
    """
    raise AssertionError("compiled code only")


def pick(
    out: Any, there: int, of: Any, here: int, keys: Any, at: int, key: int, same: bool
) -> int:  # fmt: skip
    """Write one behind the other those of some numbers whose key is the one asked for, or is not.

    Only where `picks` says that the processor can.

    Args:
        out: where they go, from `there` on; as much as all of them would take is written.
        there: the first one's place.
        of: the numbers, uint8 or uint16, 32 from `here` on.
        here: the first one's place.
        keys: their keys, uint8, 32 from `at` on.
        at: the first one's place.
        key: which is asked for.
        same: whether those that have it are picked, or all others.

    Returns:
        How many they are.
    """
    raise AssertionError("compiled code only")
