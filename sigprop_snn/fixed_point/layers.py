"""Layers of integers: weights, a leaky membrane that saturates, and a threshold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.errors import SigpropError
from sigprop_snn.fixed_point.arithmetic import decayed, product, saturated, shifted
from sigprop_snn.fixed_point.formats import Decay
from sigprop_snn.neurons import Reset
from sigprop_snn.neurons.pooling import halved

_INT32 = 1 << 31


@dataclass(frozen=True)
class IntegerLayer:
    """A layer of spiking neurons in int32; its weights are changed in place by learning.

    At each step: I = shifted(W x, shift) + bias, U = saturated(decayed(U) + I), a spike where
    U > threshold, then the reset.

    Attributes:
        weight: `[out, in]`, or `[out, in, k, k]` for a convolution of stride 1.
        bias: in units of the membrane, `[out]`.
        shift: right shift from sums of weights to the membrane; below 0 to the left.
        threshold: `[out]`.
        decay: of the membrane.
        membrane_bits: 16 or 24.
        reset: "subtract", "zero" or "none".
        padding: zeros around the maps of a convolution.
        flatten: whether maps are flattened before the weights.
        pools: how many 2x2 maximum pools the spikes pass on their way out.
    """

    weight: Tensor
    bias: Tensor
    shift: int
    threshold: Tensor
    decay: Decay
    membrane_bits: int = 16
    reset: Reset = "subtract"
    padding: int = 0
    flatten: bool = False
    pools: int = 0

    @property
    def is_convolution(self) -> bool:
        """Whether the weights are kernels."""
        return self.weight.dim() == 4

    @property
    def fan_in(self) -> int:
        """Number of inputs of a neuron, without the bias."""
        return self.weight[0].numel()

    @property
    def neurons(self) -> int:
        """Number of neurons, or of maps of a convolution."""
        return self.weight.shape[0]


@dataclass(frozen=True)
class IntegerReadout:
    """Leaky integrators without spikes; the score of a class is the sum of its voltages.

    Attributes:
        weight: `[C, in]`.
        bias: in units of the membrane, `[C]`.
        shift: as in `IntegerLayer`.
        decay: of the membrane.
        membrane_bits: 16 or 24.
        reads: the indices of the layers that it reads, side by side.
        pools: how many 2x2 maximum pools the maps of each of them pass first.
        logit_shift: right shift from scores to logits in Q12, for learning.
    """

    weight: Tensor
    bias: Tensor
    shift: int
    decay: Decay
    membrane_bits: int
    reads: tuple[int, ...]
    pools: tuple[int, ...]
    logit_shift: int = 0


class LayerState(NamedTuple):
    """What a layer keeps between two steps.

    Attributes:
        voltage: after the reset, `[N, ...]`.
        voltage_sum: of the voltages before the reset since the start, `[N, ...]`.
    """

    voltage: Tensor
    voltage_sum: Tensor


class LayerRun(NamedTuple):
    """The run of a layer over some steps.

    Attributes:
        spikes: 0 and 1 before the pools, `[T, N, ...]`.
        voltages: before the reset, `[T, N, ...]`.
        state: at the end.
    """

    spikes: Tensor
    voltages: Tensor
    state: LayerState


def currents(layer: IntegerLayer | IntegerReadout, inputs: Tensor, largest_input: int) -> Tensor:
    """Return the currents for inputs `[T, N, ...]`, in units of the membrane.

    Args:
        layer: the layer.
        inputs: int32.
        largest_input: the largest possible input, from which a bound on the sums follows.
    """
    rows = inputs.flatten(0, 1)
    weight = layer.weight
    bound = largest_input * 127 * weight[0].numel()
    if isinstance(layer, IntegerLayer) and layer.is_convolution:
        summed = _convolved(rows, weight, layer.padding, bound)
        bias = layer.bias.view(-1, 1, 1)
    else:
        summed = product(rows.flatten(1), weight, bound)
        bias = layer.bias
    found = shifted(summed, layer.shift) + bias
    return found.view(*inputs.shape[:2], *found.shape[1:])


def run_layer(layer: IntegerLayer, current: Tensor, state: LayerState | None) -> LayerRun:
    """Run the neurons of a layer on currents `[T, N, ...]`; at rest if there is no state."""
    if state is None:
        state = LayerState(torch.zeros_like(current[0]), torch.zeros_like(current[0]))
    voltage, total = state
    threshold = layer.threshold.view(-1, *[1] * (current.dim() - 3))
    spikes, voltages = [], []
    for now in current:
        before = saturated(decayed(voltage, layer.decay) + now, layer.membrane_bits)
        spike = before.gt(threshold).to(torch.int32)
        if layer.reset == "subtract":
            voltage = before - threshold * spike
        else:
            voltage = before * (1 - spike) if layer.reset == "zero" else before
        total = total + before
        spikes.append(spike)
        voltages.append(before)
    return LayerRun(torch.stack(spikes), torch.stack(voltages), LayerState(voltage, total))


def run_readout(layer: IntegerReadout, current: Tensor, state: LayerState | None) -> LayerState:
    """Integrate currents `[T, N, C]`; the sum of the voltages is the score."""
    if state is None:
        state = LayerState(torch.zeros_like(current[0]), torch.zeros_like(current[0]))
    voltage, total = state
    for now in current:
        voltage = saturated(decayed(voltage, layer.decay) + now, layer.membrane_bits)
        total = total + voltage
    return LayerState(voltage, total)


def pooled(spikes: Tensor, times: int) -> Tensor:
    """Return spikes `[T, N, C, H, W]` behind 2x2 maximum pools."""
    for _ in range(times):
        spikes = halved(spikes)
    return spikes


def check_sums(
    name: str, layer: IntegerLayer | IntegerReadout, largest_weight: int, largest_input: int
) -> None:
    """Check that no sum and no product of a layer can leave 32 bits, also while it learns.

    Raises:
        SigpropError: if one can; it names the layer and the bound.
    """
    if layer.decay.multiplier is not None and layer.membrane_bits + layer.decay.bits > 31:
        raise SigpropError(
            f"the decay of {name} has {layer.decay.bits} bits beside a membrane of "
            f"{layer.membrane_bits}; expected 31 together at most"
        )
    bound = largest_weight * largest_input * layer.weight[0].numel()
    left = 1 << max(0, -layer.shift)
    most = bound * left + int(layer.bias.abs().max()) + (2 << (layer.membrane_bits - 1))
    if most >= _INT32:
        raise SigpropError(
            f"the sums of {name} can reach {most}; expected less than 2**31, from fewer or smaller "
            "inputs"
        )


def _convolved(rows: Tensor, weight: Tensor, padding: int, bound: int) -> Tensor:
    """Return the convolution of maps `[N, C, H, W]` as one product of matrices."""
    side = weight.shape[-1]
    padded = F.pad(rows, (padding,) * 4)
    windows = padded.unfold(2, side, 1).unfold(3, side, 1)  # [N, C, H, W, k, k]
    count, _, height, width = windows.shape[:4]
    lines = windows.permute(0, 2, 3, 1, 4, 5).reshape(count * height * width, -1)
    summed = product(lines, weight.flatten(1), bound)
    return summed.view(count, height, width, -1).permute(0, 3, 1, 2).contiguous()
