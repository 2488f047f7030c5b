"""The network's state of all ranks, brought together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor

from sigprop_snn.network import Network
from sigprop_snn.optimizers.local_optimizers import LocalOptimizers
from sigprop_snn.parallel.agreement import gathered


def collect(
    network: Network,
    layers: Iterable[str],
    optimizers: LocalOptimizers | None,
    timeout: float,
) -> None:
    """Give every rank the state of all layers. All ranks call it together.

    Args:
        network: the network.
        layers: the layers that learn on this rank.
        optimizers: the optimizers, or none.
        timeout: seconds after which a rank that does not answer is lost.

    Raises:
        RankLostError: if a rank is lost.
    """
    mine = set(layers)
    owners = layers_of_state(network)
    weights = {
        name: value.detach().cpu()
        for name, value in network.state_dict().items()
        if owners.get(name) in mine
    }
    states = {
        name: on_cpu(optimizer.state_dict())
        for name, optimizer in (optimizers.by_layer if optimizers is not None else {}).items()
        if name in mine
    }
    everything = network.state_dict()
    for of_weights, of_optimizers in gathered((weights, states), "a collection", timeout):
        everything.update(of_weights)
        for name, state in of_optimizers.items():
            if optimizers is not None and name not in mine:
                optimizers.by_layer[name].load_state_dict(state)
    network.load_state_dict(everything)


def layers_of_state(network: Network) -> dict[str, str]:
    """Return the layer that changes each tensor of a network's state, by the tensor's name.

    Fixed weights of a rule have none.
    """
    of_parameter = {
        id(parameter): layer
        for layer, parameters in network.local_parameters().items()
        for parameter in parameters
    }
    learned = {name: of_parameter.get(id(p)) for name, p in network.named_parameters()}
    found = {}
    for name in network.state_dict():
        layer = learned.get(name) or _layer_of(name)
        if layer is not None:
            found[name] = layer
    return found


def _layer_of(name: str) -> str | None:
    first, *rest = name.split(".")
    if first == "blocks":
        return f"block{int(rest[0]) + 1}"
    if first == "loss_heads":
        return rest[0]
    return {"readout": "readout", "signal": "block1"}.get(first)


def on_cpu(value: Any) -> Any:
    """Return plain values with their tensors on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, dict):
        return {key: on_cpu(each) for key, each in value.items()}
    if isinstance(value, list):
        return [on_cpu(each) for each in value]
    return value
