"""How large the weights of every layer are, and how far a step moves them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sigprop_snn.network import Network


@dataclass(frozen=True)
class LayerNorms:
    """The weights of one layer, over one step or in the mean over several.

    Attributes:
        weight: norm of all that learns in the layer, |W|, before the step.
        update: norm of what the step changed, |dW|.
        ratio: |dW| / |W|; near 1e-3 is a usual pace, above 1e-1 a layer forgets as it learns.
        steps: how many steps the figures are the mean of.
    """

    weight: float
    update: float
    ratio: float
    steps: int = 1


class UpdateNorms:
    """Measures every update of a layer as it happens; goes around an update of `Network.learn`.

    ```
    norms = UpdateNorms(network, optimizers.step)
    network.learn(x, labels, norms)
    norms.mean()["block1"].ratio
    ```

    The weights of the layer being updated are copied for the moment of the update; nothing else
    is kept.

    Args:
        network: the network that learns.
        update: takes a layer's name and updates the layer, such as `LocalOptimizers.step`.
    """

    def __init__(self, network: Network, update: Callable[[str], object]) -> None:
        self._network = network
        self._update = update
        self.latest: dict[str, LayerNorms] = {}
        self._sums: dict[str, list[float]] = {}

    def __call__(self, layer: str) -> None:
        """Update a layer and measure by how much it moved."""
        weights = self._network.local_parameters()[layer]
        before = [weight.detach().clone() for weight in weights]
        self._update(layer)
        size = _norm(before)
        moved = _norm([now.detach() - was for now, was in zip(weights, before, strict=True)])
        measured = LayerNorms(size, moved, moved / size if size else float(moved > 0))
        self.latest[layer] = measured
        sums = self._sums.setdefault(layer, [0.0, 0.0, 0.0, 0.0])
        for place, value in enumerate((measured.weight, measured.update, measured.ratio, 1)):
            sums[place] += value

    def mean(self) -> dict[str, LayerNorms]:
        """Return the mean over the steps since the start, or since `clear`, by layer."""
        return {
            name: LayerNorms(weight / steps, update / steps, ratio / steps, int(steps))
            for name, (weight, update, ratio, steps) in self._sums.items()
        }

    def clear(self) -> None:
        """Begin a new mean."""
        self._sums.clear()


def weight_norms(network: Network) -> dict[str, float]:
    """Return the norm of all that learns in every layer, |W|."""
    return {name: _norm(weights) for name, weights in network.local_parameters().items()}


def _norm(tensors: list[Tensor] | list[torch.nn.Parameter]) -> float:
    squares = [tensor.detach().double().square().sum() for tensor in tensors]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0
