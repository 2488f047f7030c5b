"""Compiling a kernel with numba."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import torch
from numba import types

from sigprop_snn.neurons.kernels.intrinsics import teach
from sigprop_snn.neurons.kernels.region import region_of
from sigprop_snn.neurons.kernels.sharing import Array, Compiled

_DTYPES = {
    types.float32: torch.float32,
    types.uint8: torch.uint8,
    types.uint16: torch.uint16,
    types.uint32: torch.uint32,
    types.int32: torch.int32,
    types.int64: torch.int64,
    types.boolean: torch.bool,
}


def compiled(function: Callable[..., None], *kinds: Any, **options: Any) -> Compiled:
    """Return a kernel for arguments of some of numba's types; numba keeps it on disk where it can.

    Args:
        function: takes the arguments, and the first and last item of its part, and writes to the
            arrays among them.
        kinds: the arguments' types.
        options: numba's.
    """
    teach()
    options = {"error_model": "numpy", "boundscheck": False, **options}
    region = region_of(numba.njit(**options)(function), kinds)
    # numba looks for changes in the function's own file alone, but kernels are made of several:
    # the name that it keeps them under tells of all.
    name = function.__name__.lstrip("_")
    region.__qualname__ = f"{name}-{_digest(function.__module__, *map(str, kinds))}"
    entered = types.void(types.voidptr)
    try:
        made = numba.cfunc(entered, cache=True)(region)
    except (RuntimeError, OSError):  # no place to write the cache
        made = numba.cfunc(entered)(region)
    assert made.address is not None
    return Compiled(name, tuple(map(_taken, kinds)), made.ctypes, made.address)


def _taken(kind: Any) -> Array | type:
    if isinstance(kind, types.Array):
        return Array(_DTYPES[kind.dtype], kind.ndim, kind.layout == "C")
    return float if isinstance(kind, types.Float) else int


def _digest(*of: str) -> str:
    """Return a short name for these words and all kernels' source files."""
    return hashlib.sha256("\n".join([_sources(), *of]).encode()).hexdigest()[:12]


@functools.cache
def _sources() -> str:
    """Return a digest of all kernels' source files."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()
