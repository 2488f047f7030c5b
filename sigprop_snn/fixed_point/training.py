"""Train with quantised weights: the passes see integers times a scale, the updates see floats."""

from __future__ import annotations

import torch
from torch import Tensor

from sigprop_snn.arguments import instance, one_of, refused
from sigprop_snn.fixed_point.formats import Per, weight_bits_of
from sigprop_snn.fixed_point.quantise import quantise_weights
from sigprop_snn.layers.readout import READOUT
from sigprop_snn.network import Network
from sigprop_snn.network.network import Optimizers

_CLIPS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


class QuantisedOptimizers:
    """Optimizers of a network whose passes use quantised weights.

    The network's weights are always quantised: predictions and gradients are those of the
    quantised network. An update is made to float weights beside them, which are then quantised
    again: a straight-through gradient of the rounding, in each layer alone. Any rule can use it:
    `network.learn(x, labels, QuantisedOptimizers(optimizers, network, bits=4))`.

    Weights of blocks have one scale for each output neuron or map, so a normaliser behind them
    changes no integer when it is folded; the readout has one scale.

    Args:
        optimizers: the optimizers by layer, such as `LocalOptimizers`.
        network: the network; its weights are quantised at once.
        bits: bits of a weight, from 2 to 8.

    Attributes:
        floats: the float weights beside the quantised ones, by layer.

    Raises:
        SigpropError: if an argument can't be used.
    """

    def __init__(self, optimizers: Optimizers, network: Network, bits: int = 8) -> None:
        instance("network", network, Network, "a Network")
        if not callable(getattr(optimizers, "step", None)) or isinstance(optimizers, type):
            raise refused("optimizers", optimizers, "optimizers such as LocalOptimizers")
        self.optimizers = optimizers
        self.network = network
        self.bits = weight_bits_of("bits", bits)
        self.floats: dict[str, list[Tensor]] = {}
        self._weights = _weights_of(network)
        for layer, weights in self._weights.items():
            self.floats[layer] = [weight.detach().clone() for weight in weights]
            self._quantise(layer)

    @torch.no_grad()
    def step(self, layer: str) -> None:
        """Update the float weights of a layer by its gradient, and quantise them again.

        Raises:
            UnknownNameError: if the network has no layer of this name.
        """
        one_of("layer", layer, self._weights)
        for weight, float_ in zip(self._weights[layer], self.floats[layer], strict=True):
            weight.copy_(float_)
        with torch.enable_grad():
            self.optimizers.step(layer)
        for weight, float_ in zip(self._weights[layer], self.floats[layer], strict=True):
            float_.copy_(weight)
        self._quantise(layer)

    @torch.no_grad()
    def _quantise(self, layer: str) -> None:
        for weight in self._weights[layer]:
            per: Per = "tensor" if layer == READOUT else "channel"
            found = quantise_weights(weight, self.bits, per, clips=_CLIPS)
            weight.copy_(found.integers * found.scale)


def _weights_of(network: Network) -> dict[str, list[Tensor]]:
    """Return the weights of the synapses by layer; biases and normalisers are not among them."""
    found: dict[str, list[Tensor]] = {
        name: [weight for weight in block.synapse.parameters() if weight.dim() > 1]
        for name, block in network.named_blocks()
    }
    if network.readout is not None:
        found[READOUT] = [network.readout.synapse.weight]
    return found
