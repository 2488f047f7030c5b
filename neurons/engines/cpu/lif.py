"""LIF on the CPU: one step, which all kernels share, and a run through given currents.

The step does the same float32 operations in the same order as the eager loop, and numba contracts
no multiplication and addition into one, so spikes and voltages equal the reference to the bit.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import types
from torch import Tensor

from sigprop_snn.neurons.base import Neuron, State
from sigprop_snn.neurons.engines.cpu.threads import Kernel, compile_kernel, jitable, run_kernel
from sigprop_snn.neurons.engines.engine import Scale
from sigprop_snn.neurons.lif import LIF
from sigprop_snn.surrogates import Surrogate

_NEURONS = 1024  # their voltages and sums stay in the first-level cache
_MIN_CHUNK = 1 << 18  # neurons times steps


@jitable
def lif_step(
    voltage: Any,
    current: Any,
    beta: Any,
    gain: Any,
    threshold: Any,
    reset_amount: Any,
    reset_to_zero: Any,
) -> Any:
    """Return the voltage before the reset, whether the neuron fired, the voltage after the reset.

    All numbers are float32; for the last five see `Constants`.
    """
    before = beta * voltage + gain * current
    fired = before > threshold
    amount = before if reset_to_zero else reset_amount
    spike = np.float32(1.0) if fired else np.float32(0.0)
    return before, fired, before - amount * spike


class Constants(NamedTuple):
    """The numbers of a LIF model, in the order in which `lif_step` takes them.

    Attributes:
        beta: the factor of the voltage.
        gain: the factor of the current.
        threshold: the voltage above which a neuron fires.
        reset_amount: what a spike subtracts, unless it sets the voltage to zero.
        reset_to_zero: whether it does.
    """

    beta: np.float32
    gain: np.float32
    threshold: np.float32
    reset_amount: np.float32
    reset_to_zero: bool

    @classmethod
    def of(cls, neuron: LIF) -> Constants:
        """Return those of a model."""
        subtracts = neuron.reset_by == "subtract"
        return cls(
            np.float32(neuron.beta),
            np.float32(neuron.current_gain),
            np.float32(neuron.threshold),
            np.float32(neuron.threshold if subtracts else 0.0),
            neuron.reset_by == "zero",
        )


def why_not_lif(neuron: Neuron) -> str | None:
    """Return why no kernel runs a neuron, or none where kernels do."""
    # A subclass may override any part of the step.
    if type(neuron) is not LIF:
        return f"the neuron is {type(neuron).__name__}; expected LIF"
    if not all(isinstance(x, float | int) for x in (neuron.beta, neuron.threshold)):
        return "beta or threshold is not a plain number"
    if neuron.recurrence is not None:
        return "the layer is recurrent"
    if type(neuron.surrogate).spike is not Surrogate.spike:
        return f"{type(neuron.surrogate).__name__} has its own spike function"
    return None
