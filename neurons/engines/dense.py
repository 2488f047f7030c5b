"""Spikes as plain numbers: how the reference engine stores them, and any graded activity."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sigprop_snn.neurons.pooling import halved, is_halving
from sigprop_snn.neurons.stepwise import is_constant, stepwise


class DenseSpikes:
    """Activity `[T, N, ...]` in a tensor; it may carry a gradient.

    Args:
        values: the activity. A time axis of stride 0 marks one that is constant in time.
    """

    def __init__(self, values: Tensor) -> None:
        self._values = values

    @property
    def shape(self) -> torch.Size:
        """The shape of the activity, `[T, N, ...]`."""
        return self._values.shape

    @property
    def constant(self) -> bool:
        """Whether all steps are known to be the same."""
        return is_constant(self._values)

    def dense(self) -> Tensor:
        """Return the activity as numbers, `[T, N, ...]`."""
        return self._values

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Return the sum over time of each step's weight times its activity, `[N, ...]`."""
        values = self._values
        product = weights.to(values) @ values.reshape(values.shape[0], -1)
        return product.view(values.shape[1:])

    def count(self) -> Tensor:
        """Return the sum of the activity over time, `[N, ...]`, float32 or wider."""
        values = self._values.detach()
        return values.sum(0, dtype=torch.promote_types(values.dtype, torch.float32))

    def rows(self, first: int, last: int | None = None) -> DenseSpikes:
        """Return the rows `first` to `last`."""
        return DenseSpikes(self._values[:, first:last])

    def flatten(self) -> DenseSpikes:
        """Return the same with one axis of neurons, `[T, N, K]`."""
        return DenseSpikes(self._values.flatten(2))

    def pooled(self, pool: nn.Module) -> DenseSpikes:
        """Return the output of a module for every step, without a gradient."""
        with torch.no_grad():
            maps = self._values.dim() == 5 and self._values.device.type == "cpu"
            fast = maps and is_halving(pool)  # the same numbers, many times faster
            return DenseSpikes(halved(self._values) if fast else stepwise(pool, self._values))

    def __repr__(self) -> str:
        return f"DenseSpikes(shape={list(self.shape)}, dtype={self._values.dtype})"
