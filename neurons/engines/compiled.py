"""Where compiled kernels are kept: in the user's cache folder.

numba's default is a folder beside the source. Files there stay behind when the package is removed,
and a folder that is left over hides the next installation.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba


def compile_cached(function: Callable[..., None], signature: Any, described: str) -> Any:
    """Compile a function for C callers, or load it from the cache.

    Args:
        function: the function.
        signature: its types.
        described: tells it from every other function of the CPU engine.
    """
    # numba compares the source of one file alone, and a kernel is made of several: the name under
    # which numba keeps it holds a digest of all of them.
    digest = hashlib.sha256(_sources() + described.encode()).hexdigest()
    function.__qualname__ = f"{function.__name__}-{digest[:12]}"
    # What the user has set, or nothing.
    before = numba.config.CACHE_DIR  # type: ignore[attr-defined]
    try:
        numba.config.CACHE_DIR = _writable(before or _cache_folder())  # type: ignore[attr-defined]
        return numba.cfunc(signature, cache=True)(function)
    except (RuntimeError, OSError):  # no home, no permission, a full disk
        return numba.cfunc(signature)(function)
    finally:
        numba.config.CACHE_DIR = before  # type: ignore[attr-defined]


@functools.cache
def _sources() -> bytes:
    """Return the sources of all kernels."""
    folder = Path(__file__).parent / "cpu"
    return b"".join(file.read_bytes() for file in sorted(folder.glob("*.py")))


def _cache_folder() -> str:
    """Return the folder for compiled kernels in the user's cache."""
    if sys.platform == "win32":
        cache = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        cache = Path.home() / "Library" / "Caches"
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return str(Path(cache) / "sigprop_snn" / "numba")


def _writable(folder: str) -> str:
    """Return the folder, made if it does not exist.

    Raises:
        OSError: if no file can be written there.
    """
    Path(folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        return folder
