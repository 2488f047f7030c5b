"""Rows of a table, fetched and summed, in machine-level code: the only such place.

What is summed has to stay in registers from the first row to the last. Plain numba loops read and
write it for every few rows, and LLVM checks each time whether the arrays overlap: with them a
whole training step of `benchmarks/step_cost.py` took longer by the voltage rule (mlp, T = 50: 1.7
times; conv, T = 10: 1.3 times) and by the surrogate rule (mlp, T = 50: 1.6 times). Rows are read
in the order of events, which no processor foresees: without fetching ahead the voltage rule's
step (mlp, T = 50) took 1.07 times as long. The surrogate rule's step also goes through the voltages
and the gradients of all steps, which lie in different pages of memory.
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

_LINE = 64  # bytes that a cache fetches together
_TO_READ = (0, 2, 1)  # of llvm.prefetch: not to write, into the second-level cache, data

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

    def columns(
        sums: _Sums, column: Any, total: Any, at: Any, table: Any, start: Any, *events: Any
    ) -> None:
        sums.add_rows(table, sums.builder.add(start, column), *events)
        sums.add_to(total, sums.builder.add(at, column))

    return _in_columns(columns, total, at, table, start, stride, events, first, last, width)


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
        builder, steps = sums.builder, [sums.another() for _ in range(WINDOW)]
        row = builder.add(start, column)
        for pattern, first, last in _each_pattern(builder, starts):
            of_pattern = sums.another()
            of_pattern.add_rows(table, row, stride, events, first, last)
            for step, of_step in enumerate(steps):
                if pattern >> step & 1:
                    of_step.add(of_pattern.values())
        for step, of_step in enumerate(steps):
            of_step.add_to(total, builder.add(column, builder.mul(_WORD(step), step_stride)))

    # The code of fifteen patterns compiles slowly: not for four vectors, which no panel has.
    return _in_columns(
        columns, total, step_stride, table, start, stride, events, starts, width, together=(2, 1)
    )


@_intrinsic  # type: ignore[untyped-decorator]
def fetch(_: Any, array: Any, first: Any, last: Any) -> Any:
    """Ask the second-level cache for the numbers `first` to `last - 1` of a flat array.

    The processor goes on at once. It foresees no reads in the order of events, and waits for each.
    """
    assert array.layout == "C"
    numbers = _LINE // (array.dtype.bitwidth // 8)

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(array)(context, builder, args[0]).data
        start, end = (
            context.cast(builder, value, kind, types.intp)
            for value, kind in zip(args[1:], (first, last), strict=True)
        )
        byte, choice = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, choice, choice, choice])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        with cgutils.for_range_slice(builder, start, end, _WORD(numbers), _WORD) as (place, _):
            pointer = builder.bitcast(builder.gep(data, [place]), byte)
            builder.call(prefetch, [pointer, *map(choice, _TO_READ)])
        return context.get_dummy_value()

    return types.void(array, first, last), emit


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

    def values(self) -> list[Any]:
        """Return the sums."""
        return [self.builder.load(variable) for variable in self.variables]

    def pointers(self, array: Any, place: Any) -> list[Any]:
        """Return pointers to as many vectors of an array, from a place."""
        places = (self.builder.add(place, _WORD(LANES * i)) for i in range(len(self.variables)))
        numbers = (self.builder.gep(array, [at]) for at in places)
        return [self.builder.bitcast(number, _VECTOR.as_pointer()) for number in numbers]

    def add(self, vectors: Sequence[Any]) -> None:
        """Add vectors, one to each sum."""
        for variable, value, vector in zip(self.variables, self.values(), vectors, strict=True):
            self.builder.store(self.builder.fadd(value, vector), variable)

    def add_rows(
        self, table: Any, row: Any, stride: Any, events: Any, first: Any, last: Any
    ) -> None:
        """Add the rows of events `first` to `last`, two at a time: a sum waits half as often."""
        builder = self.builder

        def values(i: Any) -> list[Any]:
            event = builder.zext(builder.load(builder.gep(events, [i])), _WORD)
            place = builder.add(row, builder.mul(event, stride))
            return [builder.load(each, align=4) for each in self.pointers(table, place)]

        odd = builder.and_(builder.sub(last, first), _WORD(1))
        even = builder.sub(last, odd)
        with cgutils.for_range_slice(builder, first, even, _WORD(2), _WORD) as (i, _):
            two = values(i), values(builder.add(i, _WORD(1)))
            self.add([builder.fadd(one, other) for one, other in zip(*two, strict=True)])
        with builder.if_then(builder.icmp_signed("!=", odd, _WORD(0))):
            self.add(values(even))

    def add_to(self, array: Any, place: Any) -> None:
        """Add the sums to an array."""
        for pointer, value in zip(self.pointers(array, place), self.values(), strict=True):
            total = self.builder.fadd(self.builder.load(pointer, align=4), value)
            self.builder.store(total, pointer, align=4)


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
