"""Backpropagation through time by autograd, the reference for every other update."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from sigprop_snn.arguments import instance
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.layer_pass import joined_input
from sigprop_snn.layers.sources import Kept, sources_by_name
from sigprop_snn.network import Block, Network, Readout

Gradients = dict[str, dict[str, Tensor]]
"""By layer ("block1", ..., "readout") and by the parameter's name in the layer."""


def backpropagated(network: Network, inputs: Tensor, labels: Tensor) -> Gradients:
    """Return the gradient of the readout's loss in every layer.

    The network is unrolled in time and differentiated: spikes by their surrogates, resets as
    constants. This shares no code with any rule. The network is in evaluation mode; its state is
    restored afterwards.

    Args:
        network: the network; its readout's mean voltages are the scores.
        inputs: `[T, B, ...]`.
        labels: the class of every sample, `[B]`.

    Returns:
        The gradients of the parameters that require one, for each layer; zeros if the loss does not
        depend on a parameter.

    Raises:
        SigpropError: if the network has no readout, or can't learn from the batch.
    """
    instance("network", network, Network, "a Network")
    if network.readout is None:
        raise SigpropError("the network has no readout; expected one, because the loss is its own")
    ((inputs, labels),) = network.checked([(inputs, labels)])
    twin = copy.deepcopy(network).eval()
    twin.zero_grad(set_to_none=True)
    assert twin.readout is not None
    with torch.enable_grad():
        blocks = list(twin.named_blocks())
        kept = Kept.at_start(sources_by_name(blocks), twin.signal.plain(inputs.detach()))
        sent: dict[str, Tensor] = {}
        for name, block in blocks:
            spikes = _run_block(block, joined_input(name, block, kept.take(name)))
            kept.put(name, spikes)
            sent[name] = spikes
        read = [sent[name] for name in twin.readout.names(blocks)]
        scores = _scores(twin.readout, twin.readout.side_by_side(read))
        loss = twin.readout.loss(scores, labels)
        named = {
            (layer, name): weights
            for layer, module in twin.named_layers()
            for name, weights in module.named_parameters()
            if weights.requires_grad
        }
        found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    gradients: Gradients = {}
    for ((layer, name), weights), grad in zip(named.items(), found, strict=True):
        grad = torch.zeros_like(weights) if grad is None else grad
        gradients.setdefault(layer, {})[name] = grad.detach()
    return gradients


def _run_block(block: Block, inputs: Tensor) -> Tensor:
    """Return the output of a block, `[T, B, ...]`, with the graph of every step."""
    state = None
    outputs = []
    for values in inputs:
        current = block.norm(block.synapse(values))
        state = block.neuron.initial_state(current) if state is None else state
        step = block.neuron.step(current, state)
        state = step.state
        outputs.append(block.pool(step.spike))
    return torch.stack(outputs)


def _scores(readout: Readout, inputs: Tensor) -> Tensor:
    """Return the mean voltage of the readout's integrators, `[B, C]`."""
    state = None
    voltages = []
    for values in inputs:
        current = readout.synapse(values)
        state = readout.neuron.initial_state(current) if state is None else state
        step = readout.neuron.step(current, state)
        state = step.state
        voltages.append(step.voltage)
    return torch.stack(voltages).mean(0)
