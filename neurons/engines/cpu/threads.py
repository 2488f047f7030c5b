"""Run numba code on torch's own threads.

torch's OpenMP threads spin: after an operation they wait for the next one in a busy loop. Threads
of numba's own pool would have to fight them for the cores, so kernels run on torch's threads.
These threads never touch the interpreter: a kernel is entered once, and its threads take their
chunks of the work in compiled code, without the interpreter's lock.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from struct import Struct
from types import FunctionType
from typing import Any, TypeVar

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import carray, types  # type: ignore[attr-defined]
from numba.extending import intrinsic, register_jitable
from torch import Tensor

from sigprop_snn.neurons.engines.compiled import compile_cached

_CACHE_LINE = 64  # items: no cache line has more
_SHARES = 2  # a chunk is this part of a thread's share: other threads can take over from a slow one
_NEXT, _DONE, _CHUNKS, _HEADER = range(4)  # the first words of a job, and their number
_WORD = ir.IntType(64)
_FLOAT, _BITS = Struct("f"), Struct("i")

_Function = TypeVar("_Function", bound=Callable[..., Any])


def jitable(function: _Function) -> _Function:
    """Let kernels call a function: numba compiles it with them."""
    return register_jitable(function)  # type: ignore[no-any-return, no-untyped-call]


def jitable_sum(function: _Function) -> _Function:
    """Do the same for a function whose sums may take any order, so that LLVM uses vectors."""
    made = register_jitable(fastmath={"reassoc"})(function)  # type: ignore[no-untyped-call]
    return made  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class Kernel:
    """A function that several threads run at once, on different items.

    It is compiled when it first meets arguments of some types, or loaded from numba's cache.

    Attributes:
        function: takes the arguments, and the first and the last item of a chunk, and writes to
            the arrays among the arguments. It calls numpy, and functions that are `jitable`.
        entries: the compiled functions, by the types of the arguments. Each takes chunks of a job,
            given its address, until none is left.
    """

    function: Callable[..., None]
    entries: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    def entry(self, kinds: tuple[Any, ...]) -> Any:
        """Return the compiled function for arguments of these kinds: see `_words`.

        Call its `ctypes`, or let another thread enter at its `address`.
        """
        if kinds not in self.entries:
            # Inlined, the layer kernels took 2 to 6 % less time.
            compiled = numba.njit(error_model="numpy", boundscheck=False, forceinline=True)
            work = _work_of(compiled(self.function), tuple(map(_numba_type, kinds)))
            described = f"{self.function.__module__} {self.function.__name__} {kinds}"
            self.entries[kinds] = compile_cached(work, types.void(types.voidptr), described)
        return self.entries[kinds]


def run_kernel(kernel: Kernel, arguments: Sequence[Any], count: int, *, min_chunk: int = 1) -> None:
    """Run a kernel over `count` items, on as many threads as torch uses.

    Args:
        kernel: must be safe to run on several ranges of items at once.
        arguments: its arguments, without the range: tensors on the CPU become arrays, a float is
            one of 32 bits.
        count: the number of items.
        min_chunk: the smallest number of items for which a thread pays.

    Raises:
        TypeError: if a tensor is not on the CPU.
        MemoryError: if the kernel got no memory for its own arrays.
    """
    threads = torch.get_num_threads()
    starts = _chunk_starts(count, threads, min_chunk)
    threads = min(threads, len(starts))
    if threads == 1:
        starts = (0,)
    kinds, words = _words(arguments)
    words = [0, 0, len(starts), *words, *starts, count]
    job = (ctypes.c_int64 * len(words))(*words)
    entry = kernel.entry(kinds)
    if threads == 1:
        entry.ctypes(ctypes.addressof(job))
    else:
        _enter_on_threads(entry, ctypes.addressof(job), threads)
    if job[_DONE] != len(starts):
        name = kernel.function.__name__
        raise MemoryError(f"kernel {name} ended early; expected memory for its own arrays")


@functools.lru_cache(maxsize=256)
def _chunk_starts(count: int, threads: int, min_chunk: int) -> tuple[int, ...]:
    """Return the first item of every chunk.

    Chunks become smaller and smaller, so that all threads end at about the same time. Where items
    are so small that a chunk has many, threads write to different cache lines.
    """
    starts: list[int] = []
    start, multiple = 0, _CACHE_LINE if min_chunk >= _CACHE_LINE else 1
    while start < count or not starts:
        starts.append(start)
        size = max(min_chunk, -(-(count - start) // (threads * _SHARES)))
        start += -(-size // multiple) * multiple
    return tuple(starts)


def _words(arguments: Sequence[Any]) -> tuple[tuple[Any, ...], list[int]]:
    """Return the kinds of arguments, and the arguments as the 64-bit words of a job.

    The kind of a tensor is its dtype, the number of its axes, and whether it is contiguous; its
    words are those of an array of numba. The kind of a number is float or int.
    """
    kinds: list[Any] = []
    words: list[int] = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            if not argument.is_cpu:
                raise TypeError(f"a kernel got a tensor on {argument.device}; expected the CPU")
            size = argument.element_size()
            kinds.append((argument.dtype, argument.dim(), argument.is_contiguous()))
            strides = (size * stride for stride in argument.stride())
            # Nobody owns the memory; the number of items, their size in bytes, the first item.
            words += [0, 0, argument.numel(), size, argument.data_ptr(), *argument.shape, *strides]
        elif isinstance(argument, float):
            kinds.append(float)
            words += _BITS.unpack(_FLOAT.pack(argument))
        else:
            kinds.append(int)
            words.append(int(argument))
    return tuple(kinds), words


def _enter_on_threads(entry: Any, job: int, threads: int) -> None:
    """Let some threads take chunks of a job; the current thread is one of them."""
    start = _openmp() if os.getpid() == _PROCESS else None
    if start is not None:
        start(entry.address, job, threads, 0)
        return
    others = [threading.Thread(target=entry.ctypes, args=(job,)) for _ in range(threads - 1)]
    for other in others:
        other.start()
    entry.ctypes(job)
    for other in others:
        other.join()


_PROCESS = os.getpid()  # OpenMP's threads do not survive a fork: the child would wait for them


@functools.cache
def _openmp() -> Callable[..., Any] | None:
    """Return the function that opens a parallel region of torch's own OpenMP, if it is found."""
    if "OpenMP" not in torch.__config__.parallel_info():
        return None
    try:
        # GNU's entry, which LLVM's and Intel's libraries have as well.
        start = ctypes.CDLL(None).GOMP_parallel
    except (AttributeError, OSError, TypeError):
        return None
    start.restype = None
    start.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    return start  # type: ignore[no-any-return]


