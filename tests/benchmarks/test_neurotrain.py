"""The benchmark of NeuroTrain's table, on a few drawn samples."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from sigprop_snn.rules import RULES

BENCHMARK = Path(__file__).parents[2] / "benchmarks/neurotrain.py"


@pytest.fixture
def benchmark(monkeypatch, tmp_path):
    def run(*arguments: str, file: str = "rows.json") -> list[dict]:
        path = tmp_path / file
        given = [BENCHMARK.name, "--dry", "--json", str(path), *arguments]
        monkeypatch.setattr(sys, "argv", given)
        runpy.run_path(str(BENCHMARK), run_name="__main__")
        return json.loads(path.read_text(encoding="utf-8"))

    return run


def test_every_rule_for_maps_gives_a_row(benchmark):
    rows = benchmark("--datasets", "cifar10")
    dense = {"predictive-forward-forward", "target-propagation"}
    assert {row["rule"] for row in rows} == RULES.keys() - dense
    assert {row["rule"]: row["steps"] for row in rows if row["steps"] != 4} == {
        "forward-forward": 1, "spiking-forward-forward": 6, "error-forward": 1, "hebbian": 8,
        "error-forward-relaxing": 8,
    }  # fmt: skip


def test_every_data_set_gives_a_row_and_the_table_has_neurotrains(benchmark, capsys):
    rows = benchmark("--rules", "voltage")
    assert [(row["dataset"], row["steps"]) for row in rows] == [
        ("mnist", 4), ("fashion-mnist", 4), ("cifar10", 4), ("nmnist", 10),
    ]  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "| OTTT, NeuroTrain | 95.4 | 73.8 | 49.2 | 80.2 | |"
    assert any(line.startswith("| voltage |") and line.count("; 1)") == 4 for line in lines)


def test_the_network_is_neurotrains():
    module = runpy.run_path(str(BENCHMARK))
    args = module["tables"].arguments(module["TABLE"], ["--json", "rows.json"])
    network = module["build"](module["case"](args, "mnist", "backpropagation", 0), (1, 28, 28), 10)
    shapes = [tuple(p.shape) for p in network.parameters() if p.ndim > 1]
    assert {(12, 1, 5, 5), (32, 12, 5, 5), (10, 32 * 7 * 7)} <= set(shapes)
