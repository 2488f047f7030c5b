"""Quantise after training: a folded network as integers. Floats end here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sigprop_snn.arguments import instance, number, one_of, refused, whole
from sigprop_snn.deploy import Folded, FoldedLayer, fold
from sigprop_snn.errors import SigpropError
from sigprop_snn.fixed_point.formats import PERS, Decay, Format, Per, largest, weight_bits_of
from sigprop_snn.fixed_point.layers import IntegerLayer, IntegerReadout
from sigprop_snn.fixed_point.learning import IntegerLearner, IntegerRule, check_can_learn
from sigprop_snn.fixed_point.network import IntegerNetwork, levels_of
from sigprop_snn.layers.sources import INPUT
from sigprop_snn.network import Network, ProjectedContext
from sigprop_snn.neurons import IF, LIF, Neuron
from sigprop_snn.neurons.pooling import is_halving

_THRESHOLD_BITS = {16: 8, 24: 16}
"""By bits of the membrane: the largest threshold is about 2 to this power."""

CLIPS = tuple(step / 40 for step in range(2, 41))
"""The fractions of the largest weight that are tried as the largest one that is not clipped."""

_READOUT_BITS = 24
_LOGIT_SHIFT = -6  # the smallest: a score of 24 bits and a difference of two fit 32 bits
_SUM_BITS = 30  # of a sum of weights, shifted to the left


class Quantised(NamedTuple):
    """Integer weights and their scale: weight = scale * integers.

    Attributes:
        integers: int32, in the shape of the weights.
        scale: one number, or one for each channel, `[out, 1, ...]`.
    """

    integers: Tensor
    scale: Tensor


def quantise_weights(
    weight: Tensor, bits: int, per: Per = "channel", *, clips: Sequence[float] = CLIPS
) -> Quantised:
    """Return weights as integers with the scale of the least squared error.

    Args:
        weight: `[out, ...]`.
        bits: from 2 to 8; the range is symmetric.
        per: one scale for each "channel", the first axis, or one per "tensor".
        clips: fractions of the largest weight; each is tried as the largest that is not clipped.

    Raises:
        SigpropError: if an argument can't be used.
    """
    clips = _checked_clips(clips)
    instance("weight", weight, Tensor, "a tensor [out, ...]")
    top = largest(weight_bits_of("bits", bits))
    one_of("per", per, PERS)
    if weight.dim() < 2 or not weight.is_floating_point() or not bool(weight.isfinite().all()):
        raise SigpropError(
            f"weight has shape {list(weight.shape)} and dtype {weight.dtype}; expected finite "
            "floats [out, ...]"
        )
    wide = weight.detach().double()
    rows = wide.flatten(1) if per == "channel" else wide.reshape(1, -1)
    size = rows.abs().amax(1, keepdim=True)
    size = size.clamp(min=1e-12) if bool(size.any()) else torch.ones_like(size)
    best = torch.full_like(size, math.inf)
    scale = size / top
    for clip in clips:
        candidate = size * (clip / top)
        error = (rounded(rows, candidate, top) * candidate - rows).square().sum(1, keepdim=True)
        scale = torch.where(error < best, candidate, scale)
        best = torch.minimum(error, best)
    # The smallest scale decides the layer's shift. A channel of weights near 0 would make it so
    # large that the thresholds of the other channels round to 0.
    scale = scale.clamp(min=float(scale.max()) * _LEAST_CHANNEL)
    integers = rounded(rows, scale, top).view_as(wide).to(torch.int32)
    shape = (-1, *[1] * (wide.dim() - 1))
    return Quantised(integers, scale.view(shape) if per == "channel" else scale.view(()))


_LEAST_CHANNEL = 1 / 32
"""The scale of a channel is at least this part of the layer's largest."""


def _checked_clips(clips: Sequence[float]) -> list[float]:
    if not isinstance(clips, list | tuple) or not clips:
        raise refused("clips", clips, "numbers above 0, up to 1")
    return [number("clips", clip, "a number > 0 and <= 1", lambda x: 0 < x <= 1) for clip in clips]


def rounded(rows: Tensor, scale: Tensor, top: int) -> Tensor:
    """Return rows / scale, rounded to the nearest whole number and clipped."""
    return (rows / scale).round().clamp(-top, top)


def quantise(
    folded: Folded, format: Format | None = None, *, levels: int = 255, steps: int = 8
) -> IntegerNetwork:
    """Return a folded network as integers.

    A layer's weights are scaled to the bits of the format, its threshold and bias to the units
    that follow: with weights w = s * integer and inputs x = integer / levels, a voltage of 1 is
    levels / (s * 2**shift) units. The shift gives the largest threshold about 8 bits in a
    membrane of 16 bits, and 16 bits in one of 24.

    Args:
        folded: what `sigprop_snn.deploy.fold` returned.
        format: the number formats; 8 bits per channel if not given.
        levels: the integer for an input of 1: 255 for brightness, 1 for spikes and counts.
        steps: T of a sample; only learning depends on it.

    Raises:
        SigpropError: if a layer can't be computed in integers; it names the layer.
    """
    instance("folded", folded, Folded, "the result of fold(network)")
    format = instance("format", Format() if format is None else format, Format, "a Format")
    levels, steps = levels_of(levels), whole("steps", steps)
    sample_shape = folded.known_shape()
    shapes = folded.shapes(sample_shape)
    names = list(shapes)
    layers = []
    for index, (name, layer) in enumerate(folded.named_layers()):
        below = names[index - 1] if index else INPUT
        if folded.received()[name] != (below,):
            raise SigpropError(
                f"{name} receives {', '.join(folded.received()[name])}; integer networks expect "
                f"{below} alone: sources=1"
            )
        layers.append(_layer(name, layer, format, 1 if index else levels, index == 0))
    readout = folded.readout
    reads = folded.read()
    pools = tuple(len(readout.pools(shapes[name][2])) for name in reads)
    found = quantise_weights(readout.synapse.weight, format.weight_bits, "tensor")
    unit = 1.0 / float(found.scale)
    decay = Decay.of(float(readout.neuron.beta), format.decay, _READOUT_BITS)
    return IntegerNetwork(
        layers,
        IntegerReadout(
            found.integers,
            _bias(readout.synapse, torch.tensor(unit)),
            0,
            decay,
            _READOUT_BITS,
            tuple(names.index(name) for name in reads),
            pools,
            max(_LOGIT_SHIFT, round(math.log2(unit * steps / 4096))),
        ),
        levels=levels,
        format=format,
        sample_shape=sample_shape,
    )


