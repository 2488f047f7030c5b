"""The readout: predicts from the last block's spikes, with a separate loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sigprop_snn.answers import ANSWERS, Answers
from sigprop_snn.arguments import one_of, whole
from sigprop_snn.neurons import LeakyIntegrator, Run, impulse_response, mean_trace, run
from sigprop_snn.neurons.engines import Spikes


class Readout(nn.Module):
    """Leaky integrators of the last block's spikes; their mean voltages are the prediction.

    The highest voltage gives the class; a voltage above 0 predicts a label; for regression, the
    voltages are the values. Training uses the voltage rule's closed form: integrators neither
    spike nor reset, so the mean voltage equals the synapse of the mean presynaptic trace, times
    the gain.

    Args:
        features: size of the last block's output, flattened.
        classes: C, or the number of labels or values.
        beta: decay of the integrators per step.
        answers: "classes" trains with cross-entropy, "labels" with binary cross-entropy,
            "values" with mean squared error.

    Raises:
        UnknownNameError: if `answers` is unknown.
    """

    def __init__(
        self, features: int, classes: int, beta: float = 0.9, *, answers: Answers = "classes"
    ) -> None:
        super().__init__()
        one_of("answers", answers, ANSWERS)
        self.synapse = nn.Linear(
            whole("features of Readout", features), whole("classes of Readout", classes)
        )
        self.neuron = LeakyIntegrator(beta)
        self.answers = answers

    def forward(self, spikes: Tensor | Spikes) -> Tensor:
        """Return the mean voltages `[B, C]` for spikes `[T, B, ...]`."""
        trace, gain = mean_trace(spikes, impulse_response(self.neuron, spikes.shape[0]))
        voltage: Tensor = gain * self.synapse(trace.flatten(1))
        return voltage

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of the mean voltages `[B, C]`; `answers` selects the loss."""
        if self.answers == "labels":
            return F.binary_cross_entropy_with_logits(scores, labels.to(scores))
        if self.answers == "values":
            return F.mse_loss(scores, labels.to(scores))
        return F.cross_entropy(scores, labels)

    def trace(self, spikes: Tensor) -> Run:
        """Run the integrators step by step and record the voltages `[T, B, C]`, for plots."""
        flat = spikes.flatten(2)
        with torch.no_grad():
            return run(self.neuron, self.synapse(flat), record=("voltage",))

    def extra_repr(self) -> str:
        """Return the settings for `print(readout)`."""
        return f"answers={self.answers}"
