"""Inputs over time: modules applied to every step, steps that are all the same."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError


def stepwise(module: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Return a module's output for every step of `[T, N, ...]`.

    The module sees all steps at once, as `[T * N, ...]`.

    Raises:
        SigpropError: if it returns no tensor.
    """
    out = module(values.flatten(0, 1))
    if not isinstance(out, Tensor):
        raise SigpropError(
            f"{type(module).__name__} returned a {type(out).__name__}; expected a tensor [N, ...]"
        )
    return out.view(*values.shape[:2], *out.shape[1:])


def is_constant(inputs: Tensor) -> bool:
    """Return whether `[T, N, ...]` repeats one step, as `x.expand(T, ...)` does."""
    return inputs.shape[0] == 1 or inputs.stride(0) == 0


def with_contexts(current: Tensor, contexts: Tensor | None) -> Tensor:
    """Return the currents `[T, N, ...]` of samples, and of the contexts behind them."""
    if contexts is None:
        return current
    steps = current.shape[0]
    distinct = current[:1] if is_constant(current) else current
    both = torch.cat([distinct, contexts.expand(distinct.shape[0], *contexts.shape)], dim=1)
    return both.expand(steps, *both.shape[1:]) if distinct is not current else both
