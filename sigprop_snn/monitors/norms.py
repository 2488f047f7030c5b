"""The norm of every layer's weights, and of its updates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from sigprop_snn.arguments import function, instance
from sigprop_snn.network import Network


@dataclass(frozen=True)
class LayerNorms:
    """The norms of one layer, for one step or averaged over several.

    Attributes:
        weight: norm of all learned parameters of the layer before the step, |W|.
        update: norm of their change, |dW|.
        ratio: |dW| / |W|. About 1e-3 is usual; above 1e-1 a layer forgets while it learns.
        steps: number of steps in the mean.
    """

    weight: float
    update: float
    ratio: float
    steps: int = 1


class UpdateNorms:
    """Measures every update of a layer; wraps the update that `Network.learn` takes.

    ```
    norms = UpdateNorms(network, optimizers.step)
    network.learn(x, labels, norms)
    norms.mean()["block1"].ratio
    ```

    The weights of a layer are copied during its update; no other copy is kept.

    Args:
        network: the network that learns.
        update: takes a layer's name and updates the layer, as `LocalOptimizers.step` does.
    """

    def __init__(self, network: Network, update: Callable[[str], object]) -> None:
        instance("network", network, Network, "a Network")
        function("update", update, "a function of a layer's name, such as optimizers.step")
        self._network = network
        self._update = update
        self.latest: dict[str, LayerNorms] = {}
        self._sums: dict[str, list[float]] = {}

    def __call__(self, layer: str) -> None:
        """Update a layer and measure the change."""
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
        """Return the mean over the steps since the start, or since `clear`, for each layer."""
        return {
            name: LayerNorms(weight / steps, update / steps, ratio / steps, int(steps))
            for name, (weight, update, ratio, steps) in self._sums.items()
        }

    def clear(self) -> None:
        """Start a new mean."""
        self._sums.clear()


def weight_norms(network: Network) -> dict[str, float]:
    """Return the norm of all learned parameters of every layer, |W|."""
    instance("network", network, Network, "a Network")
    return {name: _norm(weights) for name, weights in network.local_parameters().items()}


def _norm(tensors: list[Tensor] | list[torch.nn.Parameter]) -> float:
    squares = [tensor.detach().double().square().sum() for tensor in tensors]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0
