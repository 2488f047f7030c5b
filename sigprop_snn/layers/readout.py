"""The readout: answers read off the last block's spikes, trained on its own."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sigprop_snn.answers import ANSWERS, Answers
from sigprop_snn.errors import UnknownNameError
from sigprop_snn.neurons import LeakyIntegrator, Run, impulse_response, mean_trace, run
from sigprop_snn.neurons.engines import Spikes


class Readout(nn.Module):
    """Leaky integrators on the last block's spikes; their mean voltages are the answer.

    The highest is the class; above 0 a label is there; or they are the values themselves. It
    learns by the voltage rule's closed form: integrators neither fire nor reset, so their mean
    voltage *is* the static pass over the mean presynaptic trace.

    Args:
        features: size of the last block's output, flattened.
        classes: C, or how many labels or values.
        beta: decay of the integrators.
        answers: what it learns: "classes" by cross-entropy, "labels" by binary cross-entropy,
            "values" by mean squared error.

    Raises:
        UnknownNameError: if the kind of answer is none of these.
    """

    def __init__(
        self, features: int, classes: int, beta: float = 0.9, *, answers: Answers = "classes"
    ) -> None:
        super().__init__()
        if answers not in ANSWERS:
            raise UnknownNameError("kind of answer", answers, ANSWERS)
        self.synapse = nn.Linear(features, classes)
        self.neuron = LeakyIntegrator(beta)
        self.answers = answers

    def forward(self, spikes: Tensor | Spikes) -> Tensor:
        """Return the mean voltage of every answer, `[B, C]`, for spikes `[T, B, ...]`."""
        trace, gain = mean_trace(spikes, impulse_response(self.neuron, spikes.shape[0]))
        voltage: Tensor = gain * self.synapse(trace.flatten(1))
        return voltage

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of the mean voltages `[B, C]`, by the kind of answer."""
        if self.answers == "labels":
            return F.binary_cross_entropy_with_logits(scores, labels.to(scores))
        if self.answers == "values":
            return F.mse_loss(scores, labels.to(scores))
        return F.cross_entropy(scores, labels)

    def trace(self, spikes: Tensor) -> Run:
        """Run the integrators step by step, for pictures: voltages `[T, B, C]` are recorded."""
        flat = spikes.flatten(2)
        with torch.no_grad():
            return run(self.neuron, self.synapse(flat), record=("voltage",))

    def extra_repr(self) -> str:
        """Return the settings for `print(readout)`."""
        return f"answers={self.answers}"
