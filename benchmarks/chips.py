"""Measure what integers cost: accuracy by bits of the weights, and by how the integers came about.

    python benchmarks/chips.py --data digits,digit-events
    python benchmarks/chips.py --data mnist,nmnist --folder data

Each data set has one fully connected network in all rows. "float" is trained as `sigprop-snn train`
trains; "folded" merges its normalisers; "after" quantises the folded network; "trained" trains with
quantised weights; "learned" learns in integers from random weights, 16 rows at an update; "winner"
does so without exponentials, and "online" with three updates in a sample. Rows of integers are
computed in integers, inputs included.

Every finished row is written to the JSON file at once, with its command. A row that the file holds
already is not measured again, so a second call continues. `--validation` measures on samples held
out from training, to choose settings; the test samples give the rows of the table.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import sigprop_snn as sp
from sigprop_snn.deploy import fold
from sigprop_snn.files import write_text_atomically
from sigprop_snn.fixed_point import (
    Format,
    IntegerNetwork,
    IntegerRule,
    QuantisedOptimizers,
    integer_inputs,
    integer_mlp,
    quantise,
)
from sigprop_snn.network import Network
from sigprop_snn.training import SCHEDULES, LocalSchedules

OUT = Path(__file__).parent / "results" / "chips.json"
METHODS = ("float", "folded", "after", "trained", "learned", "winner", "online")
BITS = (8, 4, 2)
ROWS_AT_AN_UPDATE = 16
RATE = 2e-3


RULE = IntegerRule(refresh=4)


@dataclass(frozen=True)
class Plan:
    """How the networks of a data set are trained.

    Attributes:
        steps: T.
        epochs: passes over the training samples.
        hidden: neurons of the layers.
        levels: the integer for an input of 1.
        rule: the settings of learning in integers with weights of 8 bits.
        rows: samples in a batch of the float network.
    """

    steps: int
    epochs: int
    hidden: tuple[int, ...] = (256, 256)
    levels: int = 255
    rule: IntegerRule = RULE
    rows: int = 32


# Chosen on validation samples, with --validation.
PLANS = {
    "digits": Plan(steps=8, epochs=20),
    "digit-events": Plan(steps=12, epochs=12, levels=1, rule=replace(RULE, rate=18)),
    "mnist": Plan(steps=8, epochs=6, rows=128),
    "nmnist": Plan(steps=10, epochs=20, levels=1, rule=replace(RULE, rate=18)),
}


@dataclass(frozen=True)
class Row:
    """One row of the table: what is measured.

    Attributes:
        data: the data set.
        method: one of `METHODS`.
        bits: bits of a weight; None for float weights.
        stored: bits of a stored weight, for "learned".
    """

    data: str
    method: str
    bits: int | None = None
    stored: int | None = None


def rows_of(data: str, methods: Iterable[str], bits: Sequence[int]) -> Iterator[Row]:
    """Yield the rows of a data set; 2 and 4 bits also learn in stored weights of 16 bits."""
    for method in methods:
        if method in ("float", "folded"):
            yield Row(data, method)
            continue
        for each in bits:
            if method in ("winner", "online"):
                if each == 8:
                    yield Row(data, method, each, each)
                continue
            if method != "learned":
                yield Row(data, method, each)
                continue
            yield Row(data, method, each, each)
            if each < 8:
                yield Row(data, method, each, 16)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure the rows that the file lacks, and print the table."""
    given = _arguments(arguments)
    done = json.loads(given.json.read_text(encoding="utf-8")) if given.json.exists() else []
    methods, bits = given.methods.split(","), [int(each) for each in given.bits.split(",")]
    for data in given.data.split(","):
        bench = Bench(data, given)
        for row in rows_of(data, methods, bits):
            key = bench.key(row)
            if any(all(found.get(name) == key[name] for name in key) for found in done):
                continue
            started = time.perf_counter()
            accuracy = bench.measure(row)
            seconds = round(time.perf_counter() - started, 1)
            done.append(
                {**key, "accuracy": accuracy, "seconds": seconds, "command": bench.command(row)}
            )
            write_text_atomically(given.json, json.dumps(done, indent=1) + "\n")
            print(f"{_label(done[-1])}: {100 * accuracy:.2f} % in {seconds} s", flush=True)
    print(table(done))
    return 0


