"""Train a spiking network on handwritten digits, in the forward pass only. No download.

The example writes the training loop out, to show each part of the public API.
"""

import argparse

import torch

from sigprop_snn.data import load
from sigprop_snn.network import SurrogateRule, VoltageRule, mlp
from sigprop_snn.training import LocalOptimizers, evaluate

RULES = {"voltage": VoltageRule(), "surrogate": SurrogateRule()}


def main() -> None:
    """Train, and print the test accuracy and the firing rate of each layer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rule", choices=RULES, default="voltage")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--steps", type=int, default=8, help="time steps T")
    parser.add_argument(
        "--events", action="store_true", help="digits recorded by a simulated event camera"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="run for a few seconds only")
    args = parser.parse_args()
    if args.quick:
        args.epochs, args.steps = 1, 4

    torch.manual_seed(args.seed)
    data = load(
        "digit-events" if args.events else "digits",
        steps=args.steps,
        batch_size=32,
        seed=args.seed,
    )
    network = mlp(data.shape, len(data.classes), hidden=(400, 400), rule=RULES[args.rule])
    optimizers = LocalOptimizers(network, lambda weights: torch.optim.Adam(weights, lr=2e-3))

    for epoch in range(1, args.epochs + 1):
        for x, labels in data.train:  # x is [T, B, ...], labels is [B]
            network.learn(x, labels, optimizers.step)  # each layer updates in this forward pass
        tested = evaluate(network, data.test)
        layers = ", ".join(
            f"{layer.name} {layer.accuracy:.3f} at rate {layer.spike_rate:.3f}"
            for layer in tested.layers
        )
        print(f"epoch {epoch}: test accuracy {tested.accuracy:.3f} ({layers})")


if __name__ == "__main__":
    main()
