"""Define a neuron model and a surrogate, and train a network with them on digits."""

import argparse
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from sigprop_snn.data import load
from sigprop_snn.network import SurrogateRule, VoltageRule, mlp
from sigprop_snn.neurons import Neuron, State
from sigprop_snn.surrogates import Surrogate
from sigprop_snn.training import LocalOptimizers, evaluate


class DoubleLeak(Neuron):
    """A neuron that leaks faster above half its threshold."""

    def integrate(self, current: Tensor, state: State) -> State:
        """Let the voltage leak and add the current."""
        beta = torch.where(state.voltage > 0.5 * self.threshold, 0.7, 0.95)
        return State(beta * state.voltage + current)


@dataclass(frozen=True)
class Cubic(Surrogate):
    """f(u) is a smoothstep from 0 at -width to 1 at width."""

    width: float = 1.0

    def f(self, u: Tensor) -> Tensor:
        """Return the primitive at `u`."""
        s = (0.5 + 0.5 * u / self.width).clamp(0, 1)
        return s * s * (3 - 2 * s)

    def df(self, u: Tensor) -> Tensor:
        """Return its derivative at `u`."""
        s = (0.5 + 0.5 * u / self.width).clamp(0, 1)
        return 3 * s * (1 - s) / self.width


RULES = {"voltage": VoltageRule(), "surrogate": SurrogateRule()}


def main() -> None:
    """Train, and print the test accuracy after each epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rule", choices=RULES, default="surrogate")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="run for a few seconds only")
    args = parser.parse_args()
    epochs = 2 if args.quick else args.epochs

    torch.manual_seed(0)
    data = load("digits", steps=8, batch_size=32)
    neuron = partial(DoubleLeak, surrogate=Cubic(width=2.0))
    network = mlp(data.shape, 10, hidden=(200, 200), neuron=neuron, rule=RULES[args.rule])
    optimizers = LocalOptimizers(network, lambda weights: torch.optim.Adam(weights, lr=2e-3))
    for epoch in range(1, epochs + 1):
        for x, labels in data.train:
            network.learn(x, labels, optimizers.step)
        print(f"epoch {epoch}: test accuracy {evaluate(network, data.test).accuracy:.3f}")


if __name__ == "__main__":
    main()
