"""Rows of a table, summed, in machine-level code: the only such place.

What is summed has to stay in registers from the first row to the last. Plain numba loops read and
write it for every few rows, and LLVM checks each time whether the arrays overlap: with them a
whole training step of `benchmarks/step_cost.py` took longer by the voltage rule (mlp, T = 50: 1.7
times; conv, T = 10: 1.3 times) and by the surrogate rule (mlp, T = 50: 1.6 times).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sigprop_snn.neurons.engines.cpu.spikes import PATTERNS
from sigprop_snn.neurons.engines.observed import WINDOW

_intrinsic: Any = intrinsic  # numba has no types for it

LANES = 16  # float32 numbers in the widest vectors of a processor
_TOGETHER = (4, 2, 1)  # vectors whose sums are in registers at a time: first four, then the rest

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_WORD = ir.IntType(64)


@_intrinsic  # type: ignore[untyped-decorator]
def add_rows(
    _: Any, total: Any, at: Any, table: Any, start: Any, stride: Any, events: Any, first: Any,
    last: Any, width: Any,
) -> Any:  # fmt: skip
    """Add to `total[at + f]`, for f < width, the sum over i of `table[row + f]`.

    Here `row = start + events[i] * stride` and i goes from `first` to `last - 1`. Arrays are
    contiguous and taken as flat: `total` and `table` float32, `events` unsigned. The width is a
    multiple of `LANES`.
    """
    return _in_columns(_add_columns, total, at, table, start, stride, events, first, last, width)


@_intrinsic  # type: ignore[untyped-decorator]
def add_patterns(
    _: Any, total: Any, step_stride: Any, table: Any, start: Any, stride: Any, events: Any,
    starts: Any, width: Any,
) -> Any:  # fmt: skip
    """Add the rows of a window's events to the totals of the four steps.

    The total of a step begins at `step * step_stride`. The events of a pattern lie between its
    place in `starts` and the next: their rows are summed once, and added to every step that the
    pattern contains. The rest is as in `add_rows`.
    """

    def columns(
        sums: _Sums, column: Any, total: Any, step_stride: Any, table: Any, start: Any, stride: Any,
        events: Any, starts: Any,
    ) -> None:  # fmt: skip
        steps = [sums.another() for _ in range(WINDOW)]
        row = sums.place(start, column)
        for pattern, first, last in _each_pattern(sums.builder, starts):
            of_pattern = sums.another()
            of_pattern.add_events(table, row, stride, events, first, last)
            for step, of_step in enumerate(steps):
                if pattern >> step & 1:
                    of_step.add(of_pattern)
        for step, of_step in enumerate(steps):
            of_step.add_to(total, sums.place(column, step_stride, step))

    # The code of fifteen patterns compiles slowly: not for four vectors, which no panel has.
    return _in_columns(
        columns, total, step_stride, table, start, stride, events, starts, width, together=(2, 1)
    )


class _Sums:
    """Some vectors of sums: variables that LLVM keeps in registers."""

    def __init__(self, builder: Any, count: int) -> None:
        self.builder = builder
        self.variables: list[Any] = [
            cgutils.alloca_once(builder, _VECTOR)  # type: ignore[no-untyped-call]
            for _ in range(count)
        ]
        for variable in self.variables:
            builder.store(ir.Constant(_VECTOR, [0.0] * LANES), variable)

    def another(self) -> _Sums:
        """Return as many sums, from zero."""
        return _Sums(self.builder, len(self.variables))

    def place(self, start: Any, distance: Any, times: int = 1) -> Any:
        """Return a place so many times a distance behind a start."""
        return self.builder.add(start, self.builder.mul(_WORD(times), distance))

    def add_events(
        self, table: Any, row: Any, stride: Any, events: Any, first: Any, last: Any
    ) -> None:
        """Add the rows of events `first` to `last`, two at a time: a sum waits half as often."""
        builder = self.builder

        def values(i: Any) -> list[Any]:
            place = _row(builder, row, stride, events, i)
            return [
                builder.load(_vector(builder, table, place, index), align=4)
                for index in range(len(self.variables))
            ]

        odd = builder.and_(builder.sub(last, first), _WORD(1))
        even = builder.sub(last, odd)
        with cgutils.for_range_slice(builder, first, even, _WORD(2), _WORD) as (i, _):
            one, other = (values(at) for at in (i, builder.add(i, _WORD(1))))
            for variable, a, b in zip(self.variables, one, other, strict=True):
                both = builder.fadd(a, b)
                builder.store(builder.fadd(builder.load(variable), both), variable)
        with builder.if_then(builder.icmp_signed("!=", odd, _WORD(0))):
            for variable, a in zip(self.variables, values(even), strict=True):
                builder.store(builder.fadd(builder.load(variable), a), variable)

    def add(self, other: _Sums) -> None:
        """Add other sums."""
        for variable, added in zip(self.variables, other.variables, strict=True):
            total = self.builder.fadd(self.builder.load(variable), self.builder.load(added))
            self.builder.store(total, variable)

    def add_to(self, array: Any, place: Any) -> None:
        """Add the sums to an array."""
        for index, variable in enumerate(self.variables):
            pointer = _vector(self.builder, array, place, index)
            total = self.builder.fadd(
                self.builder.load(pointer, align=4), self.builder.load(variable)
            )
            self.builder.store(total, pointer, align=4)


def _add_columns(
    sums: _Sums, column: Any, total: Any, at: Any, table: Any, start: Any, *events: Any
) -> None:
    """Write the code of `add_rows` for some columns."""
    sums.add_events(table, sums.place(start, column), *events)
    sums.add_to(total, sums.place(at, column))


def _in_columns(
    columns: Callable[..., None], *kinds: Any, together: Sequence[int] = _TOGETHER
) -> Any:
    """Return what an intrinsic returns: its types, and a function that writes its code.

    `columns` writes the code of some columns, given their sums, the first column, arrays as
    pointers to their numbers, and whole numbers as 64 bits. The last argument is the width.
    """
    assert all(kind.layout == "C" for kind in kinds if isinstance(kind, types.Array))

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        *flat, width = (
            context.make_array(kind)(context, builder, value).data
            if isinstance(kind, types.Array)
            else context.cast(builder, value, kind, types.intp)
            for kind, value in zip(kinds, args, strict=True)
        )
        start = _WORD(0)
        for count in together:
            step = _WORD(count * LANES)
            end = builder.sub(width, builder.urem(width, step))
            with cgutils.for_range_slice(builder, start, end, step, _WORD) as (column, _):
                columns(_Sums(builder, count), column, *flat)
            start = end
        return context.get_dummy_value()

    return types.void(*kinds), emit


def _each_pattern(builder: Any, starts: Any) -> Iterator[tuple[int, Any, Any]]:
    """Go through the patterns that have events: the first event, and the one behind the last."""
    for pattern in range(1, PATTERNS):
        first, last = (
            builder.sext(builder.load(builder.gep(starts, [_WORD(p)])), _WORD)
            for p in (pattern, pattern + 1)
        )
        with builder.if_then(builder.icmp_signed("<", first, last)):
            yield pattern, first, last


def _row(builder: Any, row: Any, stride: Any, events: Any, i: Any) -> Any:
    """Return the place of an event's row."""
    event = builder.zext(builder.load(builder.gep(events, [i])), _WORD)
    return builder.add(row, builder.mul(event, stride))


def _vector(builder: Any, array: Any, place: Any, index: int) -> Any:
    """Return a pointer to the vector so many vectors behind a place."""
    place = builder.add(place, _WORD(index * LANES))
    return builder.bitcast(builder.gep(array, [place]), _VECTOR.as_pointer())
