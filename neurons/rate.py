"""The rate neuron: what it sends on is a graded activity, not spikes."""

from __future__ import annotations

from torch import Tensor

from sigprop_snn.neurons.base import Neuron, State, share
from sigprop_snn.surrogates import Relu, Surrogate


class Rate(Neuron):
    """Leaky rate neuron: U[t] = beta U[t-1] + (1 - beta) I[t], and f(U - threshold) is sent on.

    Without a leak, beta = 0, every step stands alone: one step of it is the layer of an ordinary
    network, with the surrogate's primitive as its activation (Kohan et al., arXiv 2204.01723, the
    discrete networks there). With a leak it is a neuron in continuous time that relaxes towards
    its current.

    Args:
        beta: the share of the voltage that is left after one step, in [0, 1).
        threshold: what is taken off the voltage before the activation.
        surrogate: the activation, by its primitive.

    Raises:
        SigpropError: if beta lies outside [0, 1].
    """

    linear = True
    graded = True

    def __init__(
        self, beta: float = 0.0, threshold: float = 0.0, surrogate: Surrogate | None = None
    ) -> None:
        super().__init__(threshold, reset="none", surrogate=surrogate or Relu())
        share(type(self).__name__, beta=beta)
        self.beta = beta

    def integrate(self, current: Tensor, state: State) -> State:
        """Let the voltage relax towards the current."""
        if self.beta == 0.0:
            return State(current)
        return State(self.beta * state.voltage + (1.0 - self.beta) * current)

    def fire(self, voltage: Tensor) -> Tensor:
        """Return the activity, the surrogate's primitive of the voltage above the threshold."""
        return self.surrogate.f(self.above(voltage))

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return f"beta={self.beta}, threshold={self.threshold}, surrogate={self.surrogate}"
