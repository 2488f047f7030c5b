"""One optimizer for each layer.

Each layer updates as soon as its gradient is known, before the next layer runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import torch
from torch import nn
from torch.optim import Optimizer

from sigprop_snn.arguments import instance
from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.network import Network
from sigprop_snn.optimizers.catalogue import MakeOptimizer


class LocalOptimizers(Optimizer):
    """One optimizer for each layer of a network.

    Pass it to `network.learn`, which updates each layer before the next layer runs. A gradient is
    freed after its update, so the memory for gradients does not grow with depth.

    Any learning-rate schedule of torch takes it, such as `StepLR(optimizers, 10)`: it sees the
    parameter groups of all layers, each with its own learning rate. The state of each layer is in
    `by_layer`; `state_dict` has it by layer name.

    Attributes:
        by_layer: the optimizers by layer name.

    Args:
        network: the network; frozen parameters have no optimizer.
        make: makes the optimizer of a layer.
        by_layer: makes the optimizers of single layers, such as
            `{"block1": partial(torch.optim.SGD, lr=0.1)}`.

    Raises:
        UnknownNameError: if `by_layer` names a layer that the network does not have or that does
            not learn.
        SigpropError: if nothing in the network learns, or a maker makes no optimizer.
    """

    by_layer: dict[str, Optimizer]
    _network: Network | None
    _known: dict[int, nn.Parameter]  # what learned in the network at the start, by id
    _stepped: set[object]  # the layers that took a step in this pass

    def __init__(
        self,
        network: Network,
        make: MakeOptimizer,
        by_layer: Mapping[str, MakeOptimizer] | None = None,
    ) -> None:
        # Not that of `Optimizer`: the groups and their state belong to the layers' optimizers.
        instance("network", network, Network, "a Network")
        single: Mapping[str, MakeOptimizer] = {} if by_layer is None else by_layer
        instance("by_layer", single, Mapping, "makers of optimizers by the names of layers")
        groups = {name: group for name, group in network.local_parameters().items() if group}
        for name in single:
            if name not in groups:
                raise UnknownNameError("layer that learns", name, groups)
        if not groups:
            raise SigpropError(
                "the network has no parameter that learns; expected at least one with "
                "requires_grad=True"
            )
        self.by_layer = {
            name: _optimizer(name, single.get(name, make), group) for name, group in groups.items()
        }
        self._network = network
        self._known = {id(p): p for p in _learning(network)}
        self._stepped = set()

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """The parameter groups of every layer's optimizer, in order, to read or to change."""
        return [group for optimizer in self.by_layer.values() for group in optimizer.param_groups]

    @property
    def defaults(self) -> dict[str, Any]:  # type: ignore[override]
        """The settings of the first layer's optimizer, which schedules of the momentum read."""
        return next(iter(self.by_layer.values())).defaults

    @property
    def state(self) -> dict[torch.Tensor, Any]:  # type: ignore[override]
        """The state of every parameter."""
        return {p: kept for o in self.by_layer.values() for p, kept in o.state.items()}

    def __call__(self, layer: str) -> None:
        """Update one layer, as `step` does."""
        self.step(layer)

    def step(self, layer: str | None = None) -> None:  # type: ignore[override]
        """Update one layer from its gradient, and free the gradient.

        Args:
            layer: the layer's name, such as "block1"; every layer with a gradient if not given.

        Raises:
            UnknownNameError: if the layer has no optimizer.
            SigpropError: if no parameter of the layer, or of any layer, has a gradient; or if a
                part of the network was replaced or unfrozen since the optimizers were made.
        """
        if layer is None:
            waiting = [name for name, optimizer in self.by_layer.items() if _is_ready(optimizer)]
            for name in waiting or self.by_layer:
                self.step(name)
            return
        if not self._stepped or layer in self._stepped:  # once a pass: a layer steps once in it
            self._stepped = set()
            self._check_parts()
        self._stepped.add(layer)
        if not isinstance(layer, str) or layer not in self.by_layer:
            raise UnknownNameError("layer with an optimizer", layer, self.by_layer)
        optimizer = self.by_layer[layer]
        if not _is_ready(optimizer):
            raise SigpropError(
                f"{layer} has no gradient to learn from; expected a call by network.learn, or "
                "after it, once for each gradient"
            )
        optimizer.step()
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def _check_parts(self) -> None:
        """Check that every parameter of the network that learns was there from the start.

        Raises:
            SigpropError: if one was not and has no optimizer; it names the first.
        """
        if self._network is None or all(id(p) in self._known for p in _learning(self._network)):
            return
        self._known |= {id(p): p for group in self.param_groups for p in group["params"]}
        for name, parameter in self._network.named_parameters():
            if parameter.requires_grad and id(parameter) not in self._known:
                raise SigpropError(
                    f"no optimizer has {name!r} of the network, which was replaced or unfrozen "
                    "after LocalOptimizers was made; expected a new LocalOptimizers(network, make) "
                    "after the change"
                )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Free the gradients of every layer, or set them to zero."""
        for optimizer in self.by_layer.values():
            optimizer.zero_grad(set_to_none)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Refuse a group that belongs to no layer.

        Raises:
            SigpropError: always.
        """
        raise SigpropError(
            "LocalOptimizers has one optimizer for each layer; expected "
            "by_layer['block1'].add_param_group(...)"
        )

    def _refuse_hook(self, *_: object, **__: object) -> NoReturn:
        """Refuse a hook, which would belong to no layer.

        Raises:
            SigpropError: always.
        """
        raise SigpropError(
            "LocalOptimizers has one optimizer for each layer, and no hooks of its own; expected "
            "by_layer['block1'].register_step_post_hook(...), or another hook of a layer's "
            "optimizer"
        )

    register_step_pre_hook = register_step_post_hook = _refuse_hook
    register_state_dict_pre_hook = register_state_dict_post_hook = _refuse_hook
    register_load_state_dict_pre_hook = register_load_state_dict_post_hook = _refuse_hook

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the optimizers by layer name."""
        return {name: optimizer.state_dict() for name, optimizer in self.by_layer.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` returned, on any device.

        Raises:
            SigpropError: if it has other layers.
        """
        check_layers(state_dict, self.by_layer)
        for name, optimizer in self.by_layer.items():
            optimizer.load_state_dict(state_dict[name])
            _align_memory(optimizer)

    def __getstate__(self) -> dict[str, Any]:
        """Return the optimizers. A scheduler's watch on `step` is left out, as torch does."""
        return {"by_layer": self.by_layer}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the optimizers back."""
        self.by_layer = state["by_layer"]
        self._network, self._known, self._stepped = None, {}, set()

    def __repr__(self) -> str:
        """Return the optimizer of every layer."""
        layers = ", ".join(f"{name}: {type(o).__name__}" for name, o in self.by_layer.items())
        return f"LocalOptimizers({layers})"


def _learning(module: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the parameters that learn; `parameters()` takes longer, as it leaves out duplicates."""
    for parameter in module._parameters.values():
        if parameter is not None and parameter.requires_grad:
            yield parameter
    for part in module._modules.values():
        if part is not None:
            yield from _learning(part)


