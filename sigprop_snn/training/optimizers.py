"""One optimizer for each layer, so that a layer can be updated as soon as it has compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from sigprop_snn.errors import UnknownNameError
from sigprop_snn.network import Network

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
"""Makes an optimizer of parameters, such as `partial(torch.optim.Adam, lr=1e-3)`."""


def sgd_momentum(parameters: Iterable[nn.Parameter], **settings: Any) -> Optimizer:
    """Stochastic gradient descent with a momentum of 0.9."""
    return torch.optim.SGD(parameters, momentum=0.9, **settings)


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "adamax": torch.optim.Adamax,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
    "sgd-momentum": sgd_momentum,
}


def optimizer_of(name: str, rate: float, weight_decay: float | None = None) -> MakeOptimizer:
    """Return what makes an optimizer by its name.

    Args:
        name: a name in `OPTIMIZERS`.
        rate: its learning rate.
        weight_decay: its weight decay; torch's own default for it if not given.
    """
    if name not in OPTIMIZERS:
        raise UnknownNameError("optimizer", name, OPTIMIZERS)
    decay = {} if weight_decay is None else {"weight_decay": weight_decay}
    return partial(OPTIMIZERS[name], lr=rate, **decay)


class LocalOptimizers:
    """Updates every layer of a network on its own, at once.

    Pass `step` to `network.learn`: a layer's gradient is used and let go before the next layer
    runs, so gradients never pile up with depth.

    Args:
        network: the network; its frozen parameters are left out.
        make: makes the optimizer of a layer.
        by_layer: what makes it for layers that differ, such as
            `{"block1": partial(torch.optim.SGD, lr=0.1)}`.

    Raises:
        UnknownNameError: if the network has no layer of that name that learns.
    """

    def __init__(
        self,
        network: Network,
        make: MakeOptimizer,
        by_layer: Mapping[str, MakeOptimizer] | None = None,
    ) -> None:
        own = by_layer or {}
        groups = {name: group for name, group in network.local_parameters().items() if group}
        for name in own:
            if name not in groups:
                raise UnknownNameError("layer that learns", name, groups)
        self.by_layer = {name: own.get(name, make)(group) for name, group in groups.items()}

    def step(self, layer: str) -> None:
        """Update one layer from its gradient, and let the gradient go."""
        optimizer = self.by_layer[layer]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Return every optimizer's state, by layer."""
        return {name: optimizer.state_dict() for name, optimizer in self.by_layer.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        for name, optimizer in self.by_layer.items():
            optimizer.load_state_dict(state[name])
