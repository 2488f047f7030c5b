"""Synapses made for spikes."""

from __future__ import annotations

from torch import Tensor, nn

from sigprop_snn.neurons.kernels import event_linear


class EventLinear(nn.Linear):
    """A linear layer whose cost follows the spikes: what is zero is not multiplied.

    The same weights and the same result, within rounding, as `nn.Linear`, which takes over where
    the input is dense or the kernel has no way for it. Inputs are `[N, features]`.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Return `inputs @ weight.T + bias`, `[N, features]`."""
        return event_linear(inputs, self.weight, self.bias)
