"""Feature maps that a loss compares: rectified voltages averaged to a grid, and their gradient.

Torch takes five passes over the maps for both, and these kernels take two.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.neurons.engines.cpu.threads import Kernel, jitable, run_kernel


def rectified_grid_mean(voltage: Tensor, grid: int) -> Tensor:
    """Do what `Engine.rectified_grid_mean` does, for float32 voltages that are channels-last."""
    given = voltage.movedim(1, -1)
    mean = torch.empty(len(given), grid, grid, given.shape[3])
    run_kernel(_mean, (given.flatten(2), mean), len(given))
    return mean.movedim(-1, 1)


def rectified_grid_gradient(voltage: Tensor, grad: Tensor) -> Tensor:
    """Do what `Engine.rectified_grid_gradient` does, with nothing to add."""
    given = voltage.movedim(1, -1)
    found, by_mean = torch.empty(given.shape), grad.movedim(1, -1).contiguous()
    run_kernel(_gradient, (given.flatten(2), by_mean, found.flatten(2)), len(given))
    return found.movedim(-1, 1)


@jitable
def _window(place: Any, size: Any, grid: Any) -> Any:
    """Return the first position of a window of the grid, and the one behind its last."""
    return place * size // grid, ((place + 1) * size + grid - 1) // grid


@Kernel
def _mean(voltage: Any, mean: Any, first: int, last: int) -> None:
    """Fill rows `first` to `last` of `[N, G, G, C]`, given `[N, H, W * C]`."""
    zero, (height, length), (grid, channels) = np.float32(0.0), voltage.shape[1:], mean.shape[2:]
    line = np.empty(length, np.float32)
    for row in range(first, last):
        for i in range(grid):
            top, bottom = _window(i, height, grid)
            line[:] = zero
            for y in range(top, bottom):
                for k in range(length):
                    line[k] += max(voltage[row, y, k], zero)
            for j in range(grid):
                left, right = _window(j, length // channels, grid)
                count = np.float32((bottom - top) * (right - left))
                mean[row, i, j] = zero
                for x in range(left, right):
                    for c in range(channels):
                        mean[row, i, j, c] += line[x * channels + c] / count


@Kernel
def _gradient(voltage: Any, by_mean: Any, found: Any, first: int, last: int) -> None:
    """Fill rows `first` to `last` of `[N, H, W * C]`; windows may overlap."""
    zero, (height, length), (grid, channels) = np.float32(0.0), voltage.shape[1:], by_mean.shape[2:]
    line = np.empty(length, np.float32)
    for row in range(first, last):
        found[row] = zero
        for i in range(grid):
            top, bottom = _window(i, height, grid)
            line[:] = zero
            for j in range(grid):
                left, right = _window(j, length // channels, grid)
                count = np.float32((bottom - top) * (right - left))
                for x in range(left, right):
                    for c in range(channels):
                        line[x * channels + c] += by_mean[row, i, j, c] / count
            for y in range(top, bottom):
                for k in range(length):  # asked in this way, NaN is not taken for silence
                    found[row, y, k] += zero if voltage[row, y, k] <= zero else line[k]
