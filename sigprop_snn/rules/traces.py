"""Presynaptic traces: what of its inputs a neuron's membrane still holds at every step.

Given its spikes, a linear neuron's voltage is U[t] = sum over k <= t of h[t - k] I[k] plus what the
resets took off. Behind an affine synapse that is the synapse of one vector, the input's trace
x[t] = sum over k <= t of h[t - k] x[k]: e-prop and OTTT learn from it and look at no other step.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.block import Block
from sigprop_snn.neurons import Neuron, filter_matrix, impulse_response
from sigprop_snn.neurons.stepwise import is_constant, stepwise


class Traces(NamedTuple):
    """The traces of every step, each split into a weighted mean and a gain.

    Attributes:
        trace: `[T, B, ...]`, or `[1, B, ...]` for an input that is constant in time.
        gain: the voltage that a constant current of 1 has brought about by each step, `[T]`.
    """

    trace: Tensor
    gain: Tensor


def traces(neuron: Neuron, inputs: Tensor) -> Traces:
    """Return the traces that a neuron's filter makes of inputs `[T, B, ...]`."""
    response = impulse_response(neuron, inputs.shape[0])
    gain = response.cumsum(0)
    if is_constant(inputs):
        return Traces(inputs[:1], gain.to(inputs))
    matrix = (filter_matrix(response) / gain[:, None]).to(inputs)
    return Traces((matrix @ inputs.flatten(1)).view_as(inputs), gain.to(inputs))


def driven_voltage(block: Block, inputs: Tensor, spike: Tensor) -> Tensor:
    """Return what the synapses bring to the voltage of every step, `[T, B, ...]`.

    Its gradient reaches the block's weights, step by step, through the traces of that step.

    Args:
        block: a block that `check_traces` lets pass.
        inputs: what it received, `[T, B, ...]`.
        spike: its own spikes, `[T, B, ...]`, for its recurrent weights.
    """
    trace, gain = traces(block.neuron, inputs.detach())
    current = stepwise(block.static_current, trace)
    if block.neuron.recurrence is not None:
        before = torch.cat([torch.zeros_like(spike[:1]), spike[:-1]])
        current = current + stepwise(
            block.neuron.recurrence, traces(block.neuron, before.detach()).trace
        )
    return gain.view(-1, *[1] * (current.dim() - 1)) * current


def check_traces(name: str, block: Block, rule: str, *, recurrent: bool) -> None:
    """Check that the voltage of a block follows from the traces of its inputs.

    Raises:
        SigpropError: if the neuron has no fixed linear filter, is recurrent where the rule has no
            place for it, or the synapse or the normaliser is not affine.
    """
    model = type(block.neuron).__name__
    if not block.neuron.closed_form:
        raise SigpropError(
            f"{rule} learns from presynaptic traces, which {model} in {name} does not have; "
            "expected a neuron with one fixed linear filter, such as LIF or Rate"
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
