"""The Triton engine: LIF through given currents in one fused kernel on the GPU."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor, nn

from sigprop_snn.neurons.base import Neuron, State
from sigprop_snn.neurons.engines.dense import DenseSpikes
from sigprop_snn.neurons.engines.engine import Run, Scale
from sigprop_snn.neurons.engines.plain import why_not_current, why_not_lif
from sigprop_snn.neurons.engines.reference import ReferenceEngine
from sigprop_snn.neurons.engines.triton.lif import run_lif
from sigprop_snn.neurons.lif import LIF

_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class TritonEngine(ReferenceEngine):
    """Runs LIF neurons in one kernel over all steps; the rest as the reference engine does."""

    name = "triton"

    def why_not(self, synapse: nn.Module, normaliser: nn.Module, neuron: Neuron) -> str | None:
        """Return why the kernel does not run a layer's neurons, or none."""
        return why_not_lif(neuron)

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
            DenseSpikes(ran.spike),
            ran.voltage_sum / len(current),
            State(ran.last_voltage),
            {name: found for name in record if (found := kept[name]) is not None},
        )

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
