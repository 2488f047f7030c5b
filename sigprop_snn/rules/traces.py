"""Presynaptic traces: inputs filtered by the membrane's impulse response h.

With given spikes, a linear neuron's voltage is U[t] = sum over k <= t of h[t - k] I[k] minus the
resets. If the synapse is affine, the sum follows from the synapse applied to one vector, the trace
of the inputs s: x[t] = sum over k <= t of h[t - k] s[k]. E-prop and OTTT learn from the trace at
step t and need no other step.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.block import Block
from sigprop_snn.layers.gradient_paths import one_step_later
from sigprop_snn.neurons import Neuron, filter_matrix, impulse_response
from sigprop_snn.neurons.stepwise import is_constant, stepwise


class Traces(NamedTuple):
    """The traces of every step, each split into a weighted mean and a gain.

    Attributes:
        trace: `[T, B, ...]`, or `[1, B, ...]` for an input that is constant in time.
        gain: the voltage at each step for a constant current of 1, `[T]`.
    """

    trace: Tensor
    gain: Tensor


def traces(neuron: Neuron, inputs: Tensor) -> Traces:
    """Return the traces of inputs `[T, B, ...]` under a neuron's filter."""
    response = impulse_response(neuron, inputs.shape[0])
    gain = response.cumsum(0)
    if is_constant(inputs):
        return Traces(inputs[:1], gain.to(inputs))
    # No current has reached the membrane yet where the gain is 0.
    divisor = torch.where(gain == 0, 1.0, gain)
    matrix = (filter_matrix(response) / divisor[:, None]).to(inputs)
    return Traces((matrix @ inputs.flatten(1)).view_as(inputs), gain.to(inputs))


def driven_voltage(block: Block, inputs: Tensor, spike: Tensor) -> Tensor:
    """Return the synapses' part of the voltage at every step, `[T, B, ...]`.

    The gradient of each step reaches the block's weights through the traces of that step.

    Args:
        block: a block that `check_traces` accepts.
        inputs: the block's input, `[T, B, ...]`.
        spike: the block's spikes, `[T, B, ...]`, for its recurrent weights.
    """
    trace, gain = traces(block.neuron, inputs.detach())
    current = stepwise(block.static_current, trace)
    if block.neuron.recurrence is not None:
        before = traces(block.neuron, one_step_later(spike.detach())).trace
        current = current + stepwise(block.neuron.recurrence, before)
    return gain.view(-1, *[1] * (current.dim() - 1)) * current


def check_traces(name: str, block: Block, rule: str, *, recurrent: bool) -> None:
    """Check that the voltage of a block follows from the traces of its inputs.

    Raises:
        SigpropError: if the neuron has no fixed linear filter, the neuron is recurrent and the rule
            does not support that, or the synapse or the normaliser is not affine.
    """
    model = type(block.neuron).__name__
    if not block.neuron.closed_form:
        raise SigpropError(
            f"{rule} learns from presynaptic traces, which {model} in {name} does not have; "
            "expected a neuron with one fixed linear filter, for example LIF or Rate"
        )
    if block.neuron.recurrence is not None and not recurrent:
        raise SigpropError(
            f"{rule} is defined without recurrence, but {model} in {name} is recurrent; expected "
            "LIF or Rate"
        )
    if not block.is_affine:
        raise SigpropError(
            f"{rule} learns from presynaptic traces, but the synapse or the normaliser of {name} "
            "is not affine; expected linear layers, convolutions and running normalisers"
        )
