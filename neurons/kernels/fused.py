"""What every fused kernel takes and gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.neurons.base import State
from sigprop_snn.neurons.kernels.packed import Packed
from sigprop_snn.neurons.kernels.vectors import PANEL
from sigprop_snn.neurons.lif import LIF


class Scale(NamedTuple):
    """What a current goes through on its way into the membrane: gain * current + offset.

    Attributes:
        gain: broadcast against a step's current without its batch, `[...]`.
        offset: the same, or none.
    """

    gain: Tensor
    offset: Tensor | None = None


class Part(NamedTuple):
    """Some of the rows that a kernel runs.

    Attributes:
        current: `[T, M]`, or `[1, M]` where it is constant in time.
        gain: what every neuron's current is multiplied with, float32, `[M]`.
        offset: what is added to that, float32, `[M]`.
        place: of the first of the M neurons in what is written.
    """

    current: Tensor
    gain: Tensor
    offset: Tensor
    place: int


class Constants(NamedTuple):
    """A LIF model's numbers, as kernels take them.

    Attributes:
        beta: share of the voltage that stays.
        gain: share of the current that enters.
        threshold: voltage above which a neuron fires.
        taken: what a spike takes off the voltage, if not all of it.
        emptied: whether a spike takes all of it.
    """

    beta: np.float32
    gain: np.float32
    threshold: np.float32
    taken: np.float32
    emptied: bool

    @classmethod
    def of(cls, neuron: LIF) -> Constants:
        """Return those of a model."""
        return cls(
            np.float32(neuron.beta),
            np.float32(neuron.current_gain),
            np.float32(neuron.threshold),
            np.float32(neuron.threshold if neuron.reset_by == "subtract" else 0.0),
            neuron.reset_by == "zero",
        )


class Fused(NamedTuple):
    """What a kernel did over T steps, for B rows and the C that ride behind them.

    Attributes:
        spike: `[T, B + C, ...]`, in the current's dtype.
        voltage: the voltage before the reset, `[T, B + C, ...]`, if it was recorded.
        voltage_sum: the same, summed over the steps, `[B + C, ...]`.
        last_voltage: the voltage after the last reset, `[B + C, ...]`.
    """

    spike: Tensor
    voltage: Tensor | None
    voltage_sum: Tensor
    last_voltage: Tensor


class Layer(NamedTuple):
    """What a layer did over T steps, for N samples and the C that ride behind them.

    Attributes:
        activity: the spikes, `[T, N + C, ...]`.
        voltage: before the reset, `[T, N + C, ...]`, or with no step where it is not recorded.
        last_voltage: after the last reset, `[N + C, ...]`.
        voltage_sum: the voltage before the reset, summed over the steps, `[N + C, ...]`.
    """

    activity: Packed
    voltage: Tensor
    last_voltage: Tensor
    voltage_sum: Tensor


Kernel = Callable[[LIF, Tensor, Tensor | None, State, tuple[str, ...], Scale | None], Fused]


def allocate(current: Tensor, state: State, names: tuple[str, ...]) -> Fused:
    """Return where a kernel writes: contiguous, the sum at zero, the voltage at its start."""
    shape = (current.shape[0], *state.voltage.shape)
    start = state.voltage.detach()
    spike = current.new_empty(shape)
    return Fused(
        spike,
        start.new_empty(shape) if "voltage" in names else None,
        torch.zeros_like(start, memory_format=torch.contiguous_format),
        start.clone(memory_format=torch.contiguous_format),
    )


def parts(current: Tensor, riding: Tensor | None, scale: Scale | None) -> list[Part]:
    """Return the rows to run, those that ride behind the batch as a part of their own.

    A current that is constant in time is given as its one distinct step. The scale is the batch's.
    """
    steps = current.detach()
    distinct = steps[:1] if steps.stride(0) == 0 else steps
    rows = distinct.reshape(distinct.shape[0], -1).contiguous()
    gain, offset = _per_neuron(current[0], scale)
    found = [Part(rows, gain, offset, 0)]
    if riding is not None:
        constant = riding.detach().to(rows).reshape(1, -1).contiguous()
        found.append(Part(constant, *_per_neuron(riding, None), rows.shape[1]))
    return found


def _per_neuron(step: Tensor, scale: Scale | None) -> tuple[Tensor, Tensor]:
    """Return gain and offset of every neuron in `[N, ...]`, flat."""
    gain = step.new_ones((), dtype=torch.float32) if scale is None else scale.gain
    offset = None if scale is None else scale.offset
    if offset is None:
        offset = step.new_zeros((), dtype=torch.float32)
    return (
        gain.detach().float().expand(step.shape).reshape(-1).contiguous(),
        offset.detach().float().expand(step.shape).reshape(-1).contiguous(),
    )


def scale_of(columns: int, width: int, scale: Scale | None) -> tuple[Tensor, Tensor]:
    """Return gain and offset of so many neurons or channels, up to a width and beyond it.

    Behind the width come a panel's that leave a current as it is, for the rows that ride.
    """
    gain, offset = torch.ones(width + 2 * PANEL), torch.zeros(width + 2 * PANEL)
    if scale is not None:
        gain[:columns] = scale.gain.detach().flatten()
        if scale.offset is not None:
            offset[:columns] = scale.offset.detach().flatten()
    return gain, offset
