"""Compiling a kernel with numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def compiled(function: Callable[..., None], signature: Any, **options: Any) -> Callable[..., None]:
    """Return `function` compiled for one signature; numba keeps it on disk where it can."""
    import numba

    options = {"nogil": True, "error_model": "numpy", "boundscheck": False, **options}
    try:
        kernel = numba.njit(signature, cache=True, **options)(function)
    except (RuntimeError, OSError):  # no place to write the cache
        kernel = numba.njit(signature, **options)(function)
    return kernel  # type: ignore[no-any-return]
