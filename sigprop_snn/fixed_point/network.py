"""An integer network: inference in int32."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sigprop_snn.arguments import axes, instance, whole
from sigprop_snn.errors import SigpropError
from sigprop_snn.fixed_point.formats import Format
from sigprop_snn.fixed_point.layers import (
    IntegerLayer,
    IntegerReadout,
    check_sums,
    currents,
    pooled,
    run_layer,
    run_readout,
)

Shape = tuple[int, ...]

_LARGEST_INPUT = 255


@dataclass(frozen=True)
class IntegerRun:
    """What an integer network did with a batch.

    Attributes:
        spikes: of every layer before its pools, `[T, B, ...]`.
        voltages: of every layer before the reset, `[T, B, ...]`.
        scores: `[B, C]`.
    """

    spikes: tuple[Tensor, ...]
    voltages: tuple[Tensor, ...]
    scores: Tensor


class IntegerNetwork:
    """A row of integer layers and a readout; `network(x)` gives the scores `[B, C]`, int32.

    Inputs are integers from 0 to 255: see `integer_inputs`.

    Args:
        layers: the layers, in order; each receives the one below it.
        readout: reads the classes off the spikes of some layers.
        levels: the integer that stands for an input of 1: 255 for brightness, 1 for counts.
        format: the number formats.
        sample_shape: shape of one step of one sample.

    Raises:
        SigpropError: if a part has the wrong type, or sums can leave 32 bits.
    """

    def __init__(
        self,
        layers: Sequence[IntegerLayer],
        readout: IntegerReadout,
        *,
        levels: int,
        format: Format,
        sample_shape: Sequence[int],
    ) -> None:
        if not isinstance(layers, Iterable) or isinstance(layers, str | Tensor):
            raise SigpropError(f"layers is {layers!r}; expected a sequence of IntegerLayer")
        self.layers = tuple(
            instance("layers", layer, IntegerLayer, "IntegerLayer") for layer in layers
        )
        if not self.layers:
            raise SigpropError("layers is empty; expected at least one IntegerLayer")
        self.readout = instance("readout", readout, IntegerReadout, "an IntegerReadout")
        self.levels = levels_of(levels)
        self.format = instance("format", format, Format, "a Format")
        self.sample_shape = axes("sample_shape", sample_shape)
        for index, layer in enumerate(self.layers):
            check_sums(f"block{index + 1}", layer, format.largest_weight, largest_input(index))
        check_sums("the readout", readout, format.largest_weight, 1)

    @property
    def weighted(self) -> tuple[IntegerLayer | IntegerReadout, ...]:
        """The layers and the readout, in order."""
        return (*self.layers, self.readout)

    def shapes(self) -> list[tuple[Shape, Shape, Shape]]:
        """Return the shapes of each layer's input, current and output, without time and batch."""
        found: list[tuple[Shape, Shape, Shape]] = []
        shape: Shape = self.sample_shape
        for layer in self.layers:
            current: Shape = (layer.neurons,)
            if layer.is_convolution:
                less = layer.weight.shape[-1] - 1 - 2 * layer.padding
                current = (layer.neurons, *(size - less for size in shape[1:]))
            sent = halved_shape(current, layer.pools)
            found.append((shape, current, sent))
            shape = sent
        return found

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the scores `[B, C]`, int32, for integer inputs `[T, B, ...]`."""
        return self.run(inputs).scores

    def run(self, inputs: Tensor) -> IntegerRun:
        """Run on integer inputs `[T, B, ...]`.

        Raises:
            SigpropError: if the inputs are no integers from 0 to 255 of the right shape, or T is
                so large that a sum of voltages can leave 32 bits.
        """
        inputs = self.checked(inputs)
        sent, spikes, voltages = inputs, [], []
        outputs = []
        for index, layer in enumerate(self.layers):
            if layer.flatten:
                sent = sent.flatten(2)
            current = layer_currents(layer, sent, largest_input(index))
            ran = run_layer(layer, current, None)
            spikes.append(ran.spikes)
            voltages.append(ran.voltages)
            sent = pooled(ran.spikes, layer.pools)
            outputs.append(sent)
        read = self.read(outputs)
        scores = run_readout(self.readout, currents(self.readout, read, 1), None).voltage_sum
        return IntegerRun(tuple(spikes), tuple(voltages), scores)

    def read(self, outputs: Sequence[Tensor]) -> Tensor:
        """Return what the readout reads of the layers' outputs `[T, N, ...]`, `[T, N, K]`."""
        parts = [
            pooled(outputs[index], times).flatten(2)
            for index, times in zip(self.readout.reads, self.readout.pools, strict=True)
        ]
        return torch.cat(parts, dim=2)

    def checked(self, inputs: Tensor) -> Tensor:
        """Return integer inputs `[T, B, ...]` as int32 after a check; see `run`."""
        instance("inputs", inputs, Tensor, "a tensor [T, B, ...] of integers")
        if inputs.is_floating_point() or inputs.is_complex() or inputs.dtype == torch.bool:
            raise SigpropError(
                f"inputs are {inputs.dtype}; expected integers, as from integer_inputs(x, levels)"
            )
        if inputs.dim() < 3 or tuple(inputs.shape[2:]) != self.sample_shape or not inputs.numel():
            raise SigpropError(
                f"inputs have shape {list(inputs.shape)}; expected [T, B, "
                f"{', '.join(map(str, self.sample_shape))}]"
            )
        if int(inputs.min()) < 0 or int(inputs.max()) > _LARGEST_INPUT:
            raise SigpropError(
                f"inputs are from {int(inputs.min())} to {int(inputs.max())}; expected 0 to 255"
            )
        check_steps(self, inputs.shape[0])
        return inputs.to(torch.int32)


