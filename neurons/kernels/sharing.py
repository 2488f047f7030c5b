"""Sharing a kernel's work among threads.

The threads are torch's own: once they have run one of its operations they wait for the next on a
busy loop, and would hold the processor against any others. They never touch the interpreter, whose
lock would have to be handed from one to the other for every part: a kernel is entered once, and
its threads take their parts in compiled code.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

_GRAIN = 64  # threads share no cache line
_TURNS = 2  # a thread's share of what is left: one that is held up leaves the rest to the others
NEXT, DONE, PARTS, HEAD = range(4)  # what the first words of a job tell, and how many they are


class Array(NamedTuple):
    """What a kernel takes for one of its arrays.

    Attributes:
        dtype: of its numbers.
        axes: how many it has.
        contiguous: whether its memory has to lie in order.
    """

    dtype: torch.dtype
    axes: int
    contiguous: bool


@dataclass(frozen=True)
class Compiled:
    """A kernel, ready to run on some threads at once.

    Attributes:
        name: for people.
        takes: what its arguments are: an `Array`, or `float` or `int` for a number.
        enter: takes parts of a job, given its address, until there are none.
        address: of the same, for other threads.
    """

    name: str
    takes: tuple[Array | type, ...]
    enter: Callable[[int], None]
    address: int

    def words(self, given: Sequence[Any]) -> list[int]:
        """Return arguments as a job tells them.

        Raises:
            TypeError: if one is not what the kernel takes.
        """
        words: list[int] = []
        for argument, takes in zip(given, self.takes, strict=True):
            if takes is int:
                words.append(int(argument))
            elif takes is float:
                words.append(struct.unpack("i", struct.pack("f", argument))[0])
            else:
                assert isinstance(takes, Array)
                words += _array(argument, takes, self.name)
        return words


def share(
    kernel: Compiled, given: Sequence[Any], count: int, worth: int, *, grain: int = _GRAIN
) -> None:
    """Run a kernel over `count` items, on as many threads as torch uses.

    Args:
        kernel: must be safe to run on several ranges of items at once.
        given: its arguments, without the range.
        count: how many items there are.
        worth: how many of them are worth a part of their own.
        grain: what the parts' numbers of items are multiples of.

    Raises:
        TypeError: if an argument is not what the kernel takes.
        MemoryError: if the kernel found no room to work in.
    """
    threads = torch.get_num_threads()
    starts = _starts(count, threads, worth, grain)
    threads = min(threads, len(starts))
    if threads == 1:
        starts = [0]
    words = [0, 0, len(starts), *kernel.words(given), *starts, count]
    job = (ctypes.c_int64 * len(words))(*words)
    if threads == 1:
        kernel.enter(ctypes.addressof(job))
    else:
        _enter_on_threads(kernel, ctypes.addressof(job), threads)
    if job[DONE] != len(starts):
        raise MemoryError(f"kernel {kernel.name} ended early; expected room for its own arrays")


def _starts(count: int, threads: int, worth: int, grain: int) -> list[int]:
    """Return where parts begin; they get ever smaller, so that all are done at about one time."""
    starts: list[int] = []
    start = 0
    while start < count or not starts:
        starts.append(start)
        size = max(worth, -(-(count - start) // (threads * _TURNS)))
        start += -(-size // grain) * grain
    return starts


def _array(tensor: Tensor, takes: Array, kernel: str) -> list[int]:
    """Return where a tensor lies, its shape, and from one to the next of each axis, in bytes."""
    if (
        tensor.dtype != takes.dtype
        or tensor.dim() != takes.axes
        or tensor.device.type != "cpu"
        or (takes.contiguous and not tensor.is_contiguous())
    ):
        raise TypeError(
            f"kernel {kernel} got a tensor of {tensor.dtype}, shape {list(tensor.shape)}, strides "
            f"{list(tensor.stride())} on {tensor.device}; expected {takes} on the CPU"
        )
    size = tensor.element_size()
    return [tensor.data_ptr(), *tensor.shape, *(size * stride for stride in tensor.stride())]


def _enter_on_threads(kernel: Compiled, job: int, threads: int) -> None:
    """Let some threads take parts of a job, this one among them."""
    start = _openmp() if os.getpid() == _PROCESS else None
    if start is not None:
        start(kernel.address, job, threads, 0)
        return
    pool = _pool(os.getpid(), threads)
    others = [pool.submit(kernel.enter, job) for _ in itertools.repeat(None, threads - 1)]
    kernel.enter(job)
    for other in others:
        other.result()


_PROCESS = os.getpid()  # OpenMP's threads do not survive a fork, and it would wait for them


@functools.cache
def _openmp() -> Callable[..., Any] | None:
    """Return what opens a parallel region of torch's own OpenMP, where it is to be found."""
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


@functools.cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    # One a process: threads do not survive a fork.
    return ThreadPoolExecutor(threads, thread_name_prefix="sigprop")
