"""Sharing a kernel's work among threads.

Kernels let go of the interpreter's lock, so plain threads could run them; numba's own pools either
end the process after a fork or refuse calls from two threads. But torch's threads are better: once
they have run one of its operations they wait for the next on a busy loop, and would hold the
processor against any others. So the work goes to them, through the OpenMP library they belong to.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

_GRAIN = 64  # threads share no cache line
_TURNS = 2  # a thread's share of what is left: one that is held up leaves the rest to the others


def share(work: Callable[[int, int], None], count: int, worth: int, *, grain: int = _GRAIN) -> None:
    """Run `work(start, stop)` over `count` items, on as many threads as torch uses.

    Args:
        work: must be safe to run on several ranges at once.
        count: how many items there are.
        worth: how many of them are worth a call of their own.
        grain: what the calls' numbers of items are multiples of.
    """
    threads = torch.get_num_threads()
    spans: deque[tuple[int, int]] = deque()
    start = 0
    while start < count:
        # Ever smaller: all are done at about the same time.
        size = max(worth, -(-(count - start) // (threads * _TURNS)))
        stop = start + -(-size // grain) * grain
        spans.append((start, min(stop, count)))
        start = stop
    if threads == 1 or len(spans) <= 1:
        work(0, count)
        return
    failed: list[BaseException] = []

    def take_turns() -> None:
        while True:
            try:
                span = spans.popleft()
            except IndexError:
                return
            try:
                work(*span)
            except BaseException as error:  # on another thread it would be lost
                failed.append(error)
                return

    _run_on_threads(take_turns, min(threads, len(spans)))
    if failed:
        raise failed[0]


def _run_on_threads(task: Callable[[], None], threads: int) -> None:
    """Call `task` once on each of some threads at the same time."""
    start = _openmp() if os.getpid() == _PROCESS else None
    if start is not None:
        region = _REGION(lambda _: task())
        start(region, None, threads, 0)
        return
    pool = _pool(os.getpid(), threads)
    others = [pool.submit(task) for _ in range(threads - 1)]
    task()
    for other in others:
        other.result()


_PROCESS = os.getpid()  # OpenMP's threads do not survive a fork, and it would wait for them
_REGION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


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
    start.argtypes = [_REGION, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    return start  # type: ignore[no-any-return]


@functools.cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    # One a process: threads do not survive a fork.
    return ThreadPoolExecutor(threads, thread_name_prefix="sigprop")
