"""Products of spikes, window by window: a neuron that fires at several steps is read once.

Four steps of a sample make a window, and the steps of a window at which a neuron fires make its
pattern, one of sixteen. The weights of all neurons with the same pattern are summed, once; the
current of a step is the sum over the patterns that have it. The dense product reads every weight
at every step, an event-driven one reads it at every spike; here it is read once a window, at most.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.neurons.kernels.sharing import share

_WINDOW = 4  # steps
_PATTERNS = 1 << _WINDOW
_LANES = 16  # float32 numbers that the widest vector units take at once
_PANEL = 2 * _LANES  # columns, whose weights stay in the second-level cache
_SAMPLES = 16  # whose windows pass through a panel before the next panel comes


class Windows(NamedTuple):
    """The spikes of `[T, N, K]`, listed by sample, window and pattern.

    Attributes:
        events: the neurons that fire in each window, in the order of their patterns,
            `[N * W, K]`, W windows of every sample; what lies behind them means nothing.
        starts: where in a row of `events` each pattern begins, `[N * W, 17]`.
        steps: T.
    """

    events: Tensor
    starts: Tensor
    steps: int

    def read(self) -> float:
        """Return what share of the weights a window reads, for each of its four steps."""
        return float(self.starts[:, -1].float().mean()) / (_WINDOW * self.events.shape[1])


def list_windows(inputs: Tensor) -> Windows | None:
    """Return the spikes of `[T, N, K]`, or none if something else than 0 and 1 is among them.

    Args:
        inputs: float32 or bfloat16 on the CPU, K less than 65,536.
    """
    steps, samples, features = inputs.shape
    count = samples * _windows(steps)
    events = torch.empty(count, features, dtype=torch.uint16)
    starts = torch.empty(count, _PATTERNS + 1, dtype=torch.int32)
    other = torch.zeros(samples, dtype=torch.bool)
    arrays = [t.numpy() for t in (_bits(inputs.contiguous()), events, starts, other)]
    kernel = _compiled_list(inputs.dtype == torch.bfloat16)
    share(functools.partial(kernel, *arrays, _one(inputs.dtype)), samples, worth=1, grain=1)
    return None if other.any() else Windows(events, starts, steps)


def windows_product(
    windows: Windows, weight: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> Tensor:
    """Return the current `[T, N, F]` of spikes, in float32 or bfloat16.

    Args:
        windows: the spikes, `[T, N, K]`.
        weight: `[F, K]`.
        bias: `[F]`, or none.
        dtype: what the result is rounded to; the sums are float32.
    """
    columns, samples = weight.shape[0], len(windows.events) // _windows(windows.steps)
    panels = _panels(weight.float())
    start = torch.zeros(panels.shape[0] * _PANEL)
    if bias is not None:
        start[:columns] = bias
    out = torch.empty(windows.steps, samples, columns, dtype=dtype)
    arrays = [t.numpy() for t in (windows.events, windows.starts, panels, start, _bits(out))]
    kernel = _compiled_product(dtype == torch.bfloat16)
    share(functools.partial(kernel, *arrays), samples, worth=_SAMPLES, grain=1)
    return out


def windows_outer(windows: Windows, grad: Tensor) -> Tensor:
    """Return the weight's gradient `[F, K]`: the sum over steps and samples of grad times spike.

    Args:
        windows: the spikes, `[T, N, K]`.
        grad: that of the current, float32, `[T, N, F]`; it may be some rows of a larger one.
    """
    features, columns = windows.events.shape[1], grad.shape[2]
    sums = torch.zeros(-(-columns // _PANEL), features, _PANEL)
    rows = grad if grad.stride(2) == 1 else grad.contiguous()
    arrays = [t.detach().numpy() for t in (windows.events, windows.starts, rows, sums)]
    share(functools.partial(_compiled_outer(), *arrays), len(sums), worth=1, grain=1)
    return sums.transpose(1, 2).reshape(-1, features)[:columns]


def _windows(steps: int) -> int:
    return -(-steps // _WINDOW)


def _panels(weight: Tensor) -> Tensor:
    """Return a weight `[F, K]` in panels of columns that lie together, `[P, K, panel]`."""
    missing = -weight.shape[0] % _PANEL
    padded = F.pad(weight, (0, 0, 0, missing)) if missing else weight
    return padded.view(-1, _PANEL, weight.shape[1]).transpose(1, 2).contiguous()


def _bits(values: Tensor) -> Tensor:
    # NumPy has no bfloat16.
    return values.view(torch.uint16) if values.dtype == torch.bfloat16 else values


def _one(dtype: torch.dtype) -> Any:
    return np.uint16(0x3F80) if dtype == torch.bfloat16 else np.float32(1.0)


def _list(
    inputs: Any, events: Any, starts: Any, other: Any, one: Any, first: int, last: int
) -> None:
    """List the windows of samples `first` to `last`."""
    steps, _, width = inputs.shape
    windows = -(-steps // _WINDOW)
    patterns = np.empty(width, np.uint8)
    active = np.empty(width + 1, np.uint16)
    zero = one - one
    for sample in range(first, last):
        for window in range(windows):
            start = window * _WINDOW
            wrong = np.uint8(0)
            if start + _WINDOW <= steps:
                x0, x1 = inputs[start, sample], inputs[start + 1, sample]
                x2, x3 = inputs[start + 2, sample], inputs[start + 3, sample]
                for k in range(width):
                    wrong |= np.uint8(
                        ((x0[k] != zero) & (x0[k] != one))
                        | ((x1[k] != zero) & (x1[k] != one))
                        | ((x2[k] != zero) & (x2[k] != one))
                        | ((x3[k] != zero) & (x3[k] != one))
                    )
                    patterns[k] = (
                        np.uint8(x0[k] != zero)
                        | np.uint8(x1[k] != zero) << np.uint8(1)
                        | np.uint8(x2[k] != zero) << np.uint8(2)
                        | np.uint8(x3[k] != zero) << np.uint8(3)
                    )
            else:
                patterns[:] = 0
                for step in range(steps - start):
                    x = inputs[start + step, sample]
                    for k in range(width):
                        wrong |= np.uint8((x[k] != zero) & (x[k] != one))
                        patterns[k] |= np.uint8(x[k] != zero) << np.uint8(step)
            if wrong:
                other[sample] = True
                return
            found = 0
            for k in range(width):
                active[found] = k
                found += patterns[k] != 0
            # A counting sort: how many of each, where each begins, and everyone to his place.
            place = starts[sample * windows + window]
            place[:] = 0
            for i in range(found):
                place[patterns[active[i]] + 1] += 1
            for pattern in range(_PATTERNS):
                place[pattern + 1] += place[pattern]
            listed = events[sample * windows + window]
            for i in range(found):
                k = active[i]
                pattern = patterns[k]
                listed[place[pattern]] = k
                place[pattern] += 1
            for pattern in range(_PATTERNS, 0, -1):
                place[pattern] = place[pattern - 1]
            place[0] = 0


def _product(
    events: Any, starts: Any, panels: Any, bias: Any, out: Any, first: int, last: int
) -> None:
    """Fill samples `first` to `last` of `out`, `[T, N, F]`."""
    steps, samples, columns = out.shape
    features = events.shape[1]
    windows = -(-steps // _WINDOW)
    # Where a window or a panel reaches over the edge, it is written here first.
    edge = np.empty((_WINDOW, _PANEL), out.dtype)
    for start in range(first, last, _SAMPLES):
        for panel in range(panels.shape[0]):
            weights = panel * features * _PANEL
            left = panel * _PANEL
            width = min(_PANEL, columns - left)
            for sample in range(start, min(start + _SAMPLES, last)):
                for window in range(windows):
                    row = sample * windows + window
                    step = window * _WINDOW
                    length = min(_WINDOW, steps - step)
                    if length == _WINDOW and width == _PANEL:
                        _sum_patterns(
                            panels, weights, events, row * features, starts, row, bias, left,
                            out, (step * samples + sample) * columns + left, samples * columns,
                        )  # fmt: skip
                        continue
                    _sum_patterns(
                        panels, weights, events, row * features, starts, row, bias, left,
                        edge, 0, _PANEL,
                    )  # fmt: skip
                    for t in range(length):
                        for f in range(width):
                            out[step + t, sample, left + f] = edge[t, f]


def _outer(events: Any, starts: Any, grad: Any, sums: Any, first: int, last: int) -> None:
    """Fill panels `first` to `last` of `sums`, `[P, K, panel]`."""
    steps, samples, columns = grad.shape
    features = events.shape[1]
    windows = -(-steps // _WINDOW)
    apart, beside = grad.strides[0] // grad.itemsize, grad.strides[1] // grad.itemsize
    edge = np.zeros((_WINDOW, _PANEL), np.float32)
    for panel in range(first, last):
        rows = panel * features * _PANEL
        left = panel * _PANEL
        width = min(_PANEL, columns - left)
        for sample in range(samples):
            for window in range(windows):
                row = sample * windows + window
                step = window * _WINDOW
                length = min(_WINDOW, steps - step)
                if length == _WINDOW and width == _PANEL:
                    _add_patterns(
                        sums, rows, events, row * features, starts, row,
                        grad, step * apart + sample * beside + left, apart,
                    )  # fmt: skip
                    continue
                for t in range(length):
                    for f in range(width):
                        edge[t, f] = grad[step + t, sample, left + f]
                _add_patterns(sums, rows, events, row * features, starts, row, edge, 0, _PANEL)


def _sum_patterns(
    panels: Any, weights: int, events: Any, listed: int, starts: Any, row: int,
    bias: Any, left: int, out: Any, there: int, stride: int,
) -> None:  # fmt: skip
    """Write the currents of a window's four steps, `stride` apart, for one panel's columns.

    Every array is followed by where in its memory to begin: a view would cost more than the sum.
    """
    raise AssertionError("compiled code only")


def _add_patterns(
    sums: Any, rows: int, events: Any, listed: int, starts: Any, row: int,
    grad: Any, here: int, stride: int,
) -> None:  # fmt: skip
    """Add the gradients of a window's four steps to the rows of the neurons that fired then."""
    raise AssertionError("compiled code only")


