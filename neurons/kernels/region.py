"""What every thread runs of a kernel: it takes parts of the job until there are none.

A job is a row of 64-bit words: which part is next, how many are done, how many there are, the
kernel's arguments, and where each part begins. See `sharing`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types  # type: ignore[attr-defined]
from numba.extending import intrinsic
from numba.np import arrayobj

from sigprop_snn.neurons.kernels.sharing import DONE, HEAD, NEXT, PARTS

_WORD = ir.IntType(64)

# What every region has of its own: its kernel, what reads its arguments, where its parts begin.
_kernel: Any = None
_arguments: Any = None
_behind: int = 0


def region_of(kernel: Any, kinds: tuple[Any, ...]) -> Callable[[Any], None]:
    """Return the function of a job's address that runs a kernel on parts of it, to be compiled.

    Args:
        kernel: takes arguments of these kinds, and the first and last item of a part.
        kinds: numba's types of the arguments.
    """
    behind = HEAD + sum(_words_of(kind) for kind in kinds)
    own = {"_kernel": kernel, "_arguments": _reader(kinds), "_behind": behind}
    # Among its globals, not in a closure: numba keeps on disk what a closure holds along with the
    # function, and a kernel is another object every time, so it would never be found again.
    return FunctionType(_region.__code__, {**globals(), **own}, _region.__name__)


def _region(job: Any) -> None:
    words = carray(job, (1,), np.int64)  # and those behind it
    given = _arguments(job)
    part: Any = _take_one(job, NEXT)  # type: ignore[call-arg]
    while part < words[PARTS]:
        place = _behind + part
        _kernel(*(given + (words[place], words[place + 1])))  # noqa: RUF005 (numba's way)
        _take_one(job, DONE)
        part = _take_one(job, NEXT)


@intrinsic  # type: ignore[untyped-decorator]
def _take_one(_: Any, job: Any, place: Any) -> Any:
    """Count one of a job's words up, and return what it was, whichever thread comes first."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        words, at = builder.bitcast(args[0], _WORD.as_pointer()), args[1]
        return builder.atomic_rmw("add", builder.gep(words, [at]), ir.Constant(_WORD, 1), "acq_rel")

    return types.int64(job, types.int64), emit


def _reader(kinds: tuple[Any, ...]) -> Any:
    """Return what reads arguments of these kinds from a job."""

    @intrinsic  # type: ignore[untyped-decorator]
    def arguments(_: Any, job: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            words, place = builder.bitcast(args[0], _WORD.as_pointer()), HEAD
            values = []
            for kind in kinds:
                own = [
                    builder.load(builder.gep(words, [ir.Constant(_WORD, place + word)]))
                    for word in range(_words_of(kind))
                ]
                values.append(_value(context, builder, kind, own))
                place += len(own)
            return context.make_tuple(builder, signature.return_type, values)

        return types.Tuple(kinds)(job), emit  # type: ignore[no-untyped-call]

    return arguments


def _words_of(kind: Any) -> int:
    """Return how many words tell an argument: an array's are its place, its shape, its strides."""
    return 1 + 2 * kind.ndim if isinstance(kind, types.Array) else 1


def _value(context: Any, builder: Any, kind: Any, words: list[Any]) -> Any:
    """Return an argument as numba's code has it."""
    if isinstance(kind, types.Array):
        place, *sizes = words
        array = context.make_array(kind)(context, builder)
        item = context.get_data_type(kind.dtype)
        arrayobj.populate_array(  # type: ignore[no-untyped-call]
            array,
            data=builder.inttoptr(place, item.as_pointer()),
            shape=sizes[: kind.ndim],
            strides=sizes[kind.ndim :],
            itemsize=ir.Constant(_WORD, context.get_abi_sizeof(item)),
            meminfo=None,
        )
        return array._getvalue()
    if kind == types.float32:
        return builder.bitcast(builder.trunc(words[0], ir.IntType(32)), ir.FloatType())
    return context.cast(builder, words[0], types.int64, kind)
