"""Compare local losses and learning signals on a validation split of an MNIST subset.

    python benchmarks/losses_and_signals.py --data-root data

Prints one line for each choice: the readout's validation accuracy, then each block's. The defaults
of the losses and signals were chosen by these results, never by the test samples.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch

from sigprop_snn.data import Data, load
from sigprop_snn.network import (
    LOSSES,
    SIGNALS,
    BinaryLoss,
    ConditionedContext,
    ContrastiveLoss,
    CosineLoss,
    DotProductLoss,
    HebbianLoss,
    L2Loss,
    Layout,
    LocalLoss,
    Signal,
    TopK,
    mlp,
)
from sigprop_snn.training import SCHEDULES, LocalOptimizers, LocalSchedules, evaluate

RATE = 2e-3  # Adam's learning rate at the start


def conditioned(layout: Layout, **settings: float) -> ConditionedContext:
    """Return a conditioned context that fits the layout."""
    shapes = layout.currents[0], layout.inputs[0]
    return ConditionedContext(layout.classes, *shapes, gain=layout.gain, **settings)


VARIANTS: list[LocalLoss] = [
    *(DotProductLoss(scale=scale) for scale in (10.0, 40.0)),
    *(DotProductLoss(scale=scale, normalise="size") for scale in (5.0, 20.0)),
    *(DotProductLoss(scale=scale, normalise="none") for scale in (0.03, 0.3)),
    *(DotProductLoss(select=TopK(temperature=t)) for t in (0.03, 0.3)),
    *(L2Loss(scale=scale) for scale in (5.0, 80.0)),
    L2Loss(normalise=False),
    *(CosineLoss(centred=centred, margin=0.3) for centred in (True, False)),
    *(ContrastiveLoss(scale=scale) for scale in (20.0, 40.0)),
    *(BinaryLoss(scale=scale) for scale in (5.0, 10.0, 20.0)),
    HebbianLoss(decorrelated=False),
]
CONDITIONED = [{"share": 0.2}, {"share": 1.0}, {"wrong": 3}, {"wrong": 1}]


def accuracy(data: Data, loss: LocalLoss, signal: Callable[[Layout], Signal], epochs: int) -> str:
    """Return the validation accuracy of the network and of its blocks after a short training."""
    torch.manual_seed(0)
    network = mlp(data.shape, len(data.classes), hidden=(400, 400), loss=loss, signal=signal)
    optimizers = LocalOptimizers(network, partial(torch.optim.Adam, lr=RATE))
    schedules = LocalSchedules(optimizers, SCHEDULES["linear"], epochs * len(data.train))
    for epoch in range(epochs):
        data.train.set_epoch(epoch)
        for inputs, labels in data.train:
            network.learn(inputs, labels, optimizers.step)
            schedules.step()
    assert data.validation is not None
    found = evaluate(network, data.validation)
    layers = " ".join(f"{100 * (layer.accuracy or 0):.2f}" for layer in found.layers)
    return f"{100 * found.accuracy:.2f} ({layers})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", default="data")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    data = load(
        "mnist", root=arguments.data_root, steps=8, batch_size=64, validation=0.2,
        train_samples=arguments.samples,
    )  # fmt: skip
    plain = SIGNALS["context"]
    for name, make in LOSSES.items():
        print(name, accuracy(data, make(), plain, arguments.epochs), flush=True)
    for loss in VARIANTS:
        print(loss, accuracy(data, loss, plain, arguments.epochs), flush=True)
    for name, signal in SIGNALS.items():
        print(name, accuracy(data, DotProductLoss(), signal, arguments.epochs), flush=True)
    for settings in CONDITIONED:
        signal = partial(conditioned, **settings)
        print(settings, accuracy(data, DotProductLoss(), signal, arguments.epochs), flush=True)


if __name__ == "__main__":
    main()
