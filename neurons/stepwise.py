"""Apply a module that knows no time to every step of an input."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def stepwise(module: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Return a module's output for every step of `[T, N, ...]`.

    The module sees all steps at once, as `[T * N, ...]`.
    """
    out = module(values.flatten(0, 1))
    return out.view(*values.shape[:2], *out.shape[1:])


def is_constant(inputs: Tensor) -> bool:
    """Return whether `[T, N, ...]` repeats one step, as `x.expand(T, ...)` does."""
    return inputs.shape[0] == 1 or inputs.stride(0) == 0
