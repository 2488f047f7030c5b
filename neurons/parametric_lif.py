"""The leaky integrate-and-fire neuron whose decay and threshold learn."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.base import Neuron, Reset, State
from sigprop_snn.surrogates import Surrogate


class ParametricLIF(Neuron):
    """LIF with learnable decay and threshold, per layer or per neuron (PLIF, Fang et al. 2021).

    beta = sigmoid(decay_logit) stays in (0, 1) and threshold = exp(log_threshold) stays positive,
    whatever the optimizer does. Fang et al. write 1/tau = sigmoid(w) = 1 - beta and scale the
    current with it, which is `scale_current=True`.

    Args:
        beta: decay at the start, in (0, 1): one for the layer, or a tensor, one for each neuron.
        threshold: threshold at the start, likewise.
        features: shape of what the decay and the threshold each hold; `()` is one for the layer,
            `(N,)` one for each of N neurons, `(C, 1, 1)` one for each map. Follows from a tensor.
        learn_beta: whether the decay learns.
        learn_threshold: whether the threshold learns.
        reset: "subtract", "zero" or "none".
        surrogate: the smooth stand-in for the spike.
        scale_current: whether to multiply the current with 1 - beta.

    Raises:
        SigpropError: if a decay lies outside (0, 1) or a threshold is not positive.
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
        betas = _filled("beta", beta, features)
        thresholds = _filled("threshold", threshold, features)
        if not ((betas > 0) & (betas < 1)).all():
            raise SigpropError(f"beta of ParametricLIF is {beta}; expected numbers within (0, 1)")
        if not ((thresholds > 0) & thresholds.isfinite()).all():
            raise SigpropError(
                f"threshold of ParametricLIF is {threshold}; expected positive numbers"
            )
        self.decay_logit = nn.Parameter(betas.logit(), requires_grad=learn_beta)
        self.log_threshold = nn.Parameter(thresholds.log(), requires_grad=learn_threshold)
        self.scale_current = scale_current
        self.fixed_filter = not learn_beta and betas.numel() == 1

    @property
    def beta(self) -> Tensor:
        """The share of the voltage that is left after one step."""
        return self.decay_logit.sigmoid()

    @property
    def threshold(self) -> Tensor:
        """The membrane voltage above which the neuron fires."""
        return self.log_threshold.exp()

    def integrate(self, current: Tensor, state: State) -> State:
        """Let the voltage leak and add the current."""
        beta = self.beta.to(current)
        driven = (1.0 - beta) * current if self.scale_current else current
        return State(beta * state.voltage + driven)

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        held = "layer" if self.decay_logit.dim() == 0 else list(self.decay_logit.shape)
        return f"per={held}, reset={self.reset_by!r}, surrogate={self.surrogate}"


def _filled(name: str, value: float | Tensor, features: tuple[int, ...]) -> Tensor:
    """Return the setting as a tensor of the asked shape, or of its own where it has one."""
    start = torch.as_tensor(value, dtype=torch.get_default_dtype()).detach().clone()
    if start.dim() == 0:
        return start.expand(features).clone()
    if features and start.shape != features:
        raise SigpropError(
            f"{name} of ParametricLIF has shape {list(start.shape)}; expected {list(features)}"
        )
    return start
