"""What the processor can do that kernels make use of where they find it."""

from __future__ import annotations

import functools


@functools.cache
def adds_float16() -> bool:
    """Return whether the processor adds float16 numbers without making float32 of them."""
    return _has("avx512fp16")


@functools.cache
def picks() -> bool:
    """Return whether the processor moves chosen numbers of a vector together."""
    return _has("avx512vbmi2")


def _has(feature: str) -> bool:
    """Return whether the code that numba makes may use a feature of the processor.

    A user may have told numba to make code for another one.
    """
    from numba.core.registry import cpu_target

    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return f"+{feature}" in features.split(",")
