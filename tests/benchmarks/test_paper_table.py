"""The benchmark of the paper's table, on a few drawn pictures."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks/paper_table.py"


@pytest.fixture
def benchmark(monkeypatch, tmp_path):
    def run(*arguments: str) -> list[dict]:
        path = tmp_path / "rows.json"
        given = [BENCHMARK.name, "--dry", "--json", str(path), *arguments]
        monkeypatch.setattr(sys, "argv", given)
        runpy.run_path(str(BENCHMARK), run_name="__main__")
        return json.loads(path.read_text(encoding="utf-8"))

    return run


def test_every_rule_gives_a_row_and_no_run_is_repeated(benchmark, capsys):
    rows = benchmark()
    assert [(row["dataset"], row["rule"]) for row in rows] == [
        (dataset, rule)
        for dataset in ("mnist", "fashion-mnist")
        for rule in ("backpropagation", "surrogate", "voltage")
    ]
    assert [row["similarity"] for row in rows[:3]] == [0, 10, 10]
    assert [row["augment"] for row in rows] == 3 * [True] + 3 * [False]
    assert all(0 <= row["accuracy"] <= 1 for row in rows)
    assert benchmark() == rows
    assert "| mnist | voltage |" in capsys.readouterr().out


def test_the_network_is_the_papers():
    module = runpy.run_path(str(BENCHMARK))
    args = module["tables"].arguments(module["TABLE"], ["--json", "rows.json"])
    case = module["case"](args, "mnist", "voltage", 0)
    assert case.steps == 4
    blocks = module["build"](case, (1, 28, 28), 10).blocks
    shapes = [tuple(p.shape) for block in blocks for p in block.parameters() if p.ndim > 1]
    assert shapes[:2] == [(20, 1, 3, 3), (40, 20, 3, 3)] and shapes[2] == (128, 40 * 7 * 7)
    assert [(type(block.neuron).__name__, block.neuron.beta) for block in blocks] == 3 * [
        ("LIF", 1.0)
    ]


def test_the_table_has_the_reported_errors_beside_ours():
    module = runpy.run_path(str(BENCHMARK))
    rows = [
        {"dataset": "mnist", "rule": "voltage", "seed": seed, "accuracy": accuracy}
        for seed, accuracy in ((0, 0.989), (1, 0.987))
    ]
    last = module["table"](rows).splitlines()[-1]
    assert last == "| mnist | voltage | 1.20 (1.10 to 1.30) | 0, 1 | 2.63 |"
