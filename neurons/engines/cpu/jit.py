"""The decorator of functions that kernels call."""

from __future__ import annotations

from numba.extending import register_jitable as jitable

__all__ = ["jitable"]