@functools.cache
def _compiled_list(bfloat16: bool) -> Callable[..., None]:
    from numba import types

    from sigprop_snn.neurons.kernels.compiling import compiled

    value = types.uint16 if bfloat16 else types.float32
    return compiled(
        _list,
        types.void(
            types.Array(value, 3, "C"),
            types.Array(types.uint16, 2, "C"),
            types.Array(types.int32, 2, "C"),
            types.Array(types.boolean, 1, "C"),
            value, types.int64, types.int64,
        ),
    )  # fmt: skip


@functools.cache
def _compiled_product(bfloat16: bool) -> Callable[..., None]:
    from numba import types

    from sigprop_snn.neurons.kernels.compiling import compiled

    _teach()
    value = types.uint16 if bfloat16 else types.float32
    return compiled(
        _product,
        types.void(
            types.Array(types.uint16, 2, "C"),
            types.Array(types.int32, 2, "C"),
            types.Array(types.float32, 3, "C"),
            types.Array(types.float32, 1, "C"),
            types.Array(value, 3, "C"),
            types.int64, types.int64,
        ),
    )  # fmt: skip


@functools.cache
def _compiled_outer() -> Callable[..., None]:
    from numba import types

    from sigprop_snn.neurons.kernels.compiling import compiled

    _teach()
    return compiled(
        _outer,
        types.void(
            types.Array(types.uint16, 2, "C"),
            types.Array(types.int32, 2, "C"),
            types.Array(types.float32, 3, "A"),
            types.Array(types.float32, 3, "C"),
            types.int64, types.int64,
        ),
    )  # fmt: skip


