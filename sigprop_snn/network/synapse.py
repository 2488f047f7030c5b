"""Synapses made for spikes, and how any synapse meets time."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from sigprop_snn.neurons.kernels import event_linear


class EventLinear(nn.Linear):
    """A linear layer whose cost follows the spikes: what is zero is not multiplied.

    The same weights and the same result, within rounding, as `nn.Linear`, which takes over where
    the input is dense or the kernel has no way for it. Inputs are `[N, features]`, or
    `[T, N, features]`: of samples that go on in time it reads a neuron that fires again and again
    once every few steps.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Return `inputs @ weight.T + bias`, `[..., features]`."""
        return event_linear(inputs, self.weight, self.bias)


def stepwise(module: Callable[[Tensor], Tensor], values: Tensor) -> Tensor:
    """Return a module's output for every step of `[T, N, ...]`, the steps laid along the batch.

    An `EventLinear`, alone or in a row of modules, is handed the steps as they are.
    """
    if (
        type(module) is nn.Sequential
        and any(type(part) is EventLinear for part in module)
        and not (module._forward_hooks or module._forward_pre_hooks)
    ):
        for part in module:
            values = stepwise(part, values)
        return values
    if type(module) is EventLinear and values.dim() == 3:
        out: Tensor = module(values)
        return out
    out = module(values.flatten(0, 1))
    return out.view(*values.shape[:2], *out.shape[1:])
