"""Backpropagation through time by autograd: what every other update is held against."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import Block, Network, Readout

Gradients = dict[str, dict[str, Tensor]]
"""By layer ("block1", ..., "readout") and by the parameter's name within it."""


def backpropagated(network: Network, inputs: Tensor, labels: Tensor) -> Gradients:
    """Return the gradient of the readout's cross-entropy in every layer.

    The whole network is unrolled in time and differentiated, spikes by their surrogates, resets
    held constant. It shares no code with any rule. The network is used as in evaluation and is
    left as it was.

    Args:
        network: the network; its readout's mean voltages are the scores.
        inputs: `[T, B, ...]`.
        labels: the class of every sample, `[B]`.

    Returns:
        The gradients of each layer's parameters that learn; zeros where the loss does not reach.

    Raises:
        SigpropError: if the network has no readout.
    """
    if network.readout is None:
        raise SigpropError(
            "the network has no readout; backpropagation's loss is the cross-entropy there"
        )
    twin = copy.deepcopy(network).eval()
    twin.zero_grad(set_to_none=True)
    assert twin.readout is not None
    layers = {f"block{place + 1}": block for place, block in enumerate(twin.each_block())}
    with torch.enable_grad():
        arriving = twin.signal.plain(inputs.detach())
        for block in layers.values():
            arriving = _sent_on(block, arriving)
        loss = F.cross_entropy(_scores(twin.readout, arriving), labels)
        named = {
            (layer, name): weights
            for layer, module in (*layers.items(), ("readout", twin.readout))
            for name, weights in module.named_parameters()
            if weights.requires_grad
        }
        found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    gradients: Gradients = {}
    for ((layer, name), weights), grad in zip(named.items(), found, strict=True):
        grad = torch.zeros_like(weights) if grad is None else grad
        gradients.setdefault(layer, {})[name] = grad.detach()
    return gradients


def _sent_on(block: Block, arriving: Tensor) -> Tensor:
    """Return what a block sends on, `[T, B, ...]`, with the graph of every step."""
    state = None
    sent = []
    for at_step in arriving:
        current = block.norm(block.synapse(at_step))
        state = block.neuron.initial_state(current) if state is None else state
        step = block.neuron.step(current, state)
        state = step.state
        sent.append(block.pool(step.spike))
    return torch.stack(sent)


def _scores(readout: Readout, arriving: Tensor) -> Tensor:
    """Return the mean voltage of the readout's integrators, `[B, C]`."""
    state = None
    voltages = []
    for at_step in arriving:
        current = readout.synapse(at_step.flatten(1))
        state = readout.neuron.initial_state(current) if state is None else state
        step = readout.neuron.step(current, state)
        state = step.state
        voltages.append(step.voltage)
    return torch.stack(voltages).mean(0)
