"""The CPU engine: which layers its kernels run, and which it hands to the reference engine."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sigprop_snn.neurons.base import Neuron
from sigprop_snn.neurons.engines.cpu import convolution, cosines, linear, surrogate
from sigprop_snn.neurons.engines.cpu.blocks import SpikingLayer
from sigprop_snn.neurons.engines.cpu.lif import advance_lif, run_lif
from sigprop_snn.neurons.engines.cpu.spikes import PackedSpikes, pack, side_by_side
from sigprop_snn.neurons.engines.engine import (
    CosineCrossEntropy,
    InputTrace,
    MapNormaliser,
    Membrane,
    Normaliser,
    RowComparison,
    Run,
    Spikes,
    is_normaliser,
)
from sigprop_snn.neurons.engines.fused import FusedEngine
from sigprop_snn.neurons.engines.observed import WINDOW, observed
from sigprop_snn.neurons.engines.order import channels_last
from sigprop_snn.neurons.engines.plain import (
    PlainSynapse,
    altered,
    is_plain_normaliser,
    plain_synapse,
    why_not_lif,
)
from sigprop_snn.neurons.engines.reference import (
    advance_trace,
    at_one_size,
    check_contexts,
    observe,
    scale_rows,
)
from sigprop_snn.neurons.joining import Join
from sigprop_snn.neurons.lif import LIF
from sigprop_snn.neurons.module_kinds import Weighted

_LARGE = 1 << 21  # from so many input values on, a layer without a kernel gives a warning


class CpuEngine(FusedEngine):
    """Runs LIF layers in compiled kernels, on spikes that are packed four steps to a byte.

    What its kernels do not take (other neurons, synapses, dtypes, small layers) it hands to the
    methods of the reference engine.

    Args:
        worth: multiplications of a layer and batch from which a kernel is faster than torch.
        pack_from: numbers in a batch from which spikes are packed.
    """

    name = "cpu"
    device = "cpu"
    dtypes = (torch.float32, torch.bfloat16)
    run_lif = staticmethod(run_lif)
    fast_sigmoid_mean = staticmethod(surrogate.surrogate_mean)
    fast_sigmoid_gradient = staticmethod(surrogate.surrogate_gradient)

    def __init__(self, *, worth: int = 1 << 27, pack_from: int = 1 << 16) -> None:
        self._worth = worth
        self._pack_from = pack_from

    def why_not(self, synapse: nn.Module, normaliser: nn.Module, neuron: Neuron) -> str | None:
        """Return why no kernel runs a layer, or none where one does if the batch is large."""
        plain = plain_synapse(synapse)
        if plain is None:
            return "the synapse is not one linear layer or convolution"
        reason = why_not_lif(neuron) or _why_not_synapse(plain)
        if reason is None and not (_is_identity(normaliser) or is_plain_normaliser(normaliser)):
            return "the normaliser is not one scale a channel"
        return reason

    def spikes(self, inputs: Tensor) -> Spikes:
        """Return spikes of a large batch packed, and any other activity as it is.

        Raises:
            SigpropError: if a number is not finite.
        """
        packed = self._packed(inputs)  # holds 0 and 1 alone, so it is finite
        return super().spikes(inputs) if packed is None else packed

    def join(self, parts: Sequence[Spikes], join: Join) -> Spikes:
        """Return the activity of several layers as the input of one; packed where all are."""
        if len(parts) == 1:
            return parts[0]
        parts = at_one_size(parts, join)
        packed = [part for part in parts if isinstance(part, PackedSpikes)]
        one_size = len({part.shape[3:] for part in parts}) == 1
        if join == "side-by-side" and len(packed) == len(parts) and one_size:
            return side_by_side(packed)
        whole = super().join(parts, join)
        found = self._packed(whole.dense()) if packed else None
        return whole if found is None else found

    def currents(self, synapse: nn.Module, spikes: Spikes) -> Tensor:
        """Return the synapse's output for every step; by events where that is faster."""
        plain = plain_synapse(synapse)
        if plain is not None and isinstance(plain.layer, nn.Linear) and not spikes.constant:
            layer = plain.layer
            packed = self._packed_rows(layer, spikes.flatten() if plain.flattens else spikes)
            if packed is not None:
                dtype = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
                return (
                    linear.SpikingLinear.of(packed, layer.weight, layer.bias).currents().to(dtype)
                )
        if plain is None or not isinstance(plain.layer, nn.Conv2d) or len(spikes.shape) != 5:
            return super().currents(synapse, spikes)
        inputs = spikes.dense()
        inputs = inputs[:1] if spikes.constant else inputs
        # The currents are then kept as all kernels keep feature maps.
        current: Tensor = synapse(channels_last(inputs.flatten(0, 1)))
        return current.view(*inputs.shape[:2], *current.shape[1:])

    def layer(
        self,
        synapse: nn.Module,
        normaliser: nn.Module,
        neuron: Neuron,
        spikes: Spikes,
        state: Any = None,
        *,
        contexts: Tensor | None = None,
        observed_rows: int = 0,
        record: tuple[str, ...] = (),
        keeps_state: bool = True,
    ) -> Run:
        """Run a layer from packed spikes to packed spikes in one pass, where a kernel takes it."""
        plain = plain_synapse(synapse)
        reason = self.why_not(synapse, normaliser, neuron)
        if reason is not None and state is None and spikes.shape.numel() >= _LARGE:
            _warn_reference(reason)
        if not (
            plain is not None
            and reason is None
            and state is None
            and set(record) <= {"spike", "voltage"}
            and isinstance(spikes, PackedSpikes)
            and self._takes(plain, spikes)
        ):
            ran = super().layer(
                synapse, normaliser, neuron, spikes, state,
                contexts=contexts, observed_rows=observed_rows, record=record,
            )  # fmt: skip
            packed = None if neuron.graded else self._packed(ran.spikes.dense())
            return ran if packed is None else replace(ran, spikes=packed)
        assert isinstance(neuron, LIF)
        with torch.no_grad():
            spiking = _spiking(plain, spikes)
            check_contexts(spikes.shape, torch.Size(spiking.current_shape), contexts)
            scale = None
            if is_normaliser(normaliser):
                if observed_rows:
                    _observe(normaliser, spiking, observed_rows)
                scale = normaliser.scale(plain.layer.weight[:1])
            return spiking.run(neuron, contexts=contexts, scale=scale, record=record)

    def advance(
        self,
        synapse: nn.Linear,
        normaliser: nn.Module,
        neuron: Neuron,
        inputs: Tensor,
        membrane: Membrane,
        trace: InputTrace,
        *,
        contexts: Tensor | None = None,
        observed_rows: int = 0,
    ) -> Tensor:
        """Run one step of a linear layer of LIF neurons, and return its spikes, `[N, F]`."""
        arrays = (inputs, synapse.weight, *membrane[:2], trace.trace, trace.mean)
        if self.why_not(synapse, normaliser, neuron) is not None or not _are_plain(*arrays):
            return super().advance(
                synapse, normaliser, neuron, inputs, membrane, trace,
                contexts=contexts, observed_rows=observed_rows,
            )  # fmt: skip
        assert isinstance(neuron, LIF)
        with torch.no_grad():
            current = F.linear(inputs, synapse.weight, synapse.bias)
            observe(normaliser, current.unsqueeze(0), observed_rows)
            scale = normaliser.scale(current) if is_normaliser(normaliser) else None
            advance_trace(neuron, inputs, trace)
            return advance_lif(neuron, current, contexts, scale, membrane)

    def weight_gradient(
        self,
        synapse: Weighted,
        inputs: Spikes | Tensor,
        grad: Tensor,
        precision: torch.dtype | None = None,
    ) -> Tensor:
        """Return the gradient of a synapse's weight, by events where that is faster."""
        if isinstance(inputs, Tensor) or inputs.constant:
            in_order = grad.dim() == 4 and grad.is_contiguous(memory_format=torch.channels_last)
            if isinstance(inputs, Tensor) and inputs.dim() == 4 and in_order:
                inputs = channels_last(inputs)
            return super().weight_gradient(synapse, inputs, grad)
        if isinstance(synapse, nn.Linear):
            packed = self._packed_rows(synapse, inputs.flatten())
            if packed is not None and grad.dtype in self.dtypes:
                return linear.linear_weight_gradient(packed, grad)
        elif isinstance(synapse, nn.Conv2d) and isinstance(inputs, PackedSpikes):
            plain = PlainSynapse(synapse, flattens=False)
            takes = _why_not_synapse(plain) is None and self._takes(plain, inputs)
            if takes and convolution.gradient_pays(inputs):
                (height, width), padding = synapse.kernel_size, _padding(synapse)
                return convolution.convolution_weight_gradient(
                    inputs, grad.float(), (height, width), padding
                )
        return super().weight_gradient(synapse, inputs, grad)

    def scaled_weight_gradient(
        self,
        synapse: Weighted,
        inputs: Spikes | Tensor,
        grad: Tensor,
        factors: Tensor,
        precision: torch.dtype | None = None,
        left_out: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the weight's gradient with a factor for each output channel, in one pass."""
        product = self.weight_gradient(synapse, inputs, grad, precision)
        weight = synapse.weight.detach()
        row_alone = left_out is None or left_out[1].numel() == product[0].numel()
        if row_alone and _are_plain(product, weight, factors, *(left_out or ())):
            return linear.scale_rows(product, weight, factors, left_out)
        return scale_rows(product, weight.to(product), factors, left_out)

    def cosine_cross_entropy(
        self, rows: Tensor, others: Tensor, columns: Tensor, scale: float, smoothing: float
    ) -> CosineCrossEntropy:
        """Compare rows with others, in two passes."""
        rows, others = rows.detach(), others.detach()
        kernels_take = _compares(rows, columns, len(others)) and _are_plain(others)
        compare = cosines.cosine_cross_entropy if kernels_take else super().cosine_cross_entropy
        return compare(rows, others, columns, scale, smoothing)

    def compare_rectified(
        self, voltage: Tensor, samples: int, columns: Tensor, scale: float, smoothing: float
    ) -> RowComparison:
        """Compare the rectified voltages of samples and contexts, in two passes."""
        voltage = voltage.detach()
        others = len(voltage) - samples
        kernels_take = samples > 0 and _compares(voltage, columns, others)
        compare = cosines.compare_rectified if kernels_take else super().compare_rectified
        return compare(voltage, samples, columns, scale, smoothing)

    def _packed(self, inputs: Tensor) -> PackedSpikes | None:
        """Return activity packed, or none where it is graded or too little."""
        large = inputs.shape[0] >= WINDOW and inputs.numel() >= self._pack_from
        constant = inputs.stride(0) == 0
        return pack(inputs) if large and not constant and _is_activity(inputs) else None

    def _takes(self, plain: PlainSynapse, spikes: Spikes) -> bool:
        """Return whether the layer kernels take a plain synapse behind these spikes."""
        steps, rows, *shape = spikes.shape
        layer = plain.layer
        if steps < WINDOW:
            return False
        if isinstance(layer, nn.Linear):
            inputs = spikes.shape[2:].numel()
            return inputs == layer.in_features and self._multiplies(layer, steps * rows)
        if len(shape) != 3 or shape[0] != layer.weight.shape[1]:
            return False
        sizes = zip(shape[1:], layer.kernel_size, _padding(layer), strict=False)
        return all(
            pad < kernel <= size + 2 * pad for size, kernel, pad in sizes
        ) and self._multiplies(layer, steps * rows * shape[1] * shape[2])

    def _multiplies(self, layer: Weighted, rows: int) -> bool:
        """Return whether kernels multiply these weights, and so many rows are worth it."""
        weights = [layer.weight] if layer.bias is None else [layer.weight, layer.bias]
        return (
            rows * layer.weight.numel() >= self._worth
            and all(t.device.type == "cpu" and t.dtype == torch.float32 for t in weights)
            and (not isinstance(layer, nn.Linear) or layer.in_features <= linear.MOST_INPUTS)
            and (
                not torch.is_autocast_enabled("cpu")
                or torch.get_autocast_dtype("cpu") == torch.bfloat16
            )
            and not torch.compiler.is_compiling()
        )

    def _packed_rows(self, layer: nn.Linear, spikes: Spikes) -> PackedSpikes | None:
        """Return the spikes `[T, N, K]` of a linear layer packed, if its kernels multiply them."""
        steps, rows, *neurons = spikes.shape
        if neurons != [layer.in_features] or not self._multiplies(layer, steps * rows):
            return None
        if isinstance(spikes, PackedSpikes):
            return spikes
        inputs = spikes.dense()
        return pack(inputs) if _is_activity(inputs) else None

    def __repr__(self) -> str:
        return f"CpuEngine(worth={self._worth}, pack_from={self._pack_from})"


@functools.cache
def _warn_reference(reason: str) -> None:
    warnings.warn(
        f"a layer runs on the reference engine, step by step in torch: {reason}", stacklevel=4
    )


def _observe(normaliser: Normaliser, spiking: SpikingLayer, rows: int) -> None:
    """Let a normaliser observe the currents of the first rows, before they are scaled."""
    steps, maps = spiking.spikes.shape[0], len(spiking.current_shape) > 1
    seen = observed(steps, rows, maps=maps)
    if maps and isinstance(normaliser, MapNormaliser):
        assert isinstance(spiking, convolution.SpikingConvolution)
        normaliser.take(*spiking.statistics_at(seen))
        return
    patterns = spiking.spikes.patterns[seen.rows, seen.windows].unsqueeze(1)
    current = replace(spiking, spikes=PackedSpikes(patterns, WINDOW)).currents()
    normaliser.observe(seen.existing(current))


def _spiking(plain: PlainSynapse, spikes: PackedSpikes) -> SpikingLayer:
    layer = plain.layer
    if isinstance(layer, nn.Conv2d):
        return convolution.SpikingConvolution.of(spikes, layer.weight, layer.bias, _padding(layer))
    return linear.SpikingLinear.of(spikes.flatten(), layer.weight, layer.bias)


def _is_identity(module: nn.Module) -> bool:
    return isinstance(module, nn.Identity) and not altered(module)


def _why_not_synapse(plain: PlainSynapse) -> str | None:
    layer = plain.layer
    if isinstance(layer, nn.Linear):
        return None
    if not isinstance(layer, nn.Conv2d):
        return f"the synapse is {type(layer).__name__}; it knows Linear and Conv2d"
    if plain.flattens or not set(layer.stride) == set(layer.dilation) == {layer.groups} == {1}:
        return "the convolution has a stride, a dilation or groups"
    return None


def _padding(layer: Weighted) -> tuple[int, int]:
    # `plain_synapse` leaves other paddings out.
    assert isinstance(layer, nn.Conv2d) and not isinstance(layer.padding, str)
    above, beside = layer.padding
    return above, beside


def _are_plain(*arrays: Tensor) -> bool:
    """Return whether kernels that take float32 in one piece take tensors."""
    return not torch.compiler.is_compiling() and all(
        array.dtype == torch.float32 and array.is_cpu and array.is_contiguous() for array in arrays
    )


def _compares(rows: Tensor, columns: Tensor, others: int) -> bool:
    """Return whether the kernels of cosines take rows, their right columns and so many others."""
    return (
        _are_plain(rows)
        and rows.numel() > 0
        and columns.dtype == torch.int64
        and 0 < others <= cosines.MOST_OTHERS
    )


def _is_activity(inputs: Tensor) -> bool:
    """Return whether activity of this kind may be packed, which keeps no graph."""
    return (
        inputs.device.type == "cpu"
        and not inputs.requires_grad
        and (
            inputs.dtype == torch.float32
            or (inputs.dtype == torch.bfloat16 and torch.is_autocast_enabled("cpu"))
        )
    )
