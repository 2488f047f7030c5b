"""The leaky integrate-and-fire neuron with a learnable decay and threshold."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sigprop_snn.arguments import axes, truth
from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.base import Neuron, Reset
from sigprop_snn.neurons.state import State
from sigprop_snn.surrogates import Surrogate


class ParametricLIF(Neuron[State]):
    """LIF with learnable decay and threshold, per layer or per neuron (PLIF, Fang et al. 2021).

    beta = sigmoid(decay_logit) stays in (0, 1) and threshold = exp(log_threshold) stays positive
    under any optimizer. Fang et al. write 1/tau = sigmoid(w) = 1 - beta and scale the current by
    it, which is `scale_current=True`.

    Args:
        beta: initial decay, in (0, 1): a number for the layer, or a tensor with one for each
            neuron.
        threshold: initial threshold, likewise.
        features: shape of the decay and of the threshold: `()` is one for the layer, `(N,)` one
            for each of N neurons, `(C, 1, 1)` one for each map. A tensor has its own shape.
        learn_beta: whether the decay learns.
        learn_threshold: whether the threshold learns.
        reset: "subtract", "zero" or "none".
        surrogate: the surrogate of the spike; `FastSigmoid()` if not given.
        scale_current: whether to multiply the current by 1 - beta.

    Raises:
        SigpropError: if a decay is not in (0, 1), or a threshold is not positive, or a tensor does
            not have the shape `features`.
    """

    linear = True

    def __init__(
        self,
        beta: float | Tensor = 0.9,
        threshold: float | Tensor = 1.0,
        features: tuple[int, ...] = (),
        *,
        learn_beta: bool = True,
        learn_threshold: bool = True,
        reset: Reset = "subtract",
        surrogate: Surrogate | None = None,
        scale_current: bool = False,
    ) -> None:
        super().__init__(1.0, reset, surrogate)
        features = axes("features of ParametricLIF", features)
        learn_beta = truth("learn_beta of ParametricLIF", learn_beta)
        learn_threshold = truth("learn_threshold of ParametricLIF", learn_threshold)
        scale_current = truth("scale_current of ParametricLIF", scale_current)
        betas = _filled("beta", beta, features)
        thresholds = _filled("threshold", threshold, features)
        _check_each("beta", betas, (betas > 0) & (betas < 1), "numbers within (0, 1)")
        positive = (thresholds > 0) & thresholds.isfinite()
        _check_each("threshold", thresholds, positive, "positive numbers")
        self.decay_logit = nn.Parameter(betas.logit(), requires_grad=learn_beta)
        self.log_threshold = nn.Parameter(thresholds.log(), requires_grad=learn_threshold)
        self.scale_current = scale_current

    @property
    def fixed_filter(self) -> bool:
        """Whether the decay does not learn and is one for the layer."""
        return not self.decay_logit.requires_grad and self.decay_logit.numel() == 1

    @property
    def beta(self) -> Tensor:
        """The fraction of the voltage that remains after one step."""
        return self.decay_logit.sigmoid()

    @property
    def threshold(self) -> Tensor:
        """The neuron fires when its membrane voltage is above this value."""
        return self.log_threshold.exp()

    def integrate(self, current: Tensor, state: State) -> State:
        """Let the voltage leak and add the current."""
        beta = self.beta.to(current)
        scaled = (1.0 - beta) * current if self.scale_current else current
        return State(beta * state.voltage + scaled)

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        per = "layer" if self.decay_logit.dim() == 0 else list(self.decay_logit.shape)
        return f"per={per}, reset={self.reset_mode!r}, surrogate={self.surrogate}"


def _check_each(name: str, values: Tensor, valid: Tensor, expected: str) -> None:
    if not valid.all():
        first = values[~valid].flatten()[0].item()
        raise SigpropError(f"{name} of ParametricLIF is {first}; expected {expected}")


def _filled(name: str, value: float | Tensor, features: tuple[int, ...]) -> Tensor:
    """Return a number as a tensor of shape `features`, and a tensor in its own shape."""
    try:
        start = torch.as_tensor(value, dtype=torch.get_default_dtype()).detach().clone()
    except (TypeError, ValueError, RuntimeError) as error:
        raise SigpropError(
            f"{name} of ParametricLIF is {value!r}; expected a number or a tensor of numbers"
        ) from error
    if start.dim() == 0:
        return start.expand(features).clone()
    if features and start.shape != features:
        raise SigpropError(
            f"{name} of ParametricLIF has shape {list(start.shape)}; expected {list(features)}"
        )
    return start
