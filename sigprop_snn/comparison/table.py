"""The table of a comparison: one row for each rule."""

from __future__ import annotations

import csv
import io
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from sigprop_snn.arguments import refused
from sigprop_snn.rules import RULES


@dataclass(frozen=True)
class RuleRow:
    """Results of one rule: means over the seeds; None if no seed succeeded.

    Attributes:
        rule: the rule's name.
        accuracy: fraction of test samples classified correctly after the last epoch.
        accuracy_std: standard deviation over the seeds; None for one seed.
        accuracy_min: accuracy of the worst seed.
        accuracy_max: accuracy of the best seed.
        seconds: seconds of learning per epoch.
        memory_mb: peak memory of a learning step in MiB, beyond weights, gradients, optimizer and
            input.
        process_mb: peak memory of the whole process during training in MiB.
        spikes: spikes of all blocks while one test sample passes, without contexts; None for
            neurons with graded output.
        operations: additions and multiply-accumulates for one test sample.
        additions: additions: one for each spike and weight.
        macs: multiply-accumulates: one for each graded value and weight.
        energy_nj: estimated energy for one test sample in nJ.
        parameters: number of trainable parameters.
        neuron: name of the neuron model.
        predict: "readout", or "vote" or "context", for which contexts pass as well.
        steps: time steps T.
        batch_size: samples in a batch.
        learning_rate: learning rate in the first batch.
        backward_pass: whether an error passes back through the layers.
        symmetric_weights: whether the error passes through the transposed forward weights.
        feedback_weights: whether the error has its own weights.
        stored_activations: what is stored for later: "layers", "steps", "both" or "" for nothing.
        seeds: number of runs that succeeded.
        failed: number of runs that failed.
        error: error message of the first failed run.
    """

    rule: str
    accuracy: float | None
    accuracy_std: float | None
    accuracy_min: float | None
    accuracy_max: float | None
    seconds: float | None
    memory_mb: float | None
    process_mb: float | None
    spikes: float | None
    operations: float | None
    additions: float | None
    macs: float | None
    energy_nj: float | None
    parameters: int | None
    neuron: str
    predict: str
    steps: int
    batch_size: int
    learning_rate: float
    backward_pass: bool
    symmetric_weights: bool
    feedback_weights: bool
    stored_activations: str
    seeds: int
    failed: int
    error: str | None


def rows_of(records: Sequence[Mapping[str, Any]]) -> list[RuleRow]:
    """Return one row for each rule, the most accurate first and failed rules last."""
    if not isinstance(records, Sequence) or not all(isinstance(r, Mapping) for r in records):
        raise refused("records", records, "the records of a comparison")
    records = sorted(records, key=lambda record: record["seed"])
    names = dict.fromkeys(record["rule"] for record in records)
    rows = [_row(name, [r for r in records if r["rule"] == name]) for name in names]
    return sorted(rows, key=lambda row: -1.0 if row.accuracy is None else row.accuracy)[::-1]


def as_csv(rows: Sequence[RuleRow]) -> str:
    """Return the rows as CSV, with one column for each field of `RuleRow`."""
    made = io.StringIO()
    writer = csv.DictWriter(made, [f.name for f in fields(RuleRow)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return made.getvalue()


def as_text(rows: Sequence[RuleRow]) -> str:
    """Return the rows as two tables of text, results and needs, with notes and errors below them.

    With the rules of the package no line of a table is longer than 80 characters.
    """
    if not isinstance(rows, Sequence) or not all(isinstance(row, RuleRow) for row in rows):
        raise refused("rows", rows, "the rows of a comparison")
    results = _table(
        ("", "accuracy", "s per", "MiB a", "spikes", "operations"),
        ("rule", "%", "epoch", "step", "a sample", "a sample"),
        [_results(row) for row in rows],
        numbers=range(1, 6),
    )
    needs = _table(
        ("", "", "", "backward", "transposed", "feedback", "stored"),
        ("rule", "weights", "T", "pass", "weights", "weights", "states"),
        [_needs(row) for row in rows],
        numbers=range(1, 3),
    )
    below = [
        f"{row.rule}: {row.failed} of {row.seeds + row.failed} runs failed: {row.error}"
        for row in rows
        if row.failed
    ]
    with_contexts = [row.rule for row in rows if row.predict != "readout"]
    if with_contexts:
        words = (
            "Spikes and operations are those of one sample without contexts. With contexts, which "
            f"costs more, predict: {', '.join(with_contexts)}."
        )
        below.extend(textwrap.wrap(words, 80, break_on_hyphens=False))
    return "\n".join([*results, "", *needs, *([""] if below else []), *below])


def _table(
    head: Sequence[str],
    under: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Sequence[int],
) -> list[str]:
    """Return the lines of a table; the columns at the places `numbers` are aligned right."""
    lines = [head, under, *rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(head))]
    table = [
        "  ".join(
            cell.rjust(width) if place in numbers else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    table.insert(2, "  ".join("-" * width for width in widths))
    return table


def _row(rule: str, records: Sequence[Mapping[str, Any]]) -> RuleRow:
    good = [record for record in records if record["error"] is None]
    errors = [record["error"] for record in records if record["error"] is not None]
    accuracies = [record["test_accuracy"] for record in good]
    config, needs = records[0]["config"], RULES[rule].needs
    return RuleRow(
        rule=rule,
        accuracy=_mean(good, "test_accuracy"),
        accuracy_std=statistics.stdev(accuracies) if len(accuracies) > 1 else None,
        accuracy_min=min(accuracies, default=None),
        accuracy_max=max(accuracies, default=None),
        seconds=_mean(good, "seconds_per_epoch"),
        memory_mb=_mean(good, "memory_mb"),
        process_mb=_mean(good, "process_mb"),
        spikes=_mean(good, "spikes"),
        operations=_mean(good, "operations"),
        additions=_mean(good, "additions"),
        macs=_mean(good, "macs"),
        energy_nj=_mean(good, "energy_nj"),
        parameters=good[0]["parameters"] if good else None,
        neuron=config["neuron"],
        predict=config["predict"],
        steps=config["steps"],
        batch_size=config["batch_size"],
        learning_rate=config["learning_rate"],
        **asdict(needs),
        seeds=len(good),
        failed=len(errors),
        error=errors[0] if errors else None,
    )


def _mean(records: Sequence[Mapping[str, Any]], key: str) -> float | None:
    known = [record[key] for record in records if record[key] is not None]
    return statistics.fmean(known) if known else None


def _results(row: RuleRow) -> tuple[str, ...]:
    return (
        row.rule,
        _accuracy(row),
        _number(row.seconds, ".2f"),
        _number(row.memory_mb, ",.1f"),
        _number(row.spikes, ",.0f"),
        _large(row.operations),
    )


def _needs(row: RuleRow) -> tuple[str, ...]:
    return (
        row.rule,
        _large(row.parameters),
        str(row.steps),
        _mark(row.backward_pass),
        _mark(row.symmetric_weights),
        _mark(row.feedback_weights),
        row.stored_activations or "-",
    )


def _accuracy(row: RuleRow) -> str:
    if row.accuracy is None:
        return "failed"
    spread = f" ± {100 * row.accuracy_std:.2f}" if row.accuracy_std is not None else ""
    return f"{100 * row.accuracy:.2f}{spread}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _large(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value / 1e6:.2f} M" if value >= 1e5 else f"{value:,.0f}"


def _mark(needed: bool) -> str:
    return "yes" if needed else "-"