def _numba_type(kind: Any) -> Any:
    """Return numba's type for a kind of argument: see `_words`."""
    if not isinstance(kind, tuple):
        return types.float32 if kind is float else types.int64
    dtype, axes, contiguous = kind
    numbers = torch.empty(0, dtype=dtype).numpy().dtype
    return types.Array(numba.from_dtype(numbers), axes, "C" if contiguous else "A")


# A job is a row of 64-bit words: the next chunk, the number of chunks that are done, the number of
# all chunks, the kernel's arguments, and the first item of every chunk. These names are set for
# every kernel in a copy of this module's globals.
_kernel: Any = None
_read_arguments: Any = None
_first_start: int = 0


def _work_of(kernel: Any, kinds: tuple[Any, ...]) -> Callable[[Any], None]:
    """Return a function of a job's address that runs the kernel on chunks until none is left."""
    names = {
        "_kernel": kernel,
        "_read_arguments": _reader_of(kinds),
        "_first_start": _HEADER + sum(map(_count_words, kinds)),
    }
    # Globals, not a closure: numba's cache would compare the contents of a closure, and a kernel
    # is a new object in every process.
    return FunctionType(_work.__code__, {**globals(), **names}, _work.__name__)


def _work(job: Any) -> None:
    words = carray(job, (1,), np.int64)  # and the words behind it
    arguments = _read_arguments(job)
    chunk: Any = _count_up(job, _NEXT)  # type: ignore[call-arg]
    while chunk < words[_CHUNKS]:
        place = _first_start + chunk
        _kernel(*(arguments + (words[place], words[place + 1])))  # noqa: RUF005 (numba's way)
        _count_up(job, _DONE)
        chunk = _count_up(job, _NEXT)


@intrinsic  # type: ignore[untyped-decorator]
def _count_up(_: Any, job: Any, place: Any) -> Any:
    """Add 1 to a word of a job and return its value before; no two threads get the same value."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        words, at = builder.bitcast(args[0], _WORD.as_pointer()), args[1]
        return builder.atomic_rmw("add", builder.gep(words, [at]), _WORD(1), "acq_rel")

    return types.int64(job, types.int64), emit


def _reader_of(kinds: tuple[Any, ...]) -> Any:
    """Return a function that reads arguments of these types from a job."""

    @intrinsic  # type: ignore[untyped-decorator]
    def read_arguments(_: Any, job: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            words, place = builder.bitcast(args[0], _WORD.as_pointer()), _HEADER
            values = []
            for kind in kinds:
                first = builder.gep(words, [_WORD(place)])
                held = context.get_value_type(kind).as_pointer()
                values.append(builder.load(builder.bitcast(first, held)))
                place += _count_words(kind)
            return context.make_tuple(builder, signature.return_type, values)

        return types.Tuple(kinds)(job), emit  # type: ignore[no-untyped-call]

    return read_arguments


def _count_words(kind: Any) -> int:
    """Return the number of words of an argument."""
    return 5 + 2 * kind.ndim if isinstance(kind, types.Array) else 1
