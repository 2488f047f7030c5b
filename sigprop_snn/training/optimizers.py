"""One optimizer for each layer, so that a layer can be updated as soon as it has compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn
from torch.optim import Optimizer

from sigprop_snn.network import Network


class LocalOptimizers:
    """Updates every layer of a network on its own, at once.

    Pass `step` to `network.learn`: a layer's gradient is used and let go before the next layer
    runs, so gradients never pile up with depth.

    Args:
        network: the network; its frozen parameters are left out.
        make: makes an optimizer of a list of parameters.
    """

    def __init__(
        self, network: Network, make: Callable[[Iterable[nn.Parameter]], Optimizer]
    ) -> None:
        groups = network.local_parameters()
        self.by_layer = {name: make(group) for name, group in groups.items() if group}

    def step(self, layer: str) -> None:
        """Update one layer from its gradient, and let the gradient go."""
        optimizer = self.by_layer[layer]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate of every layer."""
        for optimizer in self.by_layer.values():
            for group in optimizer.param_groups:
                group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        """Return every optimizer's state, by layer."""
        return {name: optimizer.state_dict() for name, optimizer in self.by_layer.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        for name, optimizer in self.by_layer.items():
            optimizer.load_state_dict(state[name])
