"""Folding: normalisers and constant factors of the current become part of the weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from sigprop_snn.arguments import instance
from sigprop_snn.deploy.folded import Folded, FoldedLayer
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.block import Block
from sigprop_snn.layers.norm import LengthNorm
from sigprop_snn.network.network import Network
from sigprop_snn.neurons import LIF, Neuron, ParametricLIF, Recurrent
from sigprop_snn.neurons.engines import Normaliser
from sigprop_snn.neurons.module_kinds import (
    BATCH_NORMS,
    DROPOUTS,
    POOLS,
    SHAPES,
    WEIGHTED,
    Weighted,
)
from sigprop_snn.neurons.pooling import HalvingPool
from sigprop_snn.neurons.recurrent import AllToAll, OneToOne
from sigprop_snn.neurons.snntorch_adapter import copied
from sigprop_snn.signals.base import Signal

_NOTHING = (nn.Identity, *DROPOUTS)
_BEHIND = (HalvingPool, *POOLS, *SHAPES)


def fold(network: Network) -> Folded:
    """Return a network's layers with every constant factor of the current in the weights.

    A normaliser turns the current W x + b into g (W x + b) + o, with one g and one o for each
    channel; the folded layer has the weights g W and the bias g b + o, so it is exact at a padded
    border too. `LIF(scale_current=True)` and such a `ParametricLIF` become neurons without the
    factor, their recurrent weights included. Every neuron can be folded, because a normaliser acts
    before it. Dropout goes: it does nothing in prediction.

    Without a normaliser and a factor, the weights keep every bit, and so do the spikes. Else the
    spikes are equal but for rounding. For n inputs of size 1 at most, a current changes by at most
    (n + 4) eps (sum |g W| + |g b| + |o|), with eps = 1.2e-7 in float32 and 2.2e-16 in float64. A
    spike can change only where the voltage is nearer to the threshold than this bound divided by
    1 - beta.

    Args:
        network: a network that predicts by its readout; it does not change. The running statistics
            of its normalisers are used, in training as in evaluation.

    Returns:
        The folded network: `folded(x)` gives the scores of `network(x)`.

    Raises:
        SigpropError: if the network can't be folded; it names the block, the module and the
            alternative.
    """
    instance("network", network, Network, "a Network")
    if network.readout is None or network.predict != "readout":
        raise SigpropError(
            f"the network predicts by {network.predict!r}, which compares contexts; fold expects "
            "predict='readout' and a Readout"
        )
    if type(network.signal).plain is not Signal.plain:
        raise SigpropError(
            f"the signal {type(network.signal).__name__} draws over the input in prediction; fold "
            "expects a signal that leaves it as it is, such as ProjectedContext"
        )
    with torch.no_grad():
        layers = {name: _folded(name, block) for name, block in network.named_blocks()}
        readout = copied(network.readout)
    assert isinstance(readout, type(network.readout))
    return Folded(layers, readout, network.sample_shape)


def _folded(name: str, block: Block) -> FoldedLayer:
    before, weighted, after = _split(name, block)
    gain = torch.ones((), dtype=torch.float64, device=weighted.weight.device)
    offset: Tensor | None = None
    for norm in after:
        factor, shift = _scale(name, norm, weighted)
        gain = gain * factor
        offset = None if offset is None else offset * factor
        if shift is not None:
            offset = shift if offset is None else offset + shift
    neuron, factor = _neuron(block.neuron, weighted)
    gain = gain * factor
    offset = None if offset is None else offset * factor
    made = _scaled(weighted, gain, offset)
    synapse = nn.Sequential(*before, made) if before else made
    return FoldedLayer(synapse, neuron, _pool(name, block.pool), block.sources)


def _split(name: str, block: Block) -> tuple[list[nn.Module], Weighted, list[nn.Module]]:
    """Return the modules before the weights, the weighted layer, and the normalisers behind it.

    Raises:
        SigpropError: if there is not one weighted layer, or another module can't be used.
    """
    before: list[nn.Module] = []
    weighted: Weighted | None = None
    after: list[nn.Module] = []
    for module in _flat(block.synapse):
        if type(module) in WEIGHTED and isinstance(module, Weighted) and weighted is None:
            weighted = module
        elif weighted is None and isinstance(module, _BEHIND):
            before.append(copied(module))
        elif weighted is not None and isinstance(module, (*BATCH_NORMS, Normaliser)):
            after.append(module)
        else:
            raise _refused(name, "synapse", module)
    if weighted is None:
        raise SigpropError(
            f"the synapse of {name} has no weights; fold expects one linear layer or convolution"
        )
    for module in _flat(block.norm):
        if not isinstance(module, (*BATCH_NORMS, Normaliser)):
            raise _refused(name, "norm", module)
        after.append(module)
    return before, weighted, after


def _flat(module: nn.Module) -> list[nn.Module]:
    """Return the modules of a sequence one by one, without those that do nothing in prediction."""
    if isinstance(module, nn.Sequential):
        return [part for inner in module for part in _flat(inner)]
    return [] if isinstance(module, _NOTHING) else [module]


def _refused(name: str, place: str, module: nn.Module) -> SigpropError:
    kind = type(module).__name__
    if isinstance(module, LengthNorm):
        reason = "divides each row by its length; fold expects norm='scale' (RunningScale)"
    elif isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.InstanceNorm1d | nn.InstanceNorm2d):
        reason = (
            "takes its statistics from each sample; fold expects a normaliser of running "
            "statistics, such as RunningNorm or BatchNorm2d"
        )
    elif type(module) in WEIGHTED:
        reason = "follows other weights; fold expects one weighted layer in each block"
    elif place == "pool":
        reason = "can't be folded; fold expects an average or maximum pool, or nn.Flatten"
    else:
        reason = (
            "can't be folded; fold expects pools and nn.Flatten, then one linear layer or "
            "convolution, then normalisers of running statistics"
        )
    return SigpropError(f"{kind} in the {place} of {name} {reason}")


def _channels(weighted: Weighted) -> int:
    return weighted.weight.shape[0]


def _scale(name: str, norm: nn.Module, weighted: Weighted) -> tuple[Tensor, Tensor | None]:
    """Return a normaliser's gain and offset, float64, one number or one for each channel.

    Raises:
        SigpropError: if it has none, or not one for each channel.
    """
    if isinstance(norm, BATCH_NORMS):
        if norm.running_mean is None or norm.running_var is None:
            raise SigpropError(
                f"{type(norm).__name__} of {name} tracks no running statistics; fold expects "
                "track_running_stats=True"
            )
        gain = (norm.running_var.double() + norm.eps).rsqrt()
        if norm.weight is not None:
            gain = gain * norm.weight.double()
        offset = -gain * norm.running_mean.double()
        return gain, offset if norm.bias is None else offset + norm.bias.double()
    assert isinstance(norm, Normaliser)
    channels = _channels(weighted)
    found = norm.scale(weighted.weight.new_zeros(1, channels, *[1] * (weighted.weight.dim() - 2)))
    parts: list[Tensor | None] = [None, None]
    for index, each in enumerate((found.gain, found.offset)):
        if each is not None:
            if each.numel() > 1 and not _one_per_channel(each, weighted):
                raise SigpropError(
                    f"{type(norm).__name__} of {name} has a scale of shape {list(each.shape)}; "
                    f"fold expects one number for each of the {channels} channels"
                )
            parts[index] = each.double().flatten() if each.numel() > 1 else each.double().view(())
    assert parts[0] is not None
    return parts[0], parts[1]


def _neuron(neuron: Neuron, weighted: Weighted) -> tuple[Neuron, Tensor]:
    """Return a copy of a neuron without a factor of its current, and that factor.

    The factor is one number, or one for each channel.
    """
    one = torch.ones((), dtype=torch.float64, device=weighted.weight.device)
    if isinstance(neuron, Recurrent) and type(neuron.synapse) in (
        AllToAll, OneToOne, *WEIGHTED
    ):  # fmt: skip
        inner, factor = _neuron(neuron.neuron, weighted)
        recurrence = copied(neuron.synapse)
        if factor.dim():  # one for each channel: the recurrent weights may have other axes
            return _copy(neuron), one
        for weights in recurrence.parameters():
            weights.mul_(factor.to(weights.dtype))
        return Recurrent(inner, recurrence), factor
    copy = _copy(neuron)
    if isinstance(copy, LIF) and type(copy) is LIF:
        gain, copy.current_gain = copy.current_gain, 1.0
        return copy, one * gain
    if isinstance(copy, ParametricLIF) and type(copy) is ParametricLIF:
        beta, threshold = copy.beta, copy.threshold
        factor = 1.0 - beta.double() if copy.scale_current else one
        if beta.numel() == threshold.numel() == 1:
            made = LIF(float(beta), float(threshold), copy.reset_mode, copy.surrogate)
            return made, factor.reshape(())
        one_number = beta.numel() == 1
        if copy.scale_current and (one_number or _one_per_channel(beta, weighted)):
            copy.scale_current = False
            return copy, factor.reshape(()) if one_number else factor.reshape(-1)
    return copy, one


def _copy(neuron: Neuron) -> Neuron:
    copy = copied(neuron)
    assert isinstance(copy, Neuron)
    return copy


def _one_per_channel(values: Tensor, weighted: Weighted) -> bool:
    """Return whether values are one for each channel: `[C]`, and for maps `[C, 1, 1]`."""
    channels, positions = _channels(weighted), [1] * (weighted.weight.dim() - 2)
    found = list(values.shape)
    return found in ([channels, *positions], [1, channels, *positions])


def _scaled(weighted: Weighted, gain: Tensor, offset: Tensor | None) -> Weighted:
    """Return a layer with the output gain * output + offset, each weight rounded once."""
    made = _empty(weighted)
    per_row = gain.view(-1, *[1] * (weighted.weight.dim() - 1)) if gain.dim() else gain
    made.weight.copy_(weighted.weight.double() * per_row)
    assert made.bias is not None
    bias = weighted.weight.new_zeros(_channels(weighted)).double()
    if weighted.bias is not None:
        bias = weighted.bias.double() * gain
    made.bias.copy_(bias if offset is None else bias + offset)
    return made


def _empty(weighted: Weighted) -> Weighted:
    """Return a layer of the same shape with a bias, without hooks and parametrisations."""
    place = {"device": weighted.weight.device, "dtype": weighted.weight.dtype}
    settings: tuple[object, ...]
    if isinstance(weighted, nn.Linear):
        settings = weighted.in_features, weighted.out_features
    else:
        settings = (
            weighted.in_channels, weighted.out_channels, weighted.kernel_size, weighted.stride,
            weighted.padding, weighted.dilation, weighted.groups, True, weighted.padding_mode,
        )  # fmt: skip
    skip: Any = skip_init  # without types; it draws no random numbers
    made: Weighted = skip(type(weighted), *settings, **place)
    return made


def _pool(name: str, pool: nn.Module) -> nn.Module:
    """Return a copy of the modules behind a neuron, without those that do nothing in prediction.

    Raises:
        SigpropError: if a module can't be used.
    """
    parts = _flat(pool)
    for part in parts:
        if not isinstance(part, _BEHIND):
            raise _refused(name, "pool", part)
    copies = [copied(part) for part in parts]
    if len(copies) == 1:
        return copies[0]
    return nn.Sequential(*copies) if copies else nn.Identity()
