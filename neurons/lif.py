"""The leaky integrate-and-fire neuron."""

from __future__ import annotations

from torch import Tensor

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.base import Neuron, Reset, State, share
from sigprop_snn.surrogates import Surrogate


class LIF(Neuron):
    """Leaky integrate-and-fire: U[t] = beta U[t-1] + I[t] (Gerstner and Kistler 2002, ch. 4).

    With `scale_current` the current enters as (1 - beta) I[t], so that a constant current I
    brings the voltage to I.

    Args:
        beta: the share of the voltage that is left after one step, in [0, 1]; from a time
            constant it is `decay(tau, dt)`.
        threshold: the membrane voltage above which the neuron fires.
        reset: "subtract", "zero" or "none".
        surrogate: the smooth stand-in for the spike.
        scale_current: whether to multiply the current with 1 - beta.

    Raises:
        SigpropError: if beta lies outside [0, 1], or leaves nothing of the scaled current.
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
        share(type(self).__name__, beta=beta)
        if scale_current and beta == 1.0:
            raise SigpropError("beta of LIF is 1.0 with scale_current; expected less than 1")
        self.beta = beta
        self.current_gain = 1.0 - beta if scale_current else 1.0

    def integrate(self, current: Tensor, state: State) -> State:
        """Let the voltage leak and add the current."""
        return State(self.beta * state.voltage + self.current_gain * current)

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        scaled = "" if self.current_gain == 1.0 else ", scale_current=True"
        return f"beta={self.beta}, {super().extra_repr()}{scaled}"
