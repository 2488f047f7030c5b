"""The readout: classes read off the last block's spikes, trained on its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sigprop_snn.neurons import LeakyIntegrator, Run, impulse_response, mean_trace, run


class Readout(nn.Module):
    """Leaky integrators on the last block's spikes; the highest mean voltage is the class.

    It learns by the voltage rule's closed form: integrators neither fire nor reset, so their mean
    voltage *is* the static pass over the mean presynaptic trace.

    Args:
        features: size of the last block's output, flattened.
        classes: C.
        beta: decay of the integrators.
    """

    def __init__(self, features: int, classes: int, beta: float = 0.9) -> None:
        super().__init__()
        self.synapse = nn.Linear(features, classes)
        self.neuron = LeakyIntegrator(beta)

    def forward(self, spikes: Tensor) -> Tensor:
        """Return the mean voltage of every class, `[B, C]`, for spikes `[T, B, ...]`."""
        flat = spikes.flatten(2)
        trace, gain = mean_trace(flat, impulse_response(self.neuron, flat.shape[0]))
        voltage: Tensor = gain * self.synapse(trace)
        return voltage

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross-entropy of the mean voltages."""
        return F.cross_entropy(scores, labels)

    def trace(self, spikes: Tensor) -> Run:
        """Run the integrators step by step, for pictures: voltages `[T, B, C]` are recorded."""
        flat = spikes.flatten(2)
        with torch.no_grad():
            return run(self.neuron, self.synapse(flat), record=("voltage",))
