"""Sharing a kernel's work among threads."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch

_STEP = 64  # threads share no cache line


def share(work: Callable[[int, int], None], count: int, worth: int) -> None:
    """Run `work(start, stop)` over `count` items, on as many threads as torch uses.

    Plain threads and kernels that let go of the interpreter's lock: numba's own pools either end
    the process after a fork or refuse calls from two threads.

    Args:
        work: must be safe to run on several ranges at once.
        count: how many items there are.
        worth: how many of them are worth another thread.
    """
    workers = max(1, min(torch.get_num_threads(), count // max(1, worth)))
    size = -(-count // (workers * _STEP)) * _STEP
    spans = [(start, min(start + size, count)) for start in range(0, count, size)]
    if len(spans) == 1:
        work(*spans[0])
        return
    pool = _pool(os.getpid(), torch.get_num_threads())
    others = [pool.submit(work, *span) for span in spans[1:]]
    work(*spans[0])
    for other in others:
        other.result()


@functools.cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    # One a process: threads do not survive a fork.
    return ThreadPoolExecutor(threads, thread_name_prefix="sigprop")
