"""Learn from an endless stream of events, with an update at every time step.

Eight simulated event cameras record digits, one time step at a time, and each layer updates at
every step. The network keeps only membrane voltages and presynaptic traces of the past, so memory
does not grow with the stream. The network is reset when the digits change. It answers for each
digit before it learns from it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from sigprop_snn.data import load
from sigprop_snn.network import Online, VoltageRule, mlp
from sigprop_snn.training import LocalOptimizers, keep_freed_memory, peak_memory_mb

CAMERAS, STEPS, CLASSES, SHAPE = 8, 12, 10, (2, 16, 16)


def stream(seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield what all cameras record of a digit, `[T, B, ...]`, and the labels."""
    data = load("digit-events", steps=STEPS, batch_size=CAMERAS, seed=seed)
    while True:
        for frames, labels in data.train:
            if len(labels) == CAMERAS:
                yield frames, labels


def main() -> None:
    """Learn from the stream, and print accuracy and peak memory ten times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=12_000, help="time steps to learn from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="run for a few seconds only")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    keep_freed_memory()

    network = mlp(SHAPE, CLASSES, hidden=(200, 200), rule=VoltageRule())
    optimizers = LocalOptimizers(network, lambda weights: torch.optim.Adam(weights, lr=1e-3))
    online = Online(network)
    digits = (240 if args.quick else args.steps) // STEPS
    points = max(1, digits // 10)
    right = 0
    for number, (frames, labels) in enumerate(islice(stream(args.seed), digits), start=1):
        answers = online(frames).argmax(dim=1)
        right += int((answers == labels).sum())
        online.reset()
        for step in frames.split(1):
            online.learn(step, labels, optimizers.step)
        online.reset()
        if number % points == 0:
            memory, share = peak_memory_mb(torch.device("cpu")), right / (points * CAMERAS)
            print(f"step {number * STEPS}: {share:.3f} right, peak memory {memory:.0f} MB")
            right = 0


if __name__ == "__main__":
    main()
