"""The Triton engine: LIF layers on a GPU, with fused kernels around torch's products."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from sigprop_snn.neurons.base import Neuron
from sigprop_snn.neurons.engines.cosines import cosine_cross_entropy
from sigprop_snn.neurons.engines.dense import DenseSpikes
from sigprop_snn.neurons.engines.engine import (
    CosineCrossEntropy,
    Normaliser,
    Run,
    Scale,
    Spikes,
)
from sigprop_snn.neurons.engines.plain import (
    Weighted,
    lif_run,
    plain_synapse,
    why_not_lif,
    why_not_neurons,
)
from sigprop_snn.neurons.engines.reference import (
    ReferenceEngine,
    check_contexts,
    check_finite,
    observe,
)
from sigprop_snn.neurons.engines.triton import surrogate
from sigprop_snn.neurons.engines.triton.lif import run_lif
from sigprop_snn.neurons.engines.triton.maps import grid_mean, grid_mean_gradient
from sigprop_snn.neurons.engines.triton.spikes import DeviceSpikes
from sigprop_snn.neurons.filters import geometric_response, impulse_response
from sigprop_snn.neurons.joining import Join
from sigprop_snn.neurons.lif import LIF

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class TritonEngine(ReferenceEngine):
    """Runs LIF neurons in one kernel over all steps; the rest as the reference engine does.

    Products are torch's own: one over all rows and steps. Feature maps are kept channels-last,
    which is the order that a GPU's convolutions compute in.
    """

    name = "triton"

    def why_not(self, synapse: nn.Module, normaliser: nn.Module, neuron: Neuron) -> str | None:
        """Return why the kernel does not run a layer's neurons, or none."""
        return why_not_lif(neuron)

    def spikes(self, inputs: Tensor) -> Spikes:
        """Return activity `[T, N, ...]`, checked to be finite.

        Raises:
            SigpropError: if a number is not finite; on a GPU perhaps in a later call.
        """
        check_finite(inputs)
        plain = inputs.requires_grad or inputs.device.type != _device()
        return DenseSpikes(inputs) if plain else DeviceSpikes(inputs)

    def join(self, parts: Sequence[Spikes], join: Join) -> Spikes:
        """Return the activity of several layers as the input of one, without a gradient."""
        whole = super().join(parts, join)
        values = whole.dense()
        return DeviceSpikes(values) if values.device.type == _device() else whole

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
    ) -> Run:
        """Run a layer; the bias of a convolution joins the normaliser's offset.

        A GPU adds the bias in a pass of its own, which takes as long as the neurons. The spikes
        take the place of the currents in memory where they fit.
        """
        bias = _bias_of_maps(synapse, spikes)
        if bias is None or not isinstance(normaliser, Normaliser):
            return super().layer(
                synapse, normaliser, neuron, spikes, state,
                contexts=contexts, observed_rows=observed_rows, record=record,
            )  # fmt: skip
        with torch.no_grad():
            current = self._convolved(synapse, spikes, bias=None)
            check_contexts(spikes.shape, current.shape[2:], contexts)
            observe(normaliser, current, observed_rows, bias)
            scale = normaliser.scale(current[0])
            offset = scale.gain * bias
            scale = Scale(scale.gain, offset if scale.offset is None else scale.offset + offset)
            current = current.expand(spikes.shape[0], *current.shape[1:])
            return self._neurons(
                neuron, current, state, contexts=contexts, scale=scale, record=record,
                overwrite=True,
            )  # fmt: skip

    def _convolved(self, synapse: nn.Module, spikes: Spikes, bias: Tensor | None) -> Tensor:
        """Return the output of a convolution for every step; one step for constant input."""
        assert isinstance(synapse, nn.Conv2d)
        inputs = spikes.dense()
        rows = (inputs[:1] if spikes.constant else inputs).flatten(0, 1)
        current: Tensor = synapse._conv_forward(
            rows.contiguous(memory_format=torch.channels_last), synapse.weight, bias
        )
        steps: Tensor = current.unflatten(0, (-1, spikes.shape[1]))  # type: ignore[no-untyped-call]
        return steps

    def currents(self, synapse: nn.Module, spikes: Spikes) -> Tensor:
        """Return a synapse's output for every step; that of feature maps is channels-last."""
        if _is_convolution(synapse, spikes):
            return self._convolved(synapse, spikes, synapse.bias)
        return super().currents(synapse, spikes)

    def neurons(
        self,
        neuron: Neuron,
        current: Tensor,
        state: Any = None,
        *,
        contexts: Tensor | None = None,
        scale: Scale | None = None,
        record: tuple[str, ...] = (),
        detach_spikes: bool = False,
    ) -> Run:
        """Run neurons through a current; LIF in one pass over time."""
        if detach_spikes:
            return super().neurons(
                neuron, current, state,
                contexts=contexts, scale=scale, record=record, detach_spikes=True,
            )  # fmt: skip
        return self._neurons(
            neuron, current, state, contexts=contexts, scale=scale, record=record, overwrite=False
        )

    def _neurons(
        self,
        neuron: Neuron,
        current: Tensor,
        state: Any,
        *,
        contexts: Tensor | None,
        scale: Scale | None,
        record: tuple[str, ...],
        overwrite: bool,
    ) -> Run:
        reason = why_not_neurons(
            neuron, current, state, contexts, record, dtypes=_DTYPES, device=_device()
        )
        if reason is not None:
            return super().neurons(
                neuron, current, state, contexts=contexts, scale=scale, record=record
            )
        assert isinstance(neuron, LIF)
        ran = run_lif(
            neuron, current, state, contexts=contexts, scale=scale,
            record_voltage="voltage" in record, overwrite=overwrite,
        )  # fmt: skip
        spikes = DeviceSpikes(ran.spike)
        return lif_run(spikes, ran.mean_voltage, ran.last_voltage, ran.voltage, record)

    def weight_gradient(
        self,
        synapse: Weighted,
        inputs: Spikes | Tensor,
        grad: Tensor,
        precision: torch.dtype | None = None,
    ) -> Tensor:
        """Return the gradient of a synapse's weight; feature maps stay channels-last."""
        dense = inputs if isinstance(inputs, Tensor) else inputs.dense()
        if precision is not None and dense.dtype == torch.float32:
            dense, grad = dense.to(precision), grad.to(precision)
        if isinstance(synapse, nn.Conv2d):
            dense = dense.flatten(0, -4)
            if dense.is_contiguous(memory_format=torch.channels_last):
                grad = grad.flatten(0, -4).contiguous(memory_format=torch.channels_last)
        return super().weight_gradient(synapse, dense, grad).to(synapse.weight.dtype)

    def surrogate_mean(self, neuron: Neuron, voltage: Tensor) -> Tensor:
        """Return the mean over time of f(U[t] - threshold), `[N, ...]`, for `[T, N, ...]`."""
        if surrogate.why_not_surrogate(neuron, voltage, _device()) is not None:
            return super().surrogate_mean(neuron, voltage)
        return surrogate.surrogate_mean(neuron, voltage)

    def surrogate_gradient(self, neuron: Neuron, voltage: Tensor, grad_mean: Tensor) -> Tensor:
        """Return the gradient of the currents `[T, N, ...]`, given that of `surrogate_mean`."""
        geometric = geometric_response(impulse_response(neuron, len(voltage)))
        reason = surrogate.why_not_surrogate(neuron, voltage, _device())
        if geometric is None or reason is not None:
            return super().surrogate_gradient(neuron, voltage, grad_mean)
        return surrogate.surrogate_gradient(neuron, voltage, grad_mean, *geometric)

    def grid_mean(self, maps: Tensor, grid: int) -> Tensor:
        """Return feature maps `[N, C, H, W]` averaged to `grid` x `grid` positions."""
        if not _takes_maps(maps, grid):
            return super().grid_mean(maps, grid)
        return grid_mean(maps.detach(), grid)

    def grid_mean_gradient(self, maps: Tensor, grid: int, grad: Tensor) -> Tensor:
        """Return the gradient of the maps, given that of `grid_mean`."""
        if not _takes_maps(maps, grid):
            return super().grid_mean_gradient(maps, grid, grad)
        return grid_mean_gradient(maps.detach(), grid, grad.detach())

    def cosine_cross_entropy(
        self, rows: Tensor, others: Tensor, columns: Tensor, scale: float, smoothing: float
    ) -> CosineCrossEntropy:
        """Compare rows with others; the gradient in closed form."""
        return cosine_cross_entropy(rows, others, columns, scale, smoothing)


def _is_convolution(synapse: nn.Module, spikes: Spikes) -> TypeGuard[nn.Conv2d]:
    """Return whether a synapse is a plain convolution of feature maps, alone."""
    plain = plain_synapse(synapse)
    return (
        plain is not None
        and not plain.flattens
        and isinstance(plain.layer, nn.Conv2d)
        and len(spikes.shape) == 5
    )


def _bias_of_maps(synapse: nn.Module, spikes: Spikes) -> Tensor | None:
    """Return the bias of a plain convolution, `[F, 1, 1]`, if it has one."""
    if not _is_convolution(synapse, spikes) or synapse.bias is None:
        return None
    return synapse.bias.detach()[:, None, None]


def _takes_maps(maps: Tensor, grid: int) -> bool:
    return (
        maps.dtype == torch.float32
        and maps.device.type == _device()
        and grid <= min(maps.shape[-2:])
    )


def _device() -> str:
    return "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
