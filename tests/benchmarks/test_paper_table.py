"""The benchmark of the paper's table, on a few digits."""

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
        small = ["--datasets", "digits", "--epochs", "1", "--train-samples", "64"]
        small += ["--test-samples", "32", "--batch-size", "16", "--json", str(path), *arguments]
        monkeypatch.setattr(sys, "argv", [BENCHMARK.name, *small])
        runpy.run_path(str(BENCHMARK), run_name="__main__")
        return json.loads(path.read_text(encoding="utf-8"))

    return run


def test_every_rule_gives_a_row_and_no_run_is_repeated(benchmark, capsys):
    rows = benchmark("--seeds", "0")
    assert [row["rule"] for row in rows] == ["backpropagation", "surrogate", "voltage"]
    assert [row["similarity"] for row in rows] == [False, True, True]
    assert all(0 <= row["error"] <= 1 for row in rows)
    assert benchmark("--seeds", "0") == rows
    assert "| digits | voltage |" in capsys.readouterr().out


def test_the_network_is_the_papers():
    module = runpy.run_path(str(BENCHMARK))
    case = module["Case"]("digits", "voltage", 0, 1, 16, True, 1, False, None, None, 0.0)
    data = type("Shapes", (), {"shape": (1, 28, 28), "classes": tuple("0123456789")})
    blocks = module["build"](case, data).blocks
    shapes = [tuple(p.shape) for block in blocks for p in block.parameters() if p.ndim > 1]
    assert shapes[:2] == [(20, 1, 3, 3), (40, 20, 3, 3)] and shapes[2] == (128, 40 * 7 * 7)
    assert [type(block.neuron).__name__ for block in blocks] == ["IF", "IF", "IF"]


def test_the_table_has_the_reported_errors_beside_ours():
    module = runpy.run_path(str(BENCHMARK))
    rows = [
        {"dataset": "mnist", "rule": "voltage", "seed": seed, "error": error}
        for seed, error in ((0, 0.011), (1, 0.013))
    ]
    last = module["table"](rows).splitlines()[-1]
    assert last == "| mnist | voltage | 1.20 (1.10 to 1.30) | 0, 1 | 2.63 |"
