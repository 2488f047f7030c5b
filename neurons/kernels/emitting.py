"""What the kernels' vector code is written with: LLVM's instructions, some at a time.

Every function takes the builder that writes them down. Places are counted in an array's numbers.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

from llvmlite import ir
from numba import types

from sigprop_snn.neurons.kernels.packed import PATTERNS
from sigprop_snn.neurons.kernels.vectors import LANES, TOGETHER

_ROWS = (1, 2, 3, 5, 6, 10)  # vectors in a row of a usual kernel's panel: of 1, 3 or 5 columns

WHOLE, BIT, INT32 = ir.IntType(64), ir.IntType(1), ir.IntType(32)
VECTOR = ir.VectorType(ir.FloatType(), LANES)
BYTES = ir.VectorType(ir.IntType(8), LANES)
HALVES = ir.VectorType(ir.HalfType(), 2 * LANES)


def number(value: int) -> Any:
    """Return a number as code counts with it."""
    return ir.Constant(WHOLE, value)


def lanes(builder: Any, data: Any, place: Any, count: int, of: Any = VECTOR) -> list[Any]:
    """Return pointers to some vectors from `data[place]` on."""
    row = builder.gep(data, [place])
    return [
        builder.bitcast(builder.gep(row, [number(v * of.count)]), of.as_pointer())
        for v in range(count)
    ]


def load(builder: Any, pointers: list[Any]) -> list[Any]:
    """Return the vectors at some pointers."""
    return [builder.load(pointer, align=1) for pointer in pointers]


def spread(builder: Any, value: Any, count: int = LANES) -> Any:
    """Return a number in every lane of a vector."""
    vector = ir.VectorType(value.type, count)
    first = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(INT32, 0))
    places = ir.Constant(ir.VectorType(INT32, count), [0] * count)
    return builder.shuffle_vector(first, first, places)


def bit_of(builder: Any, value: Any) -> Any:
    """Return a boolean argument as one bit."""
    return builder.trunc(value, BIT) if value.type.width > 1 else value


def add(builder: Any, one: list[Any], other: list[Any]) -> list[Any]:
    """Return the sums of two rows of vectors, vector by vector."""
    return [builder.fadd(a, b) for a, b in zip(one, other, strict=True)]


def carry(
    builder: Any, first: Any, last: Any, carried: list[Any], body: Any, step: int = 1
) -> list[Any]:
    """Loop from a number to another; `body` takes it and what is carried on, and renews it."""
    before = builder.block
    head, inside, after = (builder.append_basic_block() for _ in range(3))
    builder.branch(head)
    builder.position_at_end(head)
    at = builder.phi(WHOLE)
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
            neuron = builder.zext(builder.load(event), WHOLE)
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
    at = builder.phi(WHOLE)
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
        builder.sext(builder.load(builder.gep(own, [number(p)])), WHOLE)
        for p in range(PATTERNS + 1)
    ]
    return list(itertools.pairwise(places))


def widened(builder: Any, value: Any) -> list[Any]:
    """Return a panel's float16 numbers as vectors of float32."""
    places = ir.VectorType(INT32, LANES)
    return [
        builder.fpext(
            builder.shuffle_vector(
                value, value, ir.Constant(places, list(range(first, first + LANES)))
            ),
            VECTOR,
        )
        for first in (0, LANES)
    ]


def data(context: Any, builder: Any, signature: Any, args: Any) -> list[Any]:
    """Return the arguments of a call, every array as a pointer to its first number."""
    return [
        context.make_array(kind)(context, builder, arg).data
        if isinstance(kind, types.Array) else arg
        for kind, arg in zip(signature.args, args, strict=True)
    ]  # fmt: skip
