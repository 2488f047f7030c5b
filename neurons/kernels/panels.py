"""Weights in panels, and the vector code that sums them by pattern.

A panel is a few columns of a weight, lying together, that stay in the processor's cache while the
windows of many samples pass. The code is written in LLVM's own language because what matters can't
be said in numba's: sixteen lists in a row, and the sums in registers from the first to the last.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.neurons.kernels.listing import TOGETHER
from sigprop_snn.neurons.kernels.packed import PATTERNS, WINDOW

_LANES = 16  # float32 numbers that the widest vector units take at once
_VECTORS = 2  # of these, or of twice as many float16, in a panel's row
PANEL = _VECTORS * _LANES  # columns of float32, or half those of float16
_ROOM = 2.0**15  # that float16 sums keep below
_SMALL = 2.0**-8  # largest weight whose company float16 still tells apart


class Panels(NamedTuple):
    """A weight `[F, K]` as kernels read it.

    Attributes:
        table: float32, or the bits of float16, `[P, K + 1, panel]`; a panel is 32 columns of
            float32 or 64 of float16; columns behind F are zero, and so are the weights of nobody.
        start: what every column's sum begins at, its bias, float32, `[P * panel]`.
        unit: what a number in the table stands for: a power of two; 1 in float32.
    """

    table: Tensor
    start: Tensor
    unit: float


def panels_of(weight: Tensor, bias: Tensor | None, *, half: bool = False) -> Panels:
    """Return a weight `[F, K]` and a bias `[F]` in panels.

    Args:
        weight: float32.
        bias: float32, or none.
        half: whether sums of float16 will do, where the processor adds those itself: twice as
            many weights come at once, each rounded to 11 bits, finer than bfloat16's 8.
    """
    unit = 1.0
    table = weight.detach()
    if half and adds_float16():
        low, high = torch.aminmax(table)
        largest = max(-float(low), float(high))
        if not _SMALL <= largest <= _ROOM / weight.shape[1] and 0 < largest < float("inf"):
            # So that no sum of all of them leaves float16's range, at either end.
            unit = 2.0 ** math.ceil(math.log2(largest * weight.shape[1] / _ROOM))
            table = table / unit
        table = table.half()
    panel = PANEL if table.dtype == torch.float32 else 2 * PANEL
    columns, neurons = table.shape
    missing = -columns % panel
    start = torch.zeros(columns + missing)
    if bias is not None:
        start[:columns] = bias.detach()
    if missing:
        table = F.pad(table, (0, 0, 0, missing))
    whole = table.new_empty(len(start) // panel, neurons + 1, panel)
    whole[:, :neurons] = table.view(-1, panel, neurons).transpose(1, 2)
    whole[:, neurons] = 0.0
    return Panels(whole if whole.dtype == torch.float32 else whole.view(torch.uint16), start, unit)


@functools.cache
def adds_float16() -> bool:
    """Return whether the processor adds float16 numbers without making float32 of them."""
    import llvmlite.binding

    return bool(llvmlite.binding.get_host_cpu_features().get("avx512fp16"))


def sum_patterns(
    table: Any, weights: int, unit: float, events: Any, listed: int, starts: Any, row: int,
    bias: Any, left: int, out: Any, there: int,
) -> None:  # fmt: skip
    """Write the currents of a window's four steps for one panel's columns.

    Every array is followed by where in its memory to begin: a view would cost more than the sum.
    """
    raise AssertionError("compiled code only")


def add_patterns(
    sums: Any, rows: int, events: Any, listed: int, starts: Any, row: int,
    grad: Any, here: int, stride: int,
) -> None:  # fmt: skip
    """Add the gradients of a window's four steps to the rows of the neurons that fired then."""
    raise AssertionError("compiled code only")


@functools.cache
def teach() -> None:
    """Put vector code in the place of the two functions that are for compiled code only.

    It is written in LLVM's own language because what matters can't be said in numba's: sixteen
    lists in a row, and the sums in registers from the first to the last.
    """
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic, overload

    whole, vector = ir.IntType(64), ir.VectorType(ir.FloatType(), _LANES)
    halves = ir.VectorType(ir.HalfType(), 2 * _LANES)

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

    def add(builder: Any, one: list[Any], other: list[Any]) -> list[Any]:
        return [builder.fadd(a, b) for a, b in zip(one, other, strict=True)]

    def each_event(
        builder: Any, events: Any, span: tuple[Any, Any], carried: list[Any], body: Any
    ) -> list[Any]:
        """Loop over a span of events, some at once.

        `body` takes a neuron and what is carried on for its place among those read at once, and
        returns the latter's new values.
        """
        before = builder.block
        head, inside, after = (builder.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        at = builder.phi(whole)
        kept = [[builder.phi(value.type) for value in carried] for _ in range(TOGETHER)]
        builder.cbranch(builder.icmp_signed("<", at, span[1]), inside, after)
        builder.position_at_end(inside)
        new = []
        for place, values in enumerate(kept):
            event = builder.gep(events, [builder.add(at, number(place))])
            new.append(body(builder.zext(builder.load(event), whole), values))
        at.add_incoming(span[0], before)
        at.add_incoming(builder.add(at, number(TOGETHER)), inside)
        for phis, nexts in zip(kept, new, strict=True):
            for phi, first, next_ in zip(phis, carried, nexts, strict=True):
                phi.add_incoming(first, before)
                phi.add_incoming(next_, inside)
        builder.branch(head)
        builder.position_at_end(after)
        return functools.reduce(functools.partial(add, builder), kept)

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
        places = ir.VectorType(ir.IntType(32), _LANES)
        return [
            builder.fpext(
                builder.shuffle_vector(
                    value, value, ir.Constant(places, list(range(first, first + _LANES)))
                ),
                vector,
            )
            for first in (0, _LANES)
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
            steps = [load(builder, lanes(builder, start, left, width // _LANES))] * WINDOW
            if half:
                # Sums of a pattern are float16; those of a step are float32.
                lane = builder.insert_element(
                    ir.Constant(vector, ir.Undefined), unit, ir.Constant(ir.IntType(32), 0)
                )
                spread = ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES)
                unit = builder.shuffle_vector(lane, lane, spread)

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

    taught: tuple[Any, Any] = summing, adding  # called by what the compiler gives them alone
    sums, adds = taught
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
