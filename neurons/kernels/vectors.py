"""The vector code of the kernels, written in LLVM's own language.

What matters can't be said in numba's: sixteen lists in a row, and sums in registers from the first
to the last. Every array is followed by where in its memory to begin: a view would cost more than
the work.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

from sigprop_snn.neurons.kernels.listing import TOGETHER
from sigprop_snn.neurons.kernels.packed import PATTERNS, WINDOW

LANES = 16  # float32 numbers that the widest vector units take at once
_VECTORS = 2  # of these, or of twice as many float16, in a panel's row
PANEL = _VECTORS * LANES  # columns of float32, or half those of float16
_ROWS = (1, 2, 3, 5, 6, 10)  # vectors in a row of a usual kernel's panel: of 1, 3 or 5 columns


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
    sums: Any, there: int, apart: int, own: Any, place: int, beside: int,
    gains: Any, shifts: Any, left: int, length: int, keep: bool,
    beta: Any, gain: Any, threshold: Any, taken: Any, emptied: bool, sent: Any, to: int,
) -> None:  # fmt: skip
    """Run sixteen LIF neurons through the steps of a window.

    Args:
        sums: the currents of the four steps before their scale; after, the voltages before the
            reset, or zero.
        there: the place of the first step's.
        apart: from one step's place to the next one's.
        own: the voltage, its sum over the steps, and that of the spikes; all go on.
        place: of the voltage.
        beside: from there to the sum of the voltage, and from that to the spikes'.
        gains: what the current is multiplied with.
        shifts: what is then added.
        left: the place in both.
        length: how many steps there are.
        keep: whether the voltages are to be kept.
        beta: share of the voltage that stays.
        gain: share of the current that enters.
        threshold: voltage above which a neuron fires.
        taken: what a spike takes off the voltage, if not all of it.
        emptied: whether a spike takes all of it.
        sent: where the patterns go, sixteen bytes.
        to: their place.
    """
    raise AssertionError("compiled code only")


@functools.cache
def teach() -> None:
    """Put vector code in the place of the functions that are for compiled code only."""
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic, overload

    whole, vector = ir.IntType(64), ir.VectorType(ir.FloatType(), LANES)
    bytes_ = ir.VectorType(ir.IntType(8), LANES)
    halves = ir.VectorType(ir.HalfType(), 2 * LANES)

    def number(value: int) -> Any:
        return ir.Constant(whole, value)

    def lanes(builder: Any, data: Any, place: Any, count: int, of: Any = vector) -> list[Any]:
        """Return pointers to some vectors from `data[place]` on."""
        row = builder.gep(data, [place])
        return [
            builder.bitcast(builder.gep(row, [number(v * of.count)]), of.as_pointer())
            for v in range(count)
        ]

    def load(builder: Any, pointers: list[Any]) -> list[Any]:
        return [builder.load(pointer, align=2) for pointer in pointers]

    def spread(builder: Any, value: Any) -> Any:
        """Return a float32 in every lane of a vector."""
        first = builder.insert_element(
            ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0)
        )
        places = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(first, first, places)

    def bit_of(builder: Any, value: Any) -> Any:
        """Return a boolean argument as one bit."""
        return builder.trunc(value, ir.IntType(1)) if value.type.width > 1 else value

    def add(builder: Any, one: list[Any], other: list[Any]) -> list[Any]:
        return [builder.fadd(a, b) for a, b in zip(one, other, strict=True)]

    def carry(
        builder: Any, first: Any, last: Any, carried: list[Any], body: Any, step: int = 1
    ) -> list[Any]:
        """Loop from a number to another; `body` takes it and what is carried on, and renews it."""
        before = builder.block
        head, inside, after = (builder.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        at = builder.phi(whole)
        kept = [builder.phi(value.type) for value in carried]
        builder.cbranch(builder.icmp_signed("<", at, last), inside, after)
        builder.position_at_end(inside)
        new = body(at, kept)
        at.add_incoming(first, before)
        at.add_incoming(builder.add(at, number(step)), builder.block)
        for phi, start, next_ in zip(kept, carried, new, strict=True):
            phi.add_incoming(start, before)
            phi.add_incoming(next_, builder.block)
        builder.branch(head)
        builder.position_at_end(after)
        return kept

    def each_event(
        builder: Any, events: Any, span: tuple[Any, Any], carried: list[Any], body: Any
    ) -> list[Any]:
        """Loop over a span of events, some at once, each with sums of its own.

        `body` takes a neuron and what is carried on, and returns the latter's new values; the sum
        over those read at once comes back.
        """
        size = len(carried)

        def take(at: Any, kept: list[Any]) -> list[Any]:
            new = []
            for place in range(TOGETHER):
                event = builder.gep(events, [builder.add(at, number(place))])
                neuron = builder.zext(builder.load(event), whole)
                new += body(neuron, kept[place * size : (place + 1) * size])
            return new

        sums = carry(builder, *span, carried * TOGETHER, take, TOGETHER)
        each = [sums[place * size : (place + 1) * size] for place in range(TOGETHER)]
        return functools.reduce(functools.partial(add, builder), each)

    def each(builder: Any, stop: Any, step: int, body: Any) -> None:
        """Loop from 0 to what is reached in steps, at least once; `body` takes the number."""
        before = builder.block
        inside, after = (builder.append_basic_block() for _ in range(2))
        builder.branch(inside)
        builder.position_at_end(inside)
        at = builder.phi(whole)
        at.add_incoming(number(0), before)
        body(at)
        reached = builder.add(at, number(step))
        at.add_incoming(reached, builder.block)
        builder.cbranch(builder.icmp_signed("<", reached, stop), inside, after)
        builder.position_at_end(after)

    def each_row(builder: Any, rows: Any, length: Any, body: Any) -> None:
        """Loop over the rows of a kernel: whole where they are usual, else vector by vector.

        `body` takes the row, a place in it and how many vectors it is to do from there.
        """
        after = builder.append_basic_block()
        for count in _ROWS:
            with builder.if_then(builder.icmp_signed("==", length, number(count * LANES))):
                each(builder, rows, 1, functools.partial(body, place=number(0), count=count))
                builder.branch(after)

        def by_vector(row: Any) -> None:
            each(builder, length, LANES, lambda place: body(row, place=place, count=1))

        each(builder, rows, 1, by_vector)
        builder.branch(after)
        builder.position_at_end(after)

    def spans(builder: Any, starts: Any, row: Any) -> list[tuple[Any, Any]]:
        """Return where each pattern's events begin and end, the empty pattern first."""
        own = builder.gep(starts, [builder.mul(row, number(PATTERNS + 1))])
        places = [
            builder.sext(builder.load(builder.gep(own, [number(p)])), whole)
            for p in range(PATTERNS + 1)
        ]
        return list(itertools.pairwise(places))

    def widened(builder: Any, value: Any) -> list[Any]:
        """Return a panel's float16 numbers as vectors of float32."""
        places = ir.VectorType(ir.IntType(32), LANES)
        return [
            builder.fpext(
                builder.shuffle_vector(
                    value, value, ir.Constant(places, list(range(first, first + LANES)))
                ),
                vector,
            )
            for first in (0, LANES)
        ]

    def data(context: Any, builder: Any, signature: Any, args: Any) -> list[Any]:
        return [
            context.make_array(kind)(context, builder, arg).data
            if isinstance(kind, types.Array) else arg
            for kind, arg in zip(signature.args, args, strict=True)
        ]  # fmt: skip

    @intrinsic  # type: ignore[untyped-decorator]
    def summing(
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
            kind, width = (halves, 2 * PANEL) if half else (vector, PANEL)
            zero = [ir.Constant(kind, [0.0] * kind.count)] * _VECTORS
            steps = [load(builder, lanes(builder, start, left, width // LANES))] * WINDOW
            if half:
                # Sums of a pattern are float16; those of a step are float32.
                unit = spread(builder, unit)

            def take(neuron: Any, sums: list[Any]) -> list[Any]:
                row = builder.mul(neuron, number(width))
                pointers = lanes(builder, panel, row, _VECTORS, kind)
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
    def adding(
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
            steps = [load(builder, lanes(builder, grad, p, _VECTORS)) for p in places]
            for pattern, span in enumerate(spans(builder, starts, row)):
                of = [values for step, values in enumerate(steps) if pattern >> step & 1]
                if not of:
                    continue
                total = functools.reduce(functools.partial(add, builder), of)

                def give(neuron: Any, _: list[Any], total: list[Any] = total) -> list[Any]:
                    row = builder.mul(neuron, number(PANEL))
                    pointers = lanes(builder, panel, row, _VECTORS)
                    for value, pointer in zip(
                        add(builder, load(builder, pointers), total), pointers, strict=True
                    ):
                        builder.store(value, pointer, align=4)
                    return []

                each_event(builder, own, span, [], give)
            return context.get_dummy_value()

        return types.void(*kinds), emit

    @intrinsic  # type: ignore[untyped-decorator]
    def adding_kernels(
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
    def giving_kernels(
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
    def copying(_: Any, out: Any, there: Any, of: Any, here: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            out, there, of, here = data(context, builder, signature, args)
            (value,) = load(builder, lanes(builder, of, here, 1))
            builder.store(value, lanes(builder, out, there, 1)[0], align=4)
            return context.get_dummy_value()

        return types.void(out, there, of, here), emit

    @intrinsic  # type: ignore[untyped-decorator]
    def firing(
        _: Any, sums: Any, there: Any, apart: Any, own: Any, place: Any, beside: Any,
        gains: Any, shifts: Any, left: Any, length: Any, keep: Any,
        beta: Any, gain: Any, threshold: Any, taken: Any, emptied: Any, sent: Any, to: Any,
    ) -> Any:  # fmt: skip
        kinds = (
            sums, there, apart, own, place, beside, gains, shifts, left, length, keep,
            beta, gain, threshold, taken, emptied, sent, to,
        )  # fmt: skip

        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            (
                sums, there, apart, own, place, beside, gains, shifts, left, length, keep,
                beta, gain, threshold, taken, emptied, sent, to,
            ) = data(context, builder, signature, args)  # fmt: skip
            beta, gain, threshold, taken = (
                spread(builder, value) for value in (beta, gain, threshold, taken)
            )
            zero, one = (ir.Constant(vector, [value] * LANES) for value in (0.0, 1.0))
            offsets = [builder.add(place, builder.mul(beside, number(n))) for n in range(3)]
            kept = [lanes(builder, own, at, 1)[0] for at in offsets]
            (factor,) = load(builder, lanes(builder, gains, left, 1))
            (shift,) = load(builder, lanes(builder, shifts, left, 1))
            values = [*load(builder, kept), ir.Constant(bytes_, [0] * LANES)]
            after = builder.append_basic_block()
            ends = []
            for step in range(WINDOW):
                inside = builder.append_basic_block()
                ends.append((values, builder.block))
                builder.cbranch(builder.icmp_signed("<", number(step), length), inside, after)
                builder.position_at_end(inside)
                at = builder.add(there, builder.mul(apart, number(step)))
                (pointer,) = lanes(builder, sums, at, 1)
                (current,) = load(builder, [pointer])
                current = builder.fadd(builder.fmul(factor, current), shift)
                u, total, count, pattern = values
                u = builder.fadd(builder.fmul(beta, u), builder.fmul(gain, current))
                builder.store(builder.select(bit_of(builder, keep), u, zero), pointer, align=4)
                fired = builder.fcmp_ordered(">", u, threshold)
                height = builder.select(bit_of(builder, emptied), u, taken)
                bit = ir.Constant(bytes_, [1 << step] * LANES)
                none = ir.Constant(bytes_, [0] * LANES)
                values = [
                    builder.fsub(u, builder.select(fired, height, zero)),
                    builder.fadd(total, u),
                    builder.fadd(count, builder.select(fired, one, zero)),
                    builder.or_(pattern, builder.select(fired, bit, none)),
                ]
            ends.append((values, builder.block))
            builder.branch(after)
            builder.position_at_end(after)
            results = []
            for number_of in range(len(values)):
                phi = builder.phi(values[number_of].type)
                for found, block in ends:
                    phi.add_incoming(found[number_of], block)
                results.append(phi)
            for value, pointer in zip(results, kept, strict=False):
                builder.store(value, pointer, align=4)
            (target,) = lanes(builder, sent, to, 1, bytes_)
            builder.store(results[3], target, align=1)
            return context.get_dummy_value()

        return types.void(*kinds), emit

    # They are called by what the compiler gives them alone.
    taught: tuple[Any, ...] = summing, adding, adding_kernels, giving_kernels, copying, firing
    sums, adds, add_all, give_all, copies, fires = taught
    overload(sum_patterns, strict=False)(
        lambda a, b, c, d, e, f, g, h, i, j, k: (
            lambda a, b, c, d, e, f, g, h, i, j, k: sums(a, b, c, d, e, f, g, h, i, j, k)
        )
    )
    overload(add_patterns, strict=False)(
        lambda a, b, c, d, e, f, g, h, i: (
            lambda a, b, c, d, e, f, g, h, i: adds(a, b, c, d, e, f, g, h, i)
        )
    )
    overload(add_kernels, strict=False)(
        lambda a, b, c, d, e, f, g, h, i: (
            lambda a, b, c, d, e, f, g, h, i: add_all(a, b, c, d, e, f, g, h, i)
        )
    )
    overload(give_kernels, strict=False)(
        lambda a, b, c, d, e, f, g, h, i: (
            lambda a, b, c, d, e, f, g, h, i: give_all(a, b, c, d, e, f, g, h, i)
        )
    )
    overload(copy_lanes, strict=False)(lambda a, b, c, d: lambda a, b, c, d: copies(a, b, c, d))
    overload(fire, strict=False)(
        lambda a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s: (
            lambda a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s: fires(
                a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s
            )
        )
    )
