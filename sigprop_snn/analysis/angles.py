"""The angle between a rule's update and backpropagation's gradient."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sigprop_snn.analysis.oracle import Gradients, backpropagated
from sigprop_snn.arguments import instance, refused
from sigprop_snn.network import Network


@dataclass(frozen=True)
class LayerAngle:
    """A layer's update compared with backpropagation's gradient.

    Attributes:
        name: "block1" for the first block, "readout" for the readout.
        degrees: the angle between the two as vectors of all the layer's parameters: 0 for the
            same direction, 90 for unrelated directions, 180 for opposite directions. NaN if one is
            zero.
        parameters: number of parameters. The angle between random directions is 90 degrees, with a
            standard deviation of 57 / sqrt(parameters).
        size: length of the rule's gradient divided by the length of backpropagation's.
    """

    name: str
    degrees: float
    parameters: int
    size: float


def update_angles(network: Network, inputs: Tensor, labels: Tensor) -> tuple[LayerAngle, ...]:
    """Return the angle between every layer's update and backpropagation's gradient.

    The update is the gradient that the rule computes, before any optimizer, for the same batch.
    Backpropagation's loss is that of the readout, through time with surrogates.
    Parameters that only the rule has (contexts, feedback weights) are left out. The network is in
    evaluation mode, so its normalisers do not change; its state is restored afterwards.

    Args:
        network: the network, with a readout.
        inputs: `[T, B, ...]`.
        labels: the class of every sample, `[B]`.

    Raises:
        SigpropError: if the network has no readout, or can't learn from the batch.
    """
    instance("network", network, Network, "a Network")
    exact = backpropagated(network, inputs, labels)
    found = updates(network, inputs, labels)
    return tuple(
        _compared(name, _flat(found[name], exact[name]), _flat(exact[name], exact[name]))
        for name in exact
    )


def updates(network: Network, inputs: Tensor, labels: Tensor) -> Gradients:
    """Return the gradients that the network's rule computes, by layer and parameter."""
    instance("network", network, Network, "a Network")
    twin = copy.deepcopy(network).eval()
    twin.zero_grad(set_to_none=True)
    twin.learn(inputs, labels)
    return {
        layer: {
            name: torch.zeros_like(weights) if weights.grad is None else weights.grad
            for name, weights in module.named_parameters()
            if weights.requires_grad
        }
        for layer, module in twin.named_layers()
    }


def angle(first: Tensor, second: Tensor) -> float:
    """Return the angle between two vectors of the same size, in degrees; NaN if one is zero."""
    for name, vector in (("first", first), ("second", second)):
        instance(name, vector, Tensor, "a tensor")
    if first.numel() != second.numel():
        raise refused("second", second, f"as many numbers as first, {first.numel()}")
    a, b = first.detach().flatten().double(), second.detach().flatten().double()
    a, b = a / torch.linalg.vector_norm(a), b / torch.linalg.vector_norm(b)
    # Half the angle is exact near 0 and 180 degrees, where the arc cosine of a product is coarse.
    apart, together = torch.linalg.vector_norm(a - b), torch.linalg.vector_norm(a + b)
    return math.degrees(2 * math.atan2(float(apart), float(together)))


def _flat(gradients: dict[str, Tensor], like: dict[str, Tensor]) -> Tensor:
    return torch.cat([gradients[name].flatten() for name in like])


def _compared(name: str, update: Tensor, exact: Tensor) -> LayerAngle:
    size = torch.linalg.vector_norm(update) / torch.linalg.vector_norm(exact)
    return LayerAngle(name, angle(update, exact), exact.numel(), float(size))
