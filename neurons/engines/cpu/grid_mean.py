"""Feature maps that a loss compares: rectified voltages averaged to a grid, and their gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.neurons.engines.cpu.threads import Kernel, jitable, run_kernel


def takes_maps(voltage: Tensor) -> bool:
    """Return whether the kernels take voltages: float32 `[N, C, H, W]`, channels-last."""
    return (
        voltage.dim() == 4
        and voltage.numel() > 0
        and voltage.is_cpu
        and voltage.dtype == torch.float32
        and voltage.is_contiguous(memory_format=torch.channels_last)
        and not torch.compiler.is_compiling()
    )


def rectified_grid_mean(voltage: Tensor, grid: int) -> Tensor:
    """Do what `Engine.rectified_grid_mean` does."""
    given = voltage.movedim(1, -1)
    mean = torch.empty(len(given), grid, grid, given.shape[3])
    run_kernel(_mean, (given.flatten(2), mean), len(given))
    return mean.movedim(-1, 1)


def rectified_grid_gradient(voltage: Tensor, grid: int, grad: Tensor) -> Tensor:
    """Do what `Engine.rectified_grid_gradient` does, with nothing to add."""
    given = voltage.movedim(1, -1)
    found = torch.empty(given.shape)
    by_mean = grad.movedim(1, -1).contiguous()
    run_kernel(_gradient, (given.flatten(2), by_mean, found.flatten(2)), len(given))
    return found.movedim(-1, 1)


@jitable
def _window(place: Any, size: Any, grid: Any) -> Any:
    """Return the first position of a window of the grid, and the one behind its last."""
    return place * size // grid, ((place + 1) * size + grid - 1) // grid


@Kernel
def _mean(voltage: Any, mean: Any, first: int, last: int) -> None:
    """Fill rows `first` to `last` of `[N, G, G, C]`, given `[N, H, W * C]`."""
    zero = np.float32(0.0)
    height, length = voltage.shape[1:]
    grid, channels = mean.shape[2:]
    width = length // channels
    line = np.empty(length, np.float32)
    for row in range(first, last):
        for i in range(grid):
            top, bottom = _window(i, height, grid)
            line[:] = zero
            for y in range(top, bottom):
                given = voltage[row, y]
                for k in range(length):
                    line[k] += max(given[k], zero)
            for j in range(grid):
                left, right = _window(j, width, grid)
                count = np.float32((bottom - top) * (right - left))
                total = mean[row, i, j]
                total[:] = zero
                for x in range(left, right):
                    for c in range(channels):
                        total[c] += line[x * channels + c]
                for c in range(channels):
                    total[c] /= count


@Kernel
def _gradient(voltage: Any, by_mean: Any, found: Any, first: int, last: int) -> None:
    """Fill rows `first` to `last` of `[N, H, W * C]`; windows may overlap."""
    zero, one = np.float32(0.0), np.float32(1.0)
    height, length = voltage.shape[1:]
    grid, channels = by_mean.shape[2:]
    width = length // channels
    line = np.empty(length, np.float32)
    for row in range(first, last):
        found[row] = zero
        for i in range(grid):
            top, bottom = _window(i, height, grid)
            line[:] = zero
            for j in range(grid):
                left, right = _window(j, width, grid)
                share = one / np.float32((bottom - top) * (right - left))
                grad = by_mean[row, i, j]
                for x in range(left, right):
                    for c in range(channels):
                        line[x * channels + c] += share * grad[c]
            for y in range(top, bottom):
                given, into = voltage[row, y], found[row, y]
                for k in range(length):
                    into[k] += line[k] if given[k] > zero else zero
