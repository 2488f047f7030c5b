"""Integer networks that start from random weights, to learn on the chip from nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sigprop_snn.arguments import axes, instance, whole
from sigprop_snn.errors import SigpropError
from sigprop_snn.fixed_point.arithmetic import product, random_bits, shifted
from sigprop_snn.fixed_point.formats import Decay, Format, largest
from sigprop_snn.fixed_point.layers import IntegerLayer, IntegerReadout, run_layer
from sigprop_snn.fixed_point.learning import IntegerLearner, IntegerRule, stored_to_weight
from sigprop_snn.fixed_point.network import IntegerNetwork, largest_input, layer_currents

THRESHOLD_BITS = 8
"""The threshold has about so many bits: the currents' root mean square is nearest to 2**8."""

_READOUT_BITS = 24
_BETA = 0.875


def integer_mlp(
    inputs: Tensor,
    classes: int,
    *,
    hidden: Sequence[int] | int = (256, 256),
    levels: int = 255,
    format: Format | None = None,
    rule: IntegerRule | None = None,
    beta: float = _BETA,
    seed: int = 1,
) -> IntegerLearner:
    """Return a learner of a fully connected integer network with random weights.

    The shift and the threshold of each layer follow from the currents of some inputs: the
    threshold is their root mean square. The readout starts at zero.

    Args:
        inputs: integers from 0 to 255 that are typical, `[T, B, ...]`.
        classes: C.
        hidden: neurons of each layer.
        levels: the integer for an input of 1; see `IntegerNetwork`.
        format: the number formats; 8 bits per tensor if not given.
        rule: the settings of learning.
        beta: decay of the membranes and traces; the nearest that the format has.
        seed: of the weights, the contexts and the stochastic rounding, from 1.

    Raises:
        SigpropError: if an argument can't be used.
    """
    instance("inputs", inputs, Tensor, "a tensor [T, B, ...] of integers")
    format = instance(
        "format", Format(per="tensor") if format is None else format, Format, "a Format"
    )
    rule = instance("rule", IntegerRule() if rule is None else rule, IntegerRule, "an IntegerRule")
    hidden, classes = axes("hidden", hidden), whole("classes", classes, 2)
    seed = whole("seed", seed)
    if not hidden or min(hidden) < 1:
        raise SigpropError(f"hidden is {hidden}; expected positive whole numbers")
    if inputs.is_floating_point() or inputs.dim() < 3 or not inputs.numel():
        raise SigpropError(
            f"inputs have shape {list(inputs.shape)} and dtype {inputs.dtype}; expected integers "
            "[T, B, ...]"
        )
    decay = Decay.of(beta, format.decay, format.membrane_bits)
    fraction = rule.stored_bits - format.weight_bits
    sent = inputs.to(torch.int32).flatten(2)
    layers: list[IntegerLayer] = []
    stored: list[Tensor] = []
    for index, size in enumerate(hidden):
        weights = _uniform(seed, index, size, sent.shape[2], rule.stored_bits)
        layer = _scaled(
            stored_to_weight(weights, fraction, format.weight_bits).clone(),
            sent,
            decay,
            format,
            index,
        )
        layers.append(layer)
        stored.append(weights)
        sent = run_layer(layer, layer_currents(layer, sent, largest_input(index)), None).spikes
    threshold = int(layers[0].threshold[0])
    reads = tuple(range(len(layers)))
    readout = IntegerReadout(
        torch.zeros(classes, sum(hidden), dtype=torch.int32),
        torch.zeros(classes, dtype=torch.int32),
        0,
        Decay.of(beta, format.decay, _READOUT_BITS),
        _READOUT_BITS,
        reads,
        (0,) * len(reads),
        format.weight_bits - 8,
    )
    stored.append(torch.zeros_like(readout.weight))
    network = IntegerNetwork(
        layers, readout, levels=levels, format=format, sample_shape=tuple(inputs.shape[2:])
    )
    contexts = _normal(seed, classes, hidden[0], threshold)
    return IntegerLearner(network, contexts, rule, steps=inputs.shape[0], seed=seed, stored=stored)


def _uniform(seed: int, index: int, out: int, size: int, bits: int) -> Tensor:
    """Return random stored weights over half of their range, `[out, size]`."""
    # An odd number of values has a mean of 0, which matters for a few bits.
    values = largest(bits) + (1 if bits >= 8 else 2)
    drawn = random_bits(_seeded(seed, index), 0, out * size, 16) % values
    return (drawn - values // 2).view(out, size)


def _normal(seed: int, classes: int, size: int, deviation: int) -> Tensor:
    """Return about normal currents `[C, n]`: the sum of twelve uniform numbers."""
    total = torch.zeros(classes * size, dtype=torch.int32)
    for part in range(12):
        total += random_bits(_seeded(seed, 100 + part), 0, classes * size, 12)
    return shifted((total - 12 * 2047) * deviation, 12).view(classes, size)


def _seeded(seed: int, part: int) -> int:
    """Return the count of `random_bits` for one part of the start."""
    return (seed * 0x85EBCA6B + part * 0xC2B2AE35) & 0xFFFFFFFF


def _scaled(weight: Tensor, sent: Tensor, decay: Decay, format: Format, index: int) -> IntegerLayer:
    """Return a layer whose threshold is the root mean square of its currents."""
    neurons = weight.shape[0]
    rows = sent.flatten(0, 1)
    summed = product(rows, weight, largest_input(index) * format.largest_weight * weight.shape[1])
    spare = max(0, int(summed.abs().max()).bit_length() - 20)  # squares of 40 bits add up in 64
    total = int((summed >> spare).to(torch.int64).square().sum())
    size = max(1, math.isqrt((total << 16) // summed.numel()) << spare)  # in 1/256
    shift = size.bit_length() - THRESHOLD_BITS - 9
    threshold = max(1, size >> (shift + 8) if shift >= -8 else size << (-shift - 8))
    return IntegerLayer(
        weight,
        torch.zeros(neurons, dtype=torch.int32),
        shift,
        torch.full((neurons,), threshold, dtype=torch.int32),
        decay,
        format.membrane_bits,
    )