def learner_of(
    network: Network,
    format: Format | None = None,
    *,
    levels: int = 255,
    steps: int = 8,
    rule: IntegerRule | None = None,
    seed: int = 1,
) -> IntegerLearner:
    """Return a learner that goes on from the weights of a trained network.

    Its contexts are the network's, as currents in units of the first layer's membrane.

    Args:
        network: fully connected, with a `ProjectedContext`.
        format: the number formats, per tensor; 8 bits if not given.
        levels: as for `quantise`.
        steps: T of a sample.
        rule: the settings of learning.
        seed: of the stochastic rounding.

    Raises:
        SigpropError: if the network can't learn in integers; it says why.
    """
    instance("network", network, Network, "a Network")
    format = Format(per="tensor") if format is None else format
    folded = fold(network)
    quantised = quantise(folded, format, levels=levels, steps=steps)
    if not isinstance(network.signal, ProjectedContext):
        raise SigpropError(
            f"the signal is {type(network.signal).__name__}; learning in integers expects "
            "ProjectedContext, whose contexts are currents"
        )
    check_can_learn(quantised)
    first, neuron = quantised.layers[0], folded.layer("block1").neuron
    before = network.block("block1").neuron
    gain = before.current_gain if isinstance(before, LIF) else 1.0
    unit = gain * int(first.threshold[0]) / float(neuron.threshold)
    with torch.no_grad():
        current = (network.signal().double() * unit).round().to(torch.int32)
    return IntegerLearner(quantised, current.flatten(1), rule, steps=steps, seed=seed)


def _layer(name: str, layer: FoldedLayer, format: Format, levels: int, first: bool) -> IntegerLayer:
    weights = layer.weights
    beta, threshold = _membrane(name, layer.neuron)
    flatten = _flattens(name, layer)
    padding = _padding(name, weights)
    if not all(is_halving(part) for part in layer.behind):
        kinds = ", ".join(type(part).__name__ for part in layer.behind)
        raise SigpropError(
            f"the spikes of {name} pass {kinds}; integer networks expect 2x2 maximum pools alone"
        )
    found = quantise_weights(weights.weight, format.weight_bits, format.per)
    unit = levels / found.scale.double().flatten()
    target = _THRESHOLD_BITS[format.membrane_bits]
    shift = math.ceil(math.log2(float(unit.max()) * threshold) - target)
    most = format.largest_weight * (255 if first else 1) * weights.weight[0].numel()
    shift = max(shift, most.bit_length() - _SUM_BITS)
    unit = (unit * 2.0**-shift).expand(weights.weight.shape[0])
    return IntegerLayer(
        found.integers,
        _bias(weights, unit),
        shift,
        (unit * threshold).round().clamp(min=1).to(torch.int32),
        Decay.of(beta, format.decay, format.membrane_bits),
        format.membrane_bits,
        layer.neuron.reset_mode,
        padding,
        flatten,
        len(layer.behind),
    )


def _membrane(name: str, neuron: Neuron) -> tuple[float, float]:
    """Return beta and the threshold of a leaky or perfect integrator.

    Raises:
        SigpropError: if the neuron is another model.
    """
    if type(neuron) is LIF and not isinstance(neuron.threshold, Tensor):
        return float(neuron.beta), float(neuron.threshold)
    if type(neuron) is IF and not isinstance(neuron.threshold, Tensor):
        return 1.0, float(neuron.threshold)
    raise SigpropError(
        f"the neuron of {name} is {type(neuron).__name__}; integer networks expect LIF or IF"
    )


def _flattens(name: str, layer: FoldedLayer) -> bool:
    """Return whether the layer flattens its input.

    Raises:
        SigpropError: if other modules come before the weights.
    """
    for part in layer.before:
        if not isinstance(part, nn.Flatten):
            raise SigpropError(
                f"{type(part).__name__} comes before the weights of {name}; integer networks "
                "expect nn.Flatten alone"
            )
    return bool(layer.before)


def _padding(name: str, weights: nn.Module) -> int:
    """Return the zeros around the maps of a convolution; 0 for a linear layer.

    Raises:
        SigpropError: if it is a convolution of another kind.
    """
    if isinstance(weights, nn.Linear):
        return 0
    if (
        isinstance(weights, nn.Conv2d)
        and weights.stride == (1, 1)
        and weights.dilation == (1, 1)
        and weights.groups == 1
        and weights.kernel_size[0] == weights.kernel_size[1]
        and isinstance(weights.padding, tuple)
        and weights.padding[0] == weights.padding[1]
        and weights.padding_mode == "zeros"
    ):
        return int(weights.padding[0])
    raise SigpropError(
        f"the weights of {name} are {weights}; integer networks expect linear layers and square "
        "2-d convolutions of stride 1"
    )


def _bias(weights: nn.Module, unit: Tensor) -> Tensor:
    bias = weights.bias
    assert isinstance(bias, Tensor)
    return (bias.detach().double() * unit).round().to(torch.int32)
