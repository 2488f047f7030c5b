"""What the kernels of whole layers share: a model's numbers, and what they return."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.neurons.kernels.fused import Scale
from sigprop_snn.neurons.kernels.packed import Packed
from sigprop_snn.neurons.kernels.vectors import PANEL
from sigprop_snn.neurons.lif import LIF


class Layer(NamedTuple):
    """What a layer did over T steps, for N samples and the C that ride behind them.

    Attributes:
        activity: the spikes, `[T, N + C, ...]`.
        voltage: before the reset, `[T, N + C, ...]`, or with no step where it is not recorded.
        last_voltage: after the last reset, `[N + C, ...]`.
        voltage_sum: the voltage before the reset, summed over the steps, `[N + C, ...]`.
        spike_count: the spikes, summed over the steps, `[N + C, ...]`.
    """

    activity: Packed
    voltage: Tensor
    last_voltage: Tensor
    voltage_sum: Tensor
    spike_count: Tensor


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
