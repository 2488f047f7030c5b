"""The memory of the process."""

from __future__ import annotations

import ctypes
import resource
import sys

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt
_KEPT_BYTES = 2**30


def peak_memory_mb(device: torch.device) -> float:
    """Return the most memory held so far, in MiB: of the process, or of tensors on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def keep_freed_memory() -> bool:
    """Let the C library keep blocks of up to 1 GiB that are freed, for the next batch to use.

    By default glibc hands large blocks back to the system, which then fills them with zeros again
    at every batch; that can take as long as learning does. It is a choice for the whole process,
    so a program makes it, never the library by itself. Elsewhere than on glibc nothing is done.

    Returns:
        Whether the C library took it.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    taken = [mallopt(option, _KEPT_BYTES) for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD)]
    return all(taken)