def layer_currents(layer: IntegerLayer, inputs: Tensor, largest: int) -> Tensor:
    """Return the currents for inputs `[T, N, ...]`; those that are constant are computed once."""
    if len(inputs) > 1 and inputs.stride(0) == 0:
        once = currents(layer, inputs[:1], largest)
        return once.expand(len(inputs), *once.shape[1:])
    return currents(layer, inputs, largest)


def halved_shape(shape: Shape, times: int) -> Shape:
    """Return the shape of maps `[C, H, W]` behind 2x2 pools; see `layers.pooled`."""
    return (shape[0], *(size >> times for size in shape[1:]))


def largest_input(index: int) -> int:
    """Return the largest input of a layer: a brightness or count for the first, else a spike."""
    return 1 if index else _LARGEST_INPUT


def check_steps(network: IntegerNetwork, steps: int) -> None:
    """Check that sums of voltages over so many steps fit 32 bits.

    Raises:
        SigpropError: if they do not.
    """
    bits = max(network.readout.membrane_bits, *(layer.membrane_bits for layer in network.layers))
    if steps << (bits - 1) >= 1 << 31:
        raise SigpropError(f"inputs have {steps} steps; expected less than {1 << (32 - bits)}")


def levels_of(levels: int) -> int:
    """Return the integer that stands for an input of 1, from 1 to 255.

    Raises:
        SigpropError: if it is none.
    """
    levels = whole("levels", levels)
    if levels > _LARGEST_INPUT:
        raise SigpropError(f"levels is {levels}; expected 1 to 255")
    return levels


def levels_for(inputs: Tensor) -> int:
    """Return the levels that fit inputs: 1 for whole numbers such as counts of events, else 255.

    Args:
        inputs: `[T, B, ...]`.
    """
    instance("inputs", inputs, Tensor, "a tensor [T, B, ...]")
    return 1 if bool((inputs == inputs.round()).all()) else _LARGEST_INPUT


def integer_inputs(inputs: Tensor, levels: int) -> Tensor:
    """Return inputs as integers from 0 to 255, `[T, B, ...]`, int32.

    This is the border between floats and integers: the camera's or the sensor's own numbers.

    Args:
        inputs: brightness from 0 to 1, spikes, or counts of events, `[T, B, ...]`.
        levels: the integer for an input of 1: 255 for brightness, 1 for spikes and counts.

    Raises:
        SigpropError: if an input is below 0 or not finite.
    """
    instance("inputs", inputs, Tensor, "a tensor [T, B, ...]")
    levels = levels_of(levels)
    constant = inputs.dim() > 1 and len(inputs) > 1 and inputs.stride(0) == 0
    distinct = inputs[:1] if constant else inputs
    if inputs.numel() and not bool(torch.isfinite(distinct).all() and (distinct >= 0).all()):
        raise SigpropError("inputs are below 0 or not finite; expected brightness or counts")
    found = (distinct * levels).round().clamp(max=_LARGEST_INPUT).to(torch.int32)
    return found.expand(inputs.shape) if constant else found
