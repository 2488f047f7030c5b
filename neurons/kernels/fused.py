"""What every fused kernel takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sigprop_snn.neurons.base import State
from sigprop_snn.neurons.lif import LIF


class Fused(NamedTuple):
    """What a kernel did over T steps, for B rows and the C that ride behind them.

    Attributes:
        spike: `[T, B + C, ...]`, in the current's dtype.
        voltage: the voltage before the reset, `[T, B + C, ...]`, if it was recorded.
        voltage_sum: the same, summed over the steps, `[B + C, ...]`.
        spike_count: the spikes, summed over the steps, `[B + C, ...]`.
        last_voltage: the voltage after the last reset, `[B + C, ...]`.
    """

    spike: Tensor
    voltage: Tensor | None
    voltage_sum: Tensor
    spike_count: Tensor
    last_voltage: Tensor


Kernel = Callable[[LIF, Tensor, Tensor | None, State, tuple[str, ...]], Fused]


def allocate(current: Tensor, state: State, names: tuple[str, ...]) -> Fused:
    """Return where a kernel writes: contiguous, sums at zero, the voltage at its start."""
    shape = (current.shape[0], *state.voltage.shape)
    start = state.voltage.detach()
    spike = current.new_empty(shape)
    return Fused(
        spike,
        start.new_empty(shape) if "voltage" in names else None,
        torch.zeros_like(start, memory_format=torch.contiguous_format),
        torch.zeros_like(start, memory_format=torch.contiguous_format),
        start.clone(memory_format=torch.contiguous_format),
    )


def parts(current: Tensor, riding: Tensor | None) -> list[tuple[Tensor, int]]:
    """Return the currents to run, each as `[T or 1, M]` with the place of its first neuron.

    A current that is constant in time is given as its one distinct step.
    """
    steps = current.detach()
    distinct = steps[:1] if steps.stride(0) == 0 else steps
    rows = distinct.reshape(distinct.shape[0], -1).contiguous()
    if riding is None:
        return [(rows, 0)]
    return [(rows, 0), (riding.detach().to(rows).reshape(1, -1).contiguous(), rows.shape[1])]
