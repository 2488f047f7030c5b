"""The spiking table of the paper, with its network and number of steps.

    python benchmarks/paper_table.py --data-root data --json benchmarks/results/paper_table.json

The network of arXiv 2204.01723: two blocks of 3x3 convolutions with 20 and 40 maps, normalised,
integrate-and-fire neurons, a 2x2 max pool behind each block, a dense block of 128, T = 4. It learns
MNIST and Fashion-MNIST by backpropagation through time with surrogates, and by the two rules of
signal propagation. The paper's errors in `REPORTED` are second-hand: taken from a text about it.

Each finished run is written to the JSON file at once, and a run that the file holds is not
repeated. Settings are chosen on validation samples (`--validation 0.1`), never on test samples.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

import sigprop_snn as sp
from sigprop_snn.files import write_text_atomically
from sigprop_snn.training import LocalSchedules

RULES = ("backpropagation", "surrogate", "voltage")
REPORTED = {  # test error in %, by data set, in the order of RULES
    "mnist": (0.84, 1.01, 2.63),
    "fashion-mnist": (6.70, 9.51, 10.68),
}
STEPS = 4
RATE = 2e-3  # Adam's learning rate at the start; it falls to zero


@dataclass(frozen=True)
class Case:
    """One run.

    Attributes:
        dataset: a name in `sp.DATASETS`.
        rule: a name in `RULES`.
        seed: of the weights and of the order of the samples.
        epochs: passes over the training samples.
        batch_size: samples in a batch.
        similarity: whether the local loss has a similarity term.
        sources: how many blocks below each block receives.
        augment: whether training samples are shifted by a few pixels.
        train_samples: number of training samples, or all.
        test_samples: number of test samples, or all.
        validation: fraction of the training samples to evaluate on in place of the test samples.
    """

    dataset: str
    rule: str
    seed: int
    epochs: int
    batch_size: int
    similarity: bool
    sources: int
    augment: bool
    train_samples: int | None
    test_samples: int | None
    validation: float


def build(case: Case, data: sp.Data) -> sp.Network:
    """Return the paper's network under the rule of a case."""
    torch.manual_seed(case.seed)
    loss: sp.LocalLoss = sp.DotProductLoss(grid=4)
    if case.similarity:
        loss = loss + 10 * sp.Similarity()
    local = case.rule != "backpropagation"
    return sp.vgg(
        data.shape,
        len(data.classes),
        layers=(20, "pool", 40, "pool"),
        dense=128,
        neuron="if",
        rule=case.rule,
        loss=loss if local else None,
        sources=case.sources,
    )


def to_zero(optimizer: Optimizer, batches: int) -> LRScheduler:
    """Let the learning rate fall by the same amount in every batch, to zero."""
    return LambdaLR(optimizer, lambda batch: max(0.0, 1 - batch / batches))


def run(case: Case, data_root: Path, device: str) -> dict[str, Any]:
    """Train and evaluate one case; return its row."""
    started = time.perf_counter()
    data = sp.load(
        case.dataset, root=data_root, steps=STEPS, batch_size=case.batch_size, seed=case.seed,
        augment=case.augment, validation=case.validation, train_samples=case.train_samples,
        test_samples=case.test_samples,
    )  # fmt: skip
    network = build(case, data).to(device)
    optimizers = sp.LocalOptimizers(network, partial(torch.optim.Adam, lr=RATE))
    schedules = LocalSchedules(optimizers, to_zero, case.epochs * len(data.train))
    for epoch in range(1, case.epochs + 1):
        network.train()
        for x, labels in data.train:
            network.learn(x.to(device), labels.to(device), optimizers.step)
            schedules.step()
        print(f"  epoch {epoch}, {time.perf_counter() - started:.0f} s", flush=True)
    held_out = data.test if data.validation is None else data.validation
    found = sp.evaluate(network, ((x.to(device), y.to(device)) for x, y in held_out))
    return {
        **asdict(case),
        "error": 1 - found.accuracy,
        "block_accuracies": [layer.accuracy for layer in found.layers],
        "spike_rates": [layer.spike_rate for layer in found.layers],
        "seconds": time.perf_counter() - started,
        "torch": torch.__version__,
        "device": str(device),
    }


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the mean test error of each data set and rule beside the reported one, in %."""
    lines = ["| data | rule | error, ours | seeds | error, reported |", "|---|---|---|---|---|"]
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        for place, rule in enumerate(RULES):
            group = [r for r in rows if r["dataset"] == dataset and r["rule"] == rule]
            if not group:
                continue
            errors = [100 * row["error"] for row in group]
            reported = REPORTED.get(dataset)
            lines.append(
                f"| {dataset} | {rule} | {statistics.fmean(errors):.2f} "
                f"({min(errors):.2f} to {max(errors):.2f}) "
                f"| {', '.join(str(row['seed']) for row in group)} "
                f"| {'-' if reported is None else f'{reported[place]:.2f}'} |"
            )
    return "\n".join(lines)


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what tells one run from others."""
    return tuple(row.get(name) for name in Case.__dataclass_fields__)


def arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--datasets", nargs="+", default=list(REPORTED), choices=sp.DATASETS)
    parser.add_argument("--rules", nargs="+", default=list(RULES), choices=RULES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--no-similarity", action="store_true")
    parser.add_argument("--sources", type=int, default=1, help="blocks below each block")
    parser.add_argument("--augment", action="store_true", help="shift training samples")
    parser.add_argument("--train-samples", type=int)
    parser.add_argument("--test-samples", type=int)
    parser.add_argument("--validation", type=float, default=0.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--json", type=Path, required=True, help="the file of the rows")
    return parser.parse_args()


def main() -> None:
    """Run every case that the file does not hold, and print the table."""
    args = arguments()
    rows = json.loads(args.json.read_text(encoding="utf-8")) if args.json.exists() else []
    done = {key(row) for row in rows}
    for dataset in args.datasets:
        for seed in args.seeds:
            for rule in args.rules:
                local = rule != "backpropagation"
                case = Case(
                    dataset, rule, seed, args.epochs, args.batch_size,
                    similarity=local and not args.no_similarity,
                    sources=args.sources if local else 1,
                    augment=args.augment, train_samples=args.train_samples,
                    test_samples=args.test_samples, validation=args.validation,
                )  # fmt: skip
                if key(asdict(case)) in done:
                    continue
                print(f"{dataset}, {rule}, seed {seed}", flush=True)
                rows.append(run(case, args.data_root, args.device))
                write_text_atomically(args.json, json.dumps(rows, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main()
