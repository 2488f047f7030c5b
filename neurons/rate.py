"""The rate neuron: it sends a graded activity, not spikes."""

from __future__ import annotations

from torch import Tensor

from sigprop_snn.neurons.base import Neuron
from sigprop_snn.neurons.checks import check_number
from sigprop_snn.neurons.state import State
from sigprop_snn.surrogates import Relu, Surrogate


class Rate(Neuron[State]):
    """Leaky rate neuron: U[t] = beta U[t-1] + (1 - beta) I[t]; it sends f(U - threshold).

    With beta = 0 no step depends on the steps before it: the layer is one of an ordinary network,
    and the primitive of the surrogate is its activation (the discrete networks of Kohan et al.,
    arXiv 2204.01723). With beta > 0 the voltage relaxes towards the current, as in a neuron in
    continuous time.

    Args:
        beta: the fraction of the voltage that remains after one step, in [0, 1).
        threshold: subtracted from the voltage before the activation; any finite number.
        surrogate: its primitive is the activation; `Relu()` if not given.

    Raises:
        SigpropError: if beta is not in [0, 1).
    """

    linear = True
    graded = True

    def __init__(
        self, beta: float = 0.0, threshold: float = 0.0, surrogate: Surrogate | None = None
    ) -> None:
        super().__init__(
            threshold, reset="none", surrogate=Relu() if surrogate is None else surrogate
        )
        self.beta = check_number(
            self, "beta", beta, "a number from 0, below 1", lambda x: 0 <= x < 1
        )

    def integrate(self, current: Tensor, state: State) -> State:
        """Let the voltage relax towards the current."""
        if self.beta == 0.0:
            return State(current)
        return State(self.beta * state.voltage + (1.0 - self.beta) * current)

    def fire(self, voltage: Tensor) -> Tensor:
        """Return the activity: the primitive of the surrogate at the voltage minus threshold."""
        return self.surrogate.f(self.above(voltage))

    def extra_repr(self) -> str:
        """Return the settings for `print(neuron)`."""
        return f"beta={self.beta}, threshold={self.threshold}, surrogate={self.surrogate}"