class Bench:
    """Measures the rows of one data set."""

    def __init__(self, data: str, given: argparse.Namespace) -> None:
        self.name = data
        self.given = given
        plan = PLANS[data]
        self.plan = replace(plan, epochs=given.epochs or plan.epochs)
        self.validation = 0.1 if given.validation else 0.0
        self._network: Network | None = None

    def key(self, row: Row) -> dict[str, Any]:
        """Return what tells a row from all others."""
        plan = self.plan
        return {
            "data": row.data,
            "method": row.method,
            "bits": row.bits,
            "stored": row.stored,
            "epochs": plan.epochs,
            "steps": plan.steps,
            "hidden": list(plan.hidden),
            "samples": self.given.train_samples,
            "seed": self.given.seed,
            "split": "validation" if self.validation else "test",
        }

    def command(self, row: Row) -> str:
        """Return the command that measures a row."""
        words = [f"python benchmarks/chips.py --data {row.data} --methods {row.method}"]
        if row.bits is not None:
            words.append(f"--bits {row.bits}")
        if self.given.epochs:
            words.append(f"--epochs {self.given.epochs}")
        if self.given.train_samples:
            words.append(f"--train-samples {self.given.train_samples}")
        if self.given.seed:
            words.append(f"--seed {self.given.seed}")
        if self.validation:
            words.append("--validation")
        if row.data in ("mnist", "nmnist"):
            words.append("--folder data")
        return " ".join(words)

    def measure(self, row: Row) -> float:
        """Return the accuracy of a row."""
        levels = self.plan.levels
        if row.method == "float":
            return self._accuracy(self.network())
        if row.method == "folded":
            return self._accuracy(fold(self.network()))
        if row.stored is not None:
            network = self._learned(row)
        else:
            bits = row.bits or 8
            trained = self.network() if row.method == "after" else self._trained(bits)
            network = quantise(fold(trained), Format(bits), levels=levels)
        return self._accuracy(lambda x: network(integer_inputs(x, levels)))

    def network(self) -> Network:
        """Return the network with float weights, trained once."""
        if self._network is None:
            self._network = self._trained(None)
        return self._network

    def _data(self, rows: int) -> sp.Data:
        return sp.load(
            self.name,
            root=self.given.folder,
            steps=self.plan.steps,
            batch_size=rows,
            validation=self.validation,
            train_samples=self.given.train_samples,
            seed=self.given.seed,
        )

    def _trained(self, bits: int | None) -> Network:
        torch.manual_seed(self.given.seed)
        data = self._data(self.plan.rows)
        network = sp.mlp(data.shape, len(data.classes), hidden=self.plan.hidden)
        optimizers = sp.LocalOptimizers(network, partial(torch.optim.Adam, lr=RATE))
        batches = self.plan.epochs * len(data.train)
        schedules = LocalSchedules(optimizers, SCHEDULES["linear"], batches)
        update = optimizers if bits is None else QuantisedOptimizers(optimizers, network, bits)
        for epoch in range(self.plan.epochs):
            data.train.set_epoch(epoch)
            for x, labels in data.train:
                network.learn(x, labels, update.step)
                schedules.step()
        return network.eval()

    def _learned(self, row: Row) -> IntegerNetwork:
        plan, data = self.plan, self._data(ROWS_AT_AN_UPDATE)
        compare = "winner" if row.method == "winner" else "softmax"
        rule = replace(plan.rule, stored_bits=row.stored, compare=compare)
        every = None
        if row.method == "online":
            every = plan.steps // 3
            rule = replace(rule, rate=rule.rate + 1, readout_rate=rule.readout_rate + 1)
        inputs, _ = next(iter(data.train))
        learner = integer_mlp(
            integer_inputs(inputs, plan.levels),
            len(data.classes),
            hidden=plan.hidden,
            levels=plan.levels,
            format=Format(row.bits or 8, "tensor"),
            rule=rule,
            seed=self.given.seed + 1,
        )
        for epoch in range(plan.epochs):
            slower = (epoch >= plan.epochs * 2 // 3) + (epoch == plan.epochs - 1)
            learner.rule = replace(
                rule, rate=rule.rate + slower, readout_rate=rule.readout_rate + slower
            )
            data.train.set_epoch(epoch)
            for x, labels in data.train:
                learner.learn(integer_inputs(x, plan.levels), labels, every=every)
        return learner.network

    def _accuracy(self, scores: Callable[[Tensor], Tensor]) -> float:
        data = self._data(100)
        batches = data.validation if self.validation else data.test
        assert batches is not None
        right = total = 0
        with torch.no_grad():
            for x, labels in batches:
                right += int((scores(x).argmax(1) == labels).sum())
                total += len(labels)
        return right / total


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a table in Markdown, without the commands."""
    lines = ["| data | weights | accuracy (%) | epochs | seconds |", "|---|---|---:|---:|---:|"]
    for row in rows:
        split = "" if row["split"] == "test" else f", {row['split']}"
        lines.append(
            f"| {row['data']}{split} | {_weights(row)} | {100 * row['accuracy']:.2f} | "
            f"{row['epochs']} | {row['seconds']} |"
        )
    return "\n".join(lines)


def _weights(row: dict[str, Any]) -> str:
    if row["bits"] is None:
        return str(row["method"])
    words = {
        "after": "quantised after training",
        "trained": "trained with them",
        "learned": f"learned in integers, stored in {row['stored']}",
        "winner": "learned in integers, by the winner",
        "online": "learned in integers, three updates in a sample",
    }
    how = words[row["method"]]
    return f"{row['bits']} bits, {how}"


def _label(row: dict[str, Any]) -> str:
    return f"{row['data']}, {_weights(row)}"


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", default="digits,digit-events", help="names, with commas")
    parser.add_argument("--methods", default=",".join(METHODS), help="names, with commas")
    parser.add_argument("--bits", default=",".join(map(str, BITS)), help="numbers, with commas")
    parser.add_argument("--folder", default="data", help="the folder that holds the data sets")
    parser.add_argument("--epochs", type=int, help="epochs of every row (default: the plan's)")
    parser.add_argument("--train-samples", type=int, help="training samples (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--validation", action="store_true", help="measure on validation samples")
    parser.add_argument("--json", type=Path, default=OUT, help="the file of the rows")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