@functools.cache
def _teach() -> None:
    """Put vector code in the place of the two functions that are for compiled code only.

    It is written in LLVM's own language because what matters can't be said in numba's: sixteen
    lists in a row, and the sums in registers from the first to the last.
    """
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic, overload

    whole, vector = ir.IntType(64), ir.VectorType(ir.FloatType(), _LANES)
    halves = ir.VectorType(ir.IntType(16), _LANES)
    bits = ir.VectorType(ir.IntType(32), _LANES)

    def number(value: int) -> Any:
        return ir.Constant(whole, value)

    def lanes(builder: Any, data: Any, place: Any, vector: Any = vector) -> list[Any]:
        """Return pointers to a panel's vectors from `data[place]` on."""
        row = builder.gep(data, [place])
        return [
            builder.bitcast(builder.gep(row, [number(v * _LANES)]), vector.as_pointer())
            for v in range(_PANEL // _LANES)
        ]

    def load(builder: Any, pointers: list[Any]) -> list[Any]:
        return [builder.load(pointer, align=4) for pointer in pointers]

    def add(builder: Any, one: list[Any], other: list[Any]) -> list[Any]:
        return [builder.fadd(a, b) for a, b in zip(one, other, strict=True)]

    def each_event(
        builder: Any, events: Any, span: tuple[Any, Any], carried: list[Any], body: Any
    ) -> list[Any]:
        """Loop over a span of events; `body` takes a neuron and what is carried on."""
        before = builder.block
        head, inside, after = (builder.append_basic_block() for _ in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        at = builder.phi(whole)
        kept = [builder.phi(value.type) for value in carried]
        builder.cbranch(builder.icmp_signed("<", at, span[1]), inside, after)
        builder.position_at_end(inside)
        neuron = builder.zext(builder.load(builder.gep(events, [at])), whole)
        new = body(neuron, kept)
        at.add_incoming(span[0], before)
        at.add_incoming(builder.add(at, number(1)), inside)
        for phi, first, next_ in zip(kept, carried, new, strict=True):
            phi.add_incoming(first, before)
            phi.add_incoming(next_, inside)
        builder.branch(head)
        builder.position_at_end(after)
        return kept

    def spans(builder: Any, starts: Any, row: Any) -> list[tuple[Any, Any]]:
        """Return where each pattern's events begin and end, the empty pattern first."""
        own = builder.gep(starts, [builder.mul(row, number(_PATTERNS + 1))])
        places = [
            builder.sext(builder.load(builder.gep(own, [number(p)])), whole)
            for p in range(_PATTERNS + 1)
        ]
        return list(itertools.pairwise(places))

    def data(context: Any, builder: Any, signature: Any, args: Any) -> list[Any]:
        return [
            context.make_array(kind)(context, builder, arg).data
            if isinstance(kind, types.Array) else arg
            for kind, arg in zip(signature.args, args, strict=True)
        ]  # fmt: skip

    def rounded(builder: Any, value: Any) -> Any:
        """Return the nearest bfloat16, ties to even, as bits."""
        raw = builder.bitcast(value, bits)

        def constant(value: int) -> Any:
            return ir.Constant(bits, [value] * _LANES)

        upper = builder.lshr(raw, constant(16))
        odd = builder.and_(upper, constant(1))
        up = builder.add(builder.add(raw, constant(0x7FFF)), odd)
        return builder.trunc(builder.lshr(up, constant(16)), halves)

    @intrinsic  # type: ignore[untyped-decorator]
    def sum_patterns(
        _: Any, panels: Any, weights: Any, events: Any, listed: Any, starts: Any, row: Any,
        bias: Any, left: Any, out: Any, there: Any, stride: Any,
    ) -> Any:  # fmt: skip
        kinds = (panels, weights, events, listed, starts, row, bias, left, out, there, stride)
        short = out.dtype != types.float32

        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            table, at, active, begin, places, row, start, left, out, there, apart = data(
                context, builder, signature, args
            )
            panel, own = builder.gep(table, [at]), builder.gep(active, [begin])
            zero = [ir.Constant(vector, [0.0] * _LANES)] * (_PANEL // _LANES)
            steps = [load(builder, lanes(builder, start, left))] * _WINDOW

            def take(neuron: Any, sums: list[Any]) -> list[Any]:
                row = builder.mul(neuron, number(_PANEL))
                return add(builder, sums, load(builder, lanes(builder, panel, row)))

            for pattern, span in enumerate(spans(builder, places, row)):
                if not pattern:
                    continue
                total = each_event(builder, own, span, zero, take)
                steps = [
                    add(builder, sums, total) if pattern >> step & 1 else sums
                    for step, sums in enumerate(steps)
                ]
            for step, sums in enumerate(steps):
                place = builder.add(there, builder.mul(apart, number(step)))
                pointers = lanes(builder, out, place, halves if short else vector)
                for value, pointer in zip(sums, pointers, strict=True):
                    builder.store(rounded(builder, value) if short else value, pointer, align=2)
            return context.get_dummy_value()

        return types.void(*kinds), emit

    @intrinsic  # type: ignore[untyped-decorator]
    def add_patterns(
        _: Any, sums: Any, rows: Any, events: Any, listed: Any, starts: Any, row: Any,
        grad: Any, here: Any, stride: Any,
    ) -> Any:  # fmt: skip
        kinds = (sums, rows, events, listed, starts, row, grad, here, stride)

        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            table, at, active, begin, starts, row, grad, here, apart = data(
                context, builder, signature, args
            )
            panel, own = builder.gep(table, [at]), builder.gep(active, [begin])
            places = [builder.add(here, builder.mul(apart, number(s))) for s in range(_WINDOW)]
            steps = [load(builder, lanes(builder, grad, p)) for p in places]
            for pattern, span in enumerate(spans(builder, starts, row)):
                of = [values for step, values in enumerate(steps) if pattern >> step & 1]
                if not of:
                    continue
                total = functools.reduce(functools.partial(add, builder), of)

                def give(neuron: Any, _: list[Any], total: list[Any] = total) -> list[Any]:
                    row = builder.mul(neuron, number(_PANEL))
                    pointers = lanes(builder, panel, row)
                    for value, pointer in zip(
                        add(builder, load(builder, pointers), total), pointers, strict=True
                    ):
                        builder.store(value, pointer, align=4)
                    return []

                each_event(builder, own, span, [], give)
            return context.get_dummy_value()

        return types.void(*kinds), emit

    taught: tuple[Any, Any] = sum_patterns, add_patterns
    summing, adding = taught
    overload(_sum_patterns, strict=False)(
        lambda a, b, c, d, e, f, g, h, i, j, k: (
            lambda a, b, c, d, e, f, g, h, i, j, k: summing(a, b, c, d, e, f, g, h, i, j, k)
        )
    )
    overload(_add_patterns, strict=False)(
        lambda a, b, c, d, e, f, g, h, i: (
            lambda a, b, c, d, e, f, g, h, i: adding(a, b, c, d, e, f, g, h, i)
        )
    )
