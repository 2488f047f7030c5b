"""All rules on one network: the network and the budget of NeuroTrain's table.

    python benchmarks/neurotrain.py --data data --json benchmarks/results/neurotrain.json

12C5-P2-32C5-P2-readout, 20 epochs, Adam with a learning rate that falls to zero; test accuracy
after the last epoch. MNIST, Fashion-MNIST and CIFAR-10 enter as a current that is constant in time,
T = 4; N-MNIST as frames of its recordings, T = 10. Every rule has the signal and the loss that it
is defined with, and its own neuron if it needs one. The two rules for fully connected blocks
(predictive-forward-forward, target-propagation) can't learn this network.

`NEUROTRAIN` holds the accuracies of github.com/smilies-polito/neurotrain, second-hand: the best of
ten runs of 20 epochs. The folder of `--data` has MNIST, FashionMNIST and NMNIST as torchvision and
tonic name them, and CIFAR-10 as pictures in cifar10-jpeg/train/<class>/ and test/<class>/, or its
original files.

Each finished run is written to the JSON file at once, and a run that the file holds is not
repeated. `--device cuda --jobs 10` lets ten processes share a GPU.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import sigprop_snn as sp
from benchmarks import tables
from benchmarks.cases import TableCase
from benchmarks.tables import Benchmark, group
from sigprop_snn.rules import RULES as CATALOGUE

DATASETS = ("mnist", "fashion-mnist", "cifar10", "nmnist")
DENSE_ONLY = ("predictive-forward-forward", "target-propagation")
# A step of these reads a number from the device, which a CUDA graph can't.
SYNCHRONOUS = (
    "spiking-forward-forward",
    "forward-forward",
    "error-forward",
    "error-forward-relaxing",
    "hebbian",
)
RULES = (*(name for name in CATALOGUE if name not in (*DENSE_ONLY, *SYNCHRONOUS)), *SYNCHRONOUS)
NEUROTRAIN = {  # accuracy in %, in the order of DATASETS
    "BPTT": (98.9, 82.9, 44.9, 98.2),
    "Traces Propagation": (98.2, 84.6, 54.7, 97.2),
    "DECOLLE": (97.1, 78.3, 35.2, 95.5),
    "OTTT": (95.4, 73.8, 49.2, 80.2),
}


def case(args: argparse.Namespace, dataset: str, rule: str, seed: int) -> TableCase:
    """Return the case of a rule on a data set."""
    events = dataset == "nmnist"
    steps = args.event_steps if events else CATALOGUE[rule].recipe.get("steps", args.steps)
    return TableCase(
        dataset=dataset, rule=rule, seed=seed, epochs=args.epochs,
        batch_size=args.event_batch_size if events and not args.dry else args.batch_size,
        steps=steps, rate=args.rate, augment=dataset in args.augment,
        train_samples=args.train_samples, test_samples=args.test_samples,
        validation=args.validation,
    )  # fmt: skip


def build(case: TableCase, shape: tuple[int, ...], classes: int) -> sp.Network:
    """Return 12C5-P2-32C5-P2-readout under a rule."""
    return sp.conv(
        shape,
        classes,
        channels=(12, 32),
        kernel=5,
        neuron=CATALOGUE[case.rule].neuron or "lif",
        rule=case.rule,
    )


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the mean accuracy of every rule on every data set, in %, and NeuroTrain's."""
    lines = [f"| rule | {' | '.join(DATASETS)} | seconds |", "|" + "---|" * (len(DATASETS) + 2)]
    for rule in RULES:
        of_rule = [row for row in rows if row["rule"] == rule]
        if of_rule:
            cells = [cell(group(rows, dataset, rule)) for dataset in DATASETS]
            seconds = sum(row["seconds"] for row in of_rule)
            lines.append(f"| {rule} | {' | '.join(cells)} | {seconds:.0f} |")
    for rule, reported in NEUROTRAIN.items():
        cells = [f"{accuracy:.1f}" for accuracy in reported]
        lines.append(f"| {rule}, NeuroTrain | {' | '.join(cells)} | |")
    return "\n".join(lines)


def cell(rows: Sequence[dict[str, Any]]) -> str:
    """Return the mean accuracy of rows, the smallest and the largest, and how many there are."""
    if not rows:
        return "-"
    values = [100 * row["accuracy"] for row in rows]
    return f"{statistics.fmean(values):.2f} ({min(values):.2f} to {max(values):.2f}; {len(rows)})"


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this table."""
    parser.add_argument("--steps", type=int, default=4, help="T of pictures, if the rule is free")
    parser.add_argument("--event-steps", type=int, default=10, help="T of recordings")
    parser.add_argument("--event-batch-size", type=int, default=32)


TABLE = Benchmark(str(__doc__), DATASETS, RULES, case, build, table, add, SYNCHRONOUS)

if __name__ == "__main__":
    tables.main(TABLE, __file__)
