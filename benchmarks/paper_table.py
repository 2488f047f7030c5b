"""The spiking table of the paper, with its network and number of steps.

    python benchmarks/paper_table.py --data data --json benchmarks/results/paper_table.json

The network of arXiv 2204.01723: two blocks of 3x3 convolutions with 20 and 40 maps, normalised,
integrate-and-fire neurons, a 2x2 max pool behind each block, a dense block of 128, T = 4. It learns
MNIST and Fashion-MNIST by backpropagation through time with surrogates, and by the two rules of
signal propagation. The paper's errors in `REPORTED` are second-hand: taken from a text about it.

Each finished run is written to the JSON file at once, and a run that the file holds is not
repeated. Settings are chosen on validation samples (`--validation 0.1`), never on test samples.
`--device cuda --jobs 6` lets six processes share a GPU.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import sigprop_snn as sp
from benchmarks import tables
from benchmarks.cases import TableCase, normalise_by_batch
from benchmarks.tables import Benchmark, group

RULES = ("backpropagation", "surrogate", "voltage")
REPORTED = {  # test error in %, by data set, in the order of RULES
    "mnist": (0.84, 1.01, 2.63),
    "fashion-mnist": (6.70, 9.51, 10.68),
}
STEPS = 4
SHIFTED = ("mnist",)  # on 5,000 pieces of clothing shifts cost 3 points of validation accuracy


@dataclass(frozen=True, kw_only=True)
class PaperCase(TableCase):
    """One run.

    Attributes:
        similarity: weight of the similarity term of the local loss, 0 for none.
        sources: how many blocks below each block receives.
        grid: positions a side that the local loss compares.
    """

    similarity: float
    sources: int
    grid: int


def case(args: argparse.Namespace, dataset: str, rule: str, seed: int) -> PaperCase:
    """Return the case of a rule on a data set; backpropagation has no local loss."""
    local = rule != "backpropagation"
    return PaperCase(
        dataset=dataset, rule=rule, seed=seed, epochs=args.epochs, batch_size=args.batch_size,
        steps=STEPS, rate=args.rate, augment=dataset in args.augment,
        train_samples=args.train_samples, test_samples=args.test_samples,
        validation=args.validation,
        similarity=args.similarity if local else 0.0, sources=args.sources if local else 1,
        grid=args.grid if local else 0,
    )  # fmt: skip


def build(case: PaperCase, shape: tuple[int, ...], classes: int) -> sp.Network:
    """Return the paper's network under the rule of a case."""
    loss: sp.LocalLoss | None = None
    if case.rule != "backpropagation":
        loss = sp.DotProductLoss(grid=case.grid)
        if case.similarity:
            loss = loss + case.similarity * sp.Similarity()
    network = sp.vgg(
        shape,
        classes,
        layers=(20, "pool", 40, "pool"),
        dense=128,
        neuron=partial(sp.LIF, beta=1.0),  # without leak: integrate-and-fire
        rule=case.rule,
        loss=loss,
        sources=case.sources,
    )
    if case.rule == "backpropagation":
        # A gradient that leaves out the batch's mean follows the mean input: see docs/depth.md.
        normalise_by_batch(network)
    return network


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the mean test error of each data set and rule beside the reported one, in %."""
    lines = ["| data | rule | error, ours | seeds | error, reported |", "|---|---|---|---|---|"]
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        for place, rule in enumerate(RULES):
            found = group(rows, dataset, rule)
            if not found:
                continue
            errors = [100 * (1 - row["accuracy"]) for row in found]
            reported = REPORTED.get(dataset)
            lines.append(
                f"| {dataset} | {rule} | {statistics.fmean(errors):.2f} "
                f"({min(errors):.2f} to {max(errors):.2f}) "
                f"| {', '.join(str(row['seed']) for row in found)} "
                f"| {'-' if reported is None else f'{reported[place]:.2f}'} |"
            )
    return "\n".join(lines)


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this table."""
    parser.add_argument("--similarity", type=float, default=10.0, help="weight; 0 for none")
    parser.add_argument("--sources", type=int, default=1, help="blocks below each block")
    parser.add_argument("--grid", type=int, default=4, help="positions a side, compared")


TABLE = Benchmark(str(__doc__), tuple(REPORTED), RULES, case, build, table, add, shifted=SHIFTED)

if __name__ == "__main__":
    tables.main(TABLE, __file__)