def _is_ready(optimizer: Optimizer) -> bool:
    """Return whether a parameter has a gradient."""
    return any(p.grad is not None for group in optimizer.param_groups for p in group["params"])


def _align_memory(optimizer: Optimizer) -> None:
    """Give the loaded state of each parameter the parameter's order in memory.

    A GPU keeps the weights of feature maps channels-last and a CPU does not. Fused optimizers read
    weights and state in the order of memory.
    """
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if (
                isinstance(value, torch.Tensor)
                and value.shape == parameter.shape
                and value.stride() != parameter.stride()
            ):
                state[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def check_layers(state: Any, layers: Mapping[str, Any]) -> None:
    """Check that a state has the layers that it is for.

    Raises:
        SigpropError: if it has others.
    """
    instance("state_dict", state, Mapping, "the state of every layer by name")
    if set(state) != set(layers):
        raise SigpropError(f"state_dict has {', '.join(state)}; expected {', '.join(layers)}")


def _optimizer(layer: str, make: MakeOptimizer, parameters: list[nn.Parameter]) -> Optimizer:
    """Return the optimizer of a layer, after a check that its maker makes one.

    Raises:
        SigpropError: if it does not.
    """
    made: Any = make(parameters) if callable(make) else None
    if not isinstance(made, Optimizer):
        raise SigpropError(
            f"make is {make!r}, which gives {layer} {made!r}; expected a function of its "
            "parameters that returns an optimizer of torch, such as "
            "partial(torch.optim.Adam, lr=1e-3)"
        )
    if isinstance(made, torch.optim.LBFGS):
        raise SigpropError(
            f"make gives {layer} an LBFGS, which calls for the loss of the batch again and again, "
            "but a layer learns once in a pass; expected another optimizer, or one LBFGS for "
            "network.parameters() with network.learn(x, labels) in its closure"
        )
    return made
