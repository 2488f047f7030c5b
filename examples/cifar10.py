"""Train a convolutional spiking network on CIFAR-10, or on a folder of your own pictures.

The example builds the network block by block. A network takes any list of blocks.
"""

import argparse
from pathlib import Path

import torch
from torch import nn

from sigprop_snn.data import load
from sigprop_snn.network import (
    Block,
    LayerRule,
    Network,
    ProjectedContext,
    Readout,
    RunningNorm,
    SurrogateRule,
    VoltageRule,
)
from sigprop_snn.neurons import LIF
from sigprop_snn.training import LocalOptimizers, evaluate

RULES = {"voltage": VoltageRule(), "surrogate": SurrogateRule()}


def block(maps_in: int, maps: int, pool: nn.Module | None = None) -> Block:
    """Return a block: 3x3 convolution, normaliser, LIF neurons and pool."""
    synapse = nn.Conv2d(maps_in, maps, 3, padding=1)
    return Block(synapse, LIF(beta=0.9), norm=RunningNorm(maps, shift=-0.5), pool=pool)


def build(
    shape: tuple[int, int, int], classes: int, maps: int = 32, rule: LayerRule | None = None
) -> Network:
    """Return a network of three blocks and a readout for pictures of shape (C, H, W)."""
    channels, height, width = shape
    return Network(
        ProjectedContext(classes, (maps, height, width)),
        [
            block(channels, maps, nn.MaxPool2d(2)),
            block(maps, 2 * maps, nn.MaxPool2d(2)),
            block(2 * maps, 4 * maps, nn.MaxPool2d(2)),
        ],
        Readout(4 * maps * (height // 8) * (width // 8), classes),
        rule=rule,
    )


def main() -> None:
    """Train, and print the test accuracy of the network and of each layer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="your pictures: train/<class>/, test/<class>/")
    parser.add_argument("--rule", choices=RULES, default="voltage")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="time steps T")
    parser.add_argument("--maps", type=int, default=32, help="feature maps of the first block")
    parser.add_argument("--train-samples", type=int)
    parser.add_argument("--test-samples", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--quick", action="store_true", help="run for a few seconds only")
    args = parser.parse_args()
    if args.quick:
        args.epochs, args.train_samples, args.test_samples = 1, 100, 20

    torch.manual_seed(args.seed)
    data = load(
        "imagefolder" if args.folder else "cifar10", root=args.folder or args.data_root,
        steps=args.steps, batch_size=32, augment=True, seed=args.seed,
        train_samples=args.train_samples, test_samples=args.test_samples,
    )  # fmt: skip
    channels, height, width = data.shape
    shape = (channels, height, width)
    network = build(shape, len(data.classes), args.maps, RULES[args.rule])
    optimizers = LocalOptimizers(network, lambda weights: torch.optim.Adam(weights, lr=2e-3))
    for epoch in range(1, args.epochs + 1):
        for x, labels in data.train:
            network.learn(x, labels, optimizers.step)
        tested = evaluate(network, data.test)
        layers = ", ".join(f"{layer.name} {layer.accuracy:.3f}" for layer in tested.layers)
        print(f"epoch {epoch}: test accuracy {tested.accuracy:.3f} ({layers})")


if __name__ == "__main__":
    main()
