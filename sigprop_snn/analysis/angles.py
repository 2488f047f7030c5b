"""The angle between what a rule does and what backpropagation would do."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sigprop_snn.analysis.oracle import Gradients, backpropagated
from sigprop_snn.network import Network


@dataclass(frozen=True)
class LayerAngle:
    """How a layer's update lies to backpropagation's gradient.

    Attributes:
        name: "block1" for the first block, "readout" for the readout.
        degrees: the angle between the two as vectors of all the layer's parameters: 0 for the
            same direction, 90 for unrelated ones, 180 for opposite ones. NaN where one is zero.
        parameters: how many numbers they have. Between random directions the angle is 90 degrees,
            give or take 57 / sqrt(parameters).
        size: length of the rule's gradient relative to backpropagation's.
    """

    name: str
    degrees: float
    parameters: int
    size: float


def update_angles(network: Network, inputs: Tensor, labels: Tensor) -> tuple[LayerAngle, ...]:
    """Return the angle of every layer's update to backpropagation's gradient.

    Both are taken of the same network, batch and labels, the update as the gradient that the rule
    leaves, before any optimizer. Backpropagation's loss is the cross-entropy at the readout,
    through time with surrogates. What only the rule has (contexts, feedback weights) is left out.
    The network is used as in evaluation, with its normalisers at rest, and is left as it was.

    Args:
        network: the network, with a readout.
        inputs: `[T, B, ...]`.
        labels: the class of every sample, `[B]`.

    Raises:
        SigpropError: if the network has no readout, or can't learn from the batch.
    """
    exact = backpropagated(network, inputs, labels)
    found = updates(network, inputs, labels)
    return tuple(
        _compared(name, _flat(found[name], exact[name]), _flat(exact[name], exact[name]))
        for name in exact
    )


def updates(network: Network, inputs: Tensor, labels: Tensor) -> Gradients:
    """Return the gradients that a network's own rule leaves, by layer and parameter."""
    twin = copy.deepcopy(network).eval()
    twin.zero_grad(set_to_none=True)
    twin.learn(inputs, labels)
    layers = {f"block{place + 1}": block for place, block in enumerate(twin.each_block())}
    modules = {**layers, "readout": twin.readout} if twin.readout is not None else {**layers}
    return {
        layer: {
            name: torch.zeros_like(weights) if weights.grad is None else weights.grad
            for name, weights in module.named_parameters()
            if weights.requires_grad
        }
        for layer, module in modules.items()
    }


def angle(first: Tensor, second: Tensor) -> float:
    """Return the angle between two vectors of the same size, in degrees; NaN if one is zero."""
    a, b = first.detach().flatten().double(), second.detach().flatten().double()
    a, b = a / torch.linalg.vector_norm(a), b / torch.linalg.vector_norm(b)
    # By half the angle: the arc cosine of a rounded product is coarse near 0 and 180 degrees.
    across, along = torch.linalg.vector_norm(a - b), torch.linalg.vector_norm(a + b)
    return math.degrees(2 * math.atan2(float(across), float(along)))


def _flat(gradients: dict[str, Tensor], like: dict[str, Tensor]) -> Tensor:
    return torch.cat([gradients[name].flatten() for name in like])


def _compared(name: str, update: Tensor, exact: Tensor) -> LayerAngle:
    size = torch.linalg.vector_norm(update) / torch.linalg.vector_norm(exact)
    return LayerAngle(name, angle(update, exact), exact.numel(), float(size))
