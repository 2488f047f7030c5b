"""The Triton engine: LIF layers on a GPU, with fused kernels around torch's products."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sigprop_snn.neurons.base import Neuron, State
from sigprop_snn.neurons.engines.engine import Run, Scale, Spikes
from sigprop_snn.neurons.engines.plain import Weighted, why_not_current, why_not_lif
from sigprop_snn.neurons.engines.reference import ReferenceEngine, check_finite
from sigprop_snn.neurons.engines.triton import surrogate
from sigprop_snn.neurons.engines.triton.lif import run_lif
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
        if inputs.requires_grad or inputs.device.type != _device():
            return super().spikes(inputs)
        return DeviceSpikes(inputs)

    def join(self, parts: Sequence[Spikes], join: Join) -> Spikes:
        """Return the activity of several layers as the input of one, without a gradient."""
        whole = super().join(parts, join)
        values = whole.dense()
        return DeviceSpikes(values) if values.device.type == _device() else whole

    def currents(self, synapse: nn.Module, spikes: Spikes) -> Tensor:
        """Return a synapse's output for every step; that of feature maps is channels-last."""
        if isinstance(synapse, nn.Conv2d) and len(spikes.shape) == 5:
            inputs = spikes.dense()
            rows = (inputs[:1] if spikes.constant else inputs).flatten(0, 1)
            current = synapse(rows.contiguous(memory_format=torch.channels_last))
            found: Tensor = current.unflatten(0, (-1, spikes.shape[1]))
            return found
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
        reason = self.why_not_neurons(neuron, current, state, contexts=contexts, record=record)
        if detach_spikes or reason is not None:
            return super().neurons(
                neuron, current, state,
                contexts=contexts, scale=scale, record=record, detach_spikes=detach_spikes,
            )  # fmt: skip
        assert isinstance(neuron, LIF)
        ran = run_lif(
            neuron, current, state, contexts=contexts, scale=scale,
            record_voltage="voltage" in record,
        )  # fmt: skip
        kept = {"spike": ran.spike, "voltage": ran.voltage}
        return Run(
            DeviceSpikes(ran.spike),
            ran.mean_voltage,
            State(ran.last_voltage),
            {name: found for name in record if (found := kept[name]) is not None},
        )

    def weight_gradient(self, synapse: Weighted, inputs: Spikes | Tensor, grad: Tensor) -> Tensor:
        """Return the gradient of a synapse's weight; feature maps stay channels-last."""
        if isinstance(synapse, nn.Conv2d):
            dense = inputs if isinstance(inputs, Tensor) else inputs.dense()
            rows = dense.flatten(0, -4) if dense.dim() > 4 else dense
            if rows.is_contiguous(memory_format=torch.channels_last):
                errors = grad.flatten(0, -4) if grad.dim() > 4 else grad
                grad = errors.contiguous(memory_format=torch.channels_last)
            return super().weight_gradient(synapse, rows, grad)
        return super().weight_gradient(synapse, inputs, grad)

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

    def why_not_neurons(
        self,
        neuron: Neuron,
        current: Tensor,
        state: Any = None,
        *,
        contexts: Tensor | None = None,
        record: tuple[str, ...] = (),
    ) -> str | None:
        """Return why the kernel does not run neurons through this current, or none."""
        return why_not_lif(neuron) or why_not_current(
            current, state, contexts, record, dtypes=_DTYPES, device=_device()
        )


def _device() -> str:
    return "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
