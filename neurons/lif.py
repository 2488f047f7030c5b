"""The leaky integrate-and-fire neuron."""

from __future__ import annotations

from torch import Tensor

from sigprop_snn.arguments import truth
from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.base import Neuron, Reset
from sigprop_snn.neurons.checks import check_fraction
from sigprop_snn.neurons.state import State
from sigprop_snn.surrogates import Surrogate


class LIF(Neuron[State]):
    """Leaky integrate-and-fire: U[t] = beta U[t-1] + I[t] (Gerstner and Kistler 2002, ch. 4).

    With `scale_current` the current enters as (1 - beta) I[t], so that a constant current I
    brings the voltage to I.

    Args:
        beta: the fraction of the voltage that remains after one step, in [0, 1]. `decay(tau, dt)`
            computes it from a time constant.
        threshold: the neuron fires when its membrane voltage is above this value.
        reset: "subtract", "zero" or "none".
        surrogate: the surrogate of the spike; `FastSigmoid()` if not given.
        scale_current: whether to multiply the current by 1 - beta.

    Raises:
        SigpropError: if beta is not in [0, 1], or is 1 with a scaled current.
    """

    linear = True

    def __init__(
        self,
        beta: float = 0.9,
        threshold: float = 1.0,
        reset: Reset = "subtract",
        surrogate: Surrogate | None = None,
        *,
        scale_current: bool = False,
    ) -> None:
        super().__init__(threshold, reset, surrogate)
        self.beta = check_fraction(self, "beta", beta)
        if truth("scale_current of LIF", scale_current) and self.beta == 1.0:
            raise SigpropError("beta of LIF is 1.0 with scale_current; expected less than 1")
        self.current_gain = 1.0 - self.beta if scale_current else 1.0

    def integrate(self, current: Tensor, state: State) -> State:
        """Let the voltage leak and add the current."""
        return State(self.beta * state.voltage + self.current_gain * current)

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        scaled = "" if self.current_gain == 1.0 else ", scale_current=True"
        return f"beta={self.beta}, {super().extra_repr()}{scaled}"
