"""Running a comparison and writing its results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sigprop_snn import plots
from sigprop_snn.arguments import path as as_path
from sigprop_snn.comparison.cell import run_cell
from sigprop_snn.comparison.plan import trainings
from sigprop_snn.comparison.store import Store, as_json
from sigprop_snn.comparison.table import RuleRow, as_csv, rows_of
from sigprop_snn.errors import SigpropError
from sigprop_snn.machine import machine
from sigprop_snn.plots.style import headless
from sigprop_snn.processes.calls import CallFailedError, FreshProcesses
from sigprop_snn.settings.compare_config import CompareConfig
from sigprop_snn.settings.train_config import TrainConfig
from sigprop_snn.training.folder import free_name
from sigprop_snn.training.own_data import data_of

TABLE, RESULTS, FIGURE = "compare.csv", "compare.json", "compare.png"
# Modules that every run imports sooner or later.
_PRELOADED = ("sigprop_snn.comparison.cell", "torch._dynamo", "sklearn.datasets", "numba")
# Without these the profiler that measures memory prints to the terminal.
_ENVIRONMENT = {"KINETO_LOG_LEVEL": "99", "TORCH_CPP_LOG_LEVEL": "ERROR"}

RunCell = Callable[[TrainConfig], Mapping[str, Any]]
"""Trains one rule with one seed and returns its results, as `run_cell` does."""


@dataclass(frozen=True)
class Comparison:
    """The results of a comparison.

    Attributes:
        rows: one row for each rule, the most accurate rule first.
        records: one record for each run.
        folder: the folder of the comparison.
        figure: the picture of the comparison; None if every run failed.
    """

    rows: list[RuleRow]
    records: list[dict[str, Any]]
    folder: Path
    figure: Path | None = None


def compare(
    config: CompareConfig,
    say: Callable[[str], object] = print,
    run: RunCell | None = None,
    *,
    data: Any = None,
) -> Comparison:
    """Train every rule with every seed, one after the other, and write a table and a figure.

    The record of a run is written as soon as the run ends. A comparison in an existing folder runs
    only what the folder lacks: after an interruption, with more rules or with more seeds. Failed
    runs are repeated.

    Args:
        config: the settings.
        say: receives lines of text about the progress.
        run: trains one rule with one seed; None calls `run_cell` in a fresh process each time.
        data: data from outside, as in `train`. The runs then share this process, and the memory of
            the process is not measured.

    Raises:
        SigpropError: if the settings can't be used, or the folder holds runs with other settings.
    """
    given = None if data is None else data_of(data, config.dataset)
    if run is None and given is not None:
        run = partial(run_cell, data=given)
    planned = trainings(config, given)
    out = config.out or free_name(Path("runs"), f"compare-{config.dataset}")
    store = Store(as_path("out", out))
    found = {place: store.load(training) for place, training in enumerate(planned)}
    say(_opening(config, planned, sum(record is not None for record in found.values())))
    records = [record for record in found.values() if record is not None]
    try:
        with FreshProcesses(_PRELOADED, _ENVIRONMENT) as processes:
            for place, training in enumerate(planned):
                if found[place] is None:
                    placed = store.placed(training) if config.keep_networks else training
                    outcome = _outcome(placed, run or partial(processes.call, run_cell))
                    records.append(store.save(training, outcome))
                    say(f"{place + 1} of {len(planned)}: {_line(records[-1])}")
    finally:
        rows = rows_of(records)
        figure = _write(store, config, rows, records) if rows else None
    return Comparison(rows, records, store.path, figure)


def _outcome(training: TrainConfig, run: RunCell) -> Mapping[str, Any]:
    try:
        return run(training)
    except (CallFailedError, SigpropError) as error:
        return {"error": str(error)}


def _opening(config: CompareConfig, planned: list[TrainConfig], found: int) -> str:
    first = planned[0]
    counts = [(len(planned) // config.seeds, "rule"), (config.seeds, "seed")]
    words = ", ".join(_counted(count, what) for count, what in counts)
    recipe = "the data set's recipe" if config.same_recipe else "each rule's own recipe"
    return (
        f"{config.dataset}: {words}, network {first.network}, epochs {first.epochs}, {recipe}; "
        f"runs: {len(planned)}" + (f", {found} of them done already" if found else "")
    )


def _line(record: Mapping[str, Any]) -> str:
    name = f"{record['rule']}, seed {record['seed']}"
    if record["error"] is not None:
        return f"{name}: failed: {record['error']}"
    return (
        f"{name}: {100 * record['test_accuracy']:.2f} %, {record['seconds_per_epoch']:.2f} s per "
        f"epoch, {record['memory_mb']:.1f} MiB per step"
    )


def _write(
    store: Store, config: CompareConfig, rows: list[RuleRow], records: list[dict[str, Any]]
) -> Path | None:
    """Write the table, the results and the picture. Return the picture's path, if there is one."""
    settings = {k: str(v) if isinstance(v, Path) else v for k, v in vars(config).items()}
    store.write(TABLE, as_csv(rows))
    content = {
        "config": {k: v for k, v in settings.items() if k not in ("out", "data_root")},
        "machine": machine(),
        "rows": [asdict(row) for row in rows],
        "runs": records,
    }
    store.write(RESULTS, as_json(content))
    drawn = [asdict(row) for row in rows if row.accuracy is not None]
    if not drawn:
        return None
    with headless():
        return plots.save(
            plots.rule_spectrum(drawn, title=_title(config, records)), store.path / FIGURE
        )


def _title(config: CompareConfig, records: list[dict[str, Any]]) -> str:
    """Return data set, network, epochs, samples and seeds."""
    first = next(record for record in records if record["error"] is None)
    network, epochs = first["config"]["network"], first["config"]["epochs"]
    seeds = sorted({record["seed"] for record in records})
    return (
        f"{config.dataset}, {network}; {_counted(epochs, 'epoch')} of "
        f"{_counted(first['train_samples'], 'training sample')}, tested on "
        f"{first['test_samples']:,}; {_counted(len(seeds), 'seed')}"
    )


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"
