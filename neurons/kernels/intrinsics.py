"""The vector code of the kernels, in LLVM's own language.

What matters can't be said in numba's: sixteen lists in a row, and sums in registers from the first
to the last. Each function here is the code of its namesake in `vectors`, which says what it does.
"""

from __future__ import annotations

import functools
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

from sigprop_snn.neurons.kernels import vectors
from sigprop_snn.neurons.kernels.emitting import (
    BYTES,
    HALVES,
    INT32,
    VECTOR,
    WHOLE,
    add,
    bit_of,
    carry,
    data,
    each,
    each_event,
    each_row,
    lanes,
    load,
    number,
    spans,
    spread,
    widened,
)
from sigprop_snn.neurons.kernels.packed import WINDOW
from sigprop_snn.neurons.kernels.vectors import LANES, PANEL, PICKED, VECTORS


@intrinsic  # type: ignore[untyped-decorator]
def _sum_patterns(
    _: Any, table: Any, weights: Any, unit: Any, events: Any, listed: Any, starts: Any,
    row: Any, bias: Any, left: Any, out: Any, there: Any,
) -> Any:  # fmt: skip
    kinds = (table, weights, unit, events, listed, starts, row, bias, left, out, there)
    half = table.dtype == types.uint16

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        table, at, unit, active, begin, places, row, start, left, out, there = data(
            context, builder, signature, args
        )
        panel, own = builder.gep(table, [at]), builder.gep(active, [begin])
        kind, width = (HALVES, 2 * PANEL) if half else (VECTOR, PANEL)
        zero = [ir.Constant(kind, [0.0] * kind.count)] * VECTORS
        steps = [load(builder, lanes(builder, start, left, width // LANES))] * WINDOW
        if half:
            # Sums of a pattern are float16; those of a step are float32.
            unit = spread(builder, unit)

        def take(neuron: Any, sums: list[Any]) -> list[Any]:
            row = builder.mul(neuron, number(width))
            pointers = lanes(builder, panel, row, VECTORS, kind)
            return add(builder, sums, load(builder, pointers))

        for pattern, span in enumerate(spans(builder, places, row)):
            if not pattern:
                continue
            total = each_event(builder, own, span, zero, take)
            if half:
                wide = [part for both in total for part in widened(builder, both)]
                total = [builder.fmul(part, unit) for part in wide]
            steps = [
                add(builder, sums, total) if pattern >> step & 1 else sums
                for step, sums in enumerate(steps)
            ]
        for step, sums in enumerate(steps):
            place = builder.add(there, number(width * step))
            pointers = lanes(builder, out, place, len(sums))
            for value, pointer in zip(sums, pointers, strict=True):
                builder.store(value, pointer, align=4)
        return context.get_dummy_value()

    return types.void(*kinds), emit


@intrinsic  # type: ignore[untyped-decorator]
def _add_patterns(
    _: Any, sums: Any, rows: Any, events: Any, listed: Any, starts: Any, row: Any,
    grad: Any, here: Any, stride: Any,
) -> Any:  # fmt: skip
    kinds = (sums, rows, events, listed, starts, row, grad, here, stride)

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        table, at, active, begin, starts, row, grad, here, apart = data(
            context, builder, signature, args
        )
        panel, own = builder.gep(table, [at]), builder.gep(active, [begin])
        places = [builder.add(here, builder.mul(apart, number(s))) for s in range(WINDOW)]
        steps = [load(builder, lanes(builder, grad, p, VECTORS)) for p in places]
        for pattern, span in enumerate(spans(builder, starts, row)):
            of = [values for step, values in enumerate(steps) if pattern >> step & 1]
            if not of:
                continue
            total = functools.reduce(functools.partial(add, builder), of)

            def give(neuron: Any, _: list[Any], total: list[Any] = total) -> list[Any]:
                row = builder.mul(neuron, number(PANEL))
                pointers = lanes(builder, panel, row, VECTORS)
                for value, pointer in zip(
                    add(builder, load(builder, pointers), total), pointers, strict=True
                ):
                    builder.store(value, pointer, align=4)
                return []

            each_event(builder, own, span, [], give)
        return context.get_dummy_value()

    return types.void(*kinds), emit


@intrinsic  # type: ignore[untyped-decorator]
def _add_kernels(
    _: Any, out: Any, there: Any, apart: Any, table: Any, which: Any, first: Any, last: Any,
    rows: Any, length: Any,
) -> Any:  # fmt: skip
    kinds = (out, there, apart, table, which, first, last, rows, length)

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        out, there, apart, table, which, first, last, rows, length = data(
            context, builder, signature, args
        )
        size = builder.mul(rows, length)

        def add_part(row: Any, place: Any, count: int) -> None:
            """Add some vectors of a row, in registers from the first kernel to the last."""
            start = builder.add(there, builder.add(builder.mul(row, apart), place))
            pointers = lanes(builder, out, start, count)
            offset = builder.add(builder.mul(row, length), place)

            def take(event: Any, sums: list[Any]) -> list[Any]:
                channel = builder.load(builder.gep(which, [event]))
                at = builder.add(builder.mul(channel, size), offset)
                return add(builder, sums, load(builder, lanes(builder, table, at, count)))

            sums = carry(builder, first, last, load(builder, pointers), take)
            for value, pointer in zip(sums, pointers, strict=True):
                builder.store(value, pointer, align=4)

        each_row(builder, rows, length, add_part)
        return context.get_dummy_value()

    return types.void(*kinds), emit


@intrinsic  # type: ignore[untyped-decorator]
def _give_kernels(
    _: Any, sums: Any, which: Any, first: Any, last: Any, grad: Any, there: Any, apart: Any,
    rows: Any, length: Any,
) -> Any:  # fmt: skip
    kinds = (sums, which, first, last, grad, there, apart, rows, length)

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        sums, which, first, last, grad, there, apart, rows, length = data(
            context, builder, signature, args
        )
        size = builder.mul(rows, length)

        def give_part(row: Any, place: Any, count: int) -> None:
            """Add some vectors of a row, in registers from the first kernel to the last."""
            start = builder.add(there, builder.add(builder.mul(row, apart), place))
            values = load(builder, lanes(builder, grad, start, count))
            offset = builder.add(builder.mul(row, length), place)

            def give(event: Any, _: list[Any]) -> list[Any]:
                channel = builder.load(builder.gep(which, [event]))
                at = builder.add(builder.mul(channel, size), offset)
                pointers = lanes(builder, sums, at, count)
                totals = add(builder, load(builder, pointers), values)
                for total, pointer in zip(totals, pointers, strict=True):
                    builder.store(total, pointer, align=4)
                return []

            carry(builder, first, last, [], give)

        each_row(builder, rows, length, give_part)
        return context.get_dummy_value()

    return types.void(*kinds), emit


@intrinsic  # type: ignore[untyped-decorator]
def _copy_lanes(_: Any, out: Any, there: Any, of: Any, here: Any) -> Any:
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        out, there, of, here = data(context, builder, signature, args)
        (value,) = load(builder, lanes(builder, of, here, 1))
        builder.store(value, lanes(builder, out, there, 1)[0], align=4)
        return context.get_dummy_value()

    return types.void(out, there, of, here), emit


@intrinsic  # type: ignore[untyped-decorator]
def _fire(
    _: Any, sums: Any, there: Any, apart: Any, own: Any, place: Any, beside: Any, along: Any,
    gains: Any, shifts: Any, left: Any, on: Any, count: Any, length: Any,
    beta: Any, gain: Any, threshold: Any, taken: Any, emptied: Any,
    sent: Any, to: Any, keep: Any, kept: Any, into: Any, later: Any, onward: Any,
) -> Any:  # fmt: skip
    kinds = (
        sums, there, apart, own, place, beside, along, gains, shifts, left, on, count, length,
        beta, gain, threshold, taken, emptied, sent, to, keep, kept, into, later, onward,
    )  # fmt: skip

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (
            sums, there, apart, own, place, beside, along, gains, shifts, left, on, count, length,
            beta, gain, threshold, taken, emptied, sent, to, keep, kept, into, later, onward,
        ) = data(context, builder, signature, args)  # fmt: skip
        beta, gain, threshold, taken = (
            spread(builder, value) for value in (beta, gain, threshold, taken)
        )
        # In every lane, or LLVM makes a branch of the choice.
        emptied = spread(builder, bit_of(builder, emptied))
        zero, none = ir.Constant(VECTOR, [0.0] * LANES), ir.Constant(BYTES, [0] * LANES)

        def go_on(
            values: list[Any], step: int, at: Any, scale: tuple[Any, Any], record: Any
        ) -> list[Any]:
            """Return voltage, sum and pattern after a step."""
            factor, shift = scale
            (pointer,) = lanes(builder, sums, at, 1)
            (current,) = load(builder, [pointer])
            builder.store(zero, pointer, align=4)
            current = builder.fadd(builder.fmul(factor, current), shift)
            u, total, pattern = values
            u = builder.fadd(builder.fmul(beta, u), builder.fmul(gain, current))
            with builder.if_then(bit_of(builder, keep)):
                builder.store(u, lanes(builder, kept, record, 1)[0], align=4)
            fired = builder.fcmp_ordered(">", u, threshold)
            height = builder.select(emptied, u, taken)
            bit = ir.Constant(BYTES, [1 << step] * LANES)
            return [
                builder.fsub(u, builder.select(fired, height, zero)),
                builder.fadd(total, u),
                builder.or_(pattern, builder.select(fired, bit, none)),
            ]

        def run(sixteen: Any) -> None:
            moved = builder.mul(sixteen, along)
            first, out = builder.add(there, moved), builder.mul(sixteen, onward)
            voltage = builder.add(place, moved)
            states = [
                lanes(builder, own, at, 1)[0] for at in (voltage, builder.add(voltage, beside))
            ]
            scaled = builder.add(left, builder.mul(sixteen, on))
            (factor,) = load(builder, lanes(builder, gains, scaled, 1))
            (shift,) = load(builder, lanes(builder, shifts, scaled, 1))
            values = [*load(builder, states), none]
            after = builder.append_basic_block()
            ends = []
            for step in range(WINDOW):
                inside = builder.append_basic_block()
                ends.append((values, builder.block))
                builder.cbranch(builder.icmp_signed("<", number(step), length), inside, after)
                builder.position_at_end(inside)
                at = builder.add(first, builder.mul(apart, number(step)))
                record = builder.add(into, builder.add(out, builder.mul(later, number(step))))
                values = go_on(values, step, at, (factor, shift), record)
            ends.append((values, builder.block))
            builder.branch(after)
            builder.position_at_end(after)
            results = []
            for which, value in enumerate(values):
                results.append(builder.phi(value.type))
                for found, block in ends:
                    results[-1].add_incoming(found[which], block)
            *renewed, pattern = results
            for value, pointer in zip(renewed, states, strict=True):
                builder.store(value, pointer, align=4)
            (target,) = lanes(builder, sent, builder.add(to, out), 1, BYTES)
            builder.store(pattern, target, align=1)

        each(builder, count, 1, run)
        return context.get_dummy_value()

    return types.void(*kinds), emit


@intrinsic  # type: ignore[untyped-decorator]
def _weigh(
    _: Any, out: Any, there: Any, patterns: Any, here: Any, apart: Any, weights: Any, windows: Any
) -> Any:
    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        out, there, patterns, here, apart, weights, windows = data(
            context, builder, signature, args
        )
        zero, none = ir.Constant(VECTOR, [0.0] * LANES), ir.Constant(BYTES, [0] * LANES)

        def take(window: Any, sums: list[Any]) -> list[Any]:
            """Add a window's steps, each to sums of its own: none waits for another."""
            place = builder.add(here, builder.mul(window, apart))
            (found,) = load(builder, lanes(builder, patterns, place, 1, BYTES))
            first = builder.mul(window, number(WINDOW))
            weighed = []
            for step in range(WINDOW):
                bit = ir.Constant(BYTES, [1 << step] * LANES)
                fires = builder.icmp_unsigned("!=", builder.and_(found, bit), none)
                weight = builder.load(builder.gep(weights, [builder.add(first, number(step))]))
                weighed.append(builder.select(fires, spread(builder, weight), zero))
            return add(builder, sums, weighed)

        by_step = carry(builder, number(0), windows, [zero] * WINDOW, take)
        total = functools.reduce(builder.fadd, by_step)
        builder.store(total, lanes(builder, out, there, 1)[0], align=4)
        return context.get_dummy_value()

    return types.void(out, there, patterns, here, apart, weights, windows), emit


@intrinsic  # type: ignore[untyped-decorator]
def _pick(
    _: Any, out: Any, there: Any, of: Any, here: Any, keys: Any, at: Any, key: Any, same: Any
) -> Any:
    tag, number_of = (ir.IntType(array.dtype.bitwidth) for array in (keys, of))
    tags, numbers = ir.VectorType(tag, PICKED), ir.VectorType(number_of, PICKED)

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        out, there, of, here, keys, at, key, same = data(context, builder, signature, args)
        (found,) = load(builder, lanes(builder, keys, at, 1, tags))
        (values,) = load(builder, lanes(builder, of, here, 1, numbers))
        asked = spread(builder, builder.trunc(key, tag), PICKED)
        others = spread(builder, builder.not_(bit_of(builder, same)), PICKED)
        chosen = builder.xor(builder.icmp_unsigned("==", found, asked), others)
        name = f"llvm.x86.avx512.mask.compress.v{PICKED}i{number_of.width}"
        picked = _call(builder, name, numbers, [values, values, chosen])
        builder.store(picked, lanes(builder, out, there, 1, numbers)[0], align=1)
        bits = builder.bitcast(chosen, INT32)
        return builder.zext(_call(builder, "llvm.ctpop.i32", INT32, [bits]), WHOLE)

    return types.int64(out, there, of, here, keys, at, key, same), emit


def _call(builder: Any, name: str, kind: Any, args: list[Any]) -> Any:
    """Call one of LLVM's own functions."""
    function = builder.module.globals.get(name) or ir.Function(
        builder.module, ir.FunctionType(kind, [arg.type for arg in args]), name
    )
    return builder.call(function, args)


@functools.cache
def teach() -> None:
    """Give the names in `vectors` their code."""
    for name, code in _CODE.items():
        overload(name, strict=False)(_calling(code))


def _calling(code: Any) -> Any:
    return lambda *_: lambda *args: code(*args)


# What stands behind each name, once kernels are compiled.
_CODE: dict[Any, Any] = {
    vectors.sum_patterns: _sum_patterns,
    vectors.add_patterns: _add_patterns,
    vectors.add_kernels: _add_kernels,
    vectors.give_kernels: _give_kernels,
    vectors.copy_lanes: _copy_lanes,
    vectors.fire: _fire,
    vectors.weigh: _weigh,
    vectors.pick: _pick,
}
