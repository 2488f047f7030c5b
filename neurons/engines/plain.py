"""Which synapses are plain: one layer of weights, which kernels and the closed form know."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from torch import nn

Weighted: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


class PlainSynapse(NamedTuple):
    """A synapse of one layer of weights.

    Attributes:
        layer: the layer.
        flattens: whether the input is flattened first.
    """

    layer: Weighted
    flattens: bool


def plain_synapse(synapse: nn.Module) -> PlainSynapse | None:
    """Return the parts of a linear layer or convolution, alone or behind `nn.Flatten()`.

    Returns:
        The parts; none for any other module, and for one that hooks or parametrizations change.
    """
    flattens = False
    if type(synapse) is nn.Sequential and len(synapse) == 2 and not _altered(synapse):
        before, synapse = synapse
        if not (type(before) is nn.Flatten and (before.start_dim, before.end_dim) == (1, -1)):
            return None
        flattens = True
    if type(synapse) not in _WEIGHTED or _altered(synapse):
        return None
    assert isinstance(synapse, _WEIGHTED)
    if not isinstance(synapse, nn.Linear) and (
        synapse.padding_mode != "zeros" or isinstance(synapse.padding, str)
    ):
        return None
    return PlainSynapse(synapse, flattens)


def _altered(module: nn.Module) -> bool:
    """Return whether something else than its weights shapes the output of a layer."""
    return bool(
        module._forward_hooks or module._forward_pre_hooks or hasattr(module, "parametrizations")
    )
