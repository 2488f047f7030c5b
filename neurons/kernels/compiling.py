"""Compiling a kernel with numba."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from sigprop_snn.neurons.kernels.intrinsics import teach


def compiled(function: Callable[..., None], signature: Any, **options: Any) -> Callable[..., None]:
    """Return `function` compiled for one signature; numba keeps it on disk where it can."""
    teach()
    # numba looks for changes in the function's own file alone, but kernels are made of several:
    # the name that it keeps them under tells of all.
    function.__qualname__ = f"{function.__name__}-{_sources()}"
    options = {"nogil": True, "error_model": "numpy", "boundscheck": False, **options}
    try:
        kernel = numba.njit(signature, cache=True, **options)(function)
    except (RuntimeError, OSError):  # no place to write the cache
        kernel = numba.njit(signature, **options)(function)
    return kernel  # type: ignore[no-any-return]


@functools.cache
def _sources() -> str:
    """Return a digest of all kernels' source files."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]
