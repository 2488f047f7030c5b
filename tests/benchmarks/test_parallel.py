"""The measurement of several processes, at toy sizes."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from benchmarks.parallel import predicted, results
from benchmarks.parallel_processes import (
    BACKWARD,
    DATA,
    DDP,
    LAYERS,
    ONE,
    OPENMP,
    THREADS,
    TWO,
    Size,
)
from benchmarks.schedules import Link

INSTANT = Link("instant", 1e30, 0.0)
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "parallel.py"


def test_the_prediction_counts_the_readout_with_the_last_block():
    """Stages of 2 and 1 + 1 seconds: two batches take 2 + 2 + 2."""
    assert predicted([1.0, 1.0, 1.0, 1.0], [2, 1], 0.0, INSTANT, 2) == 6.0


def test_the_prediction_waits_for_the_message():
    """Each message takes 5 seconds: 1 + 5 + 5 + 2."""
    assert predicted([1.0, 1.0, 1.0], [1, 1], 10.0, Link("slow", 2.0, 0.0), 2) == 13.0


def test_results_are_medians_of_ratios():
    ranks = [{"sent_bytes": 40, "idle": 0.1}, {"sent_bytes": 0, "idle": 0.2}]
    turns = {
        ONE: [{"seconds": each} for each in (8.0, 8.0, 4.0)],
        LAYERS: [{"seconds": each, "ranks": ranks} for each in (5.0, 4.0, 4.0)],
        DATA: [{"seconds": 5.0, "ranks": ranks}] * 3,
        OPENMP: [{"seconds": 4.0}] * 3,
        THREADS: [{"seconds": 16.0}] * 3,
        BACKWARD: [{"seconds": 16.0}] * 3,
        DDP: [{"seconds": 8.0}] * 3,
        TWO: [{"seconds": 10.0, "blocks": {"a": 1.0, "b": 0.5, "readout": 0.5}}] * 3,
    }
    cpu = {ONE: [8.0], LAYERS: [4.0, 5.0]}
    for name, found in turns.items():
        turns[name] = [{**turn, "cpu": cpu.get(name, [8.0]), "others": 0.1} for turn in found]
    found = results(turns, [1, 1], INSTANT, Size(batches=4, turns=3))
    assert found["speed_up"] == pytest.approx(1.6)
    assert found["ddp_speed_up"] == 2
    assert (found["two_independent_speed_up"], found["speed_up_by_cpu"]) == (1.6, 1.6)
    assert (found["cpu"][LAYERS], found["others"][ONE]) == ([1.0, 1.25], 0.1)
    assert (found["openmp_speed_up"], found["threads_speed_up"]) == (2, 1)
    assert (found["sent"], found["idle"]) == (10, [0.1, 0.2])
    assert found["seconds"][LAYERS] == 1
    assert found["predicted_seconds"] == pytest.approx(5 / 4)
    assert found["predicted_over_measured"] == pytest.approx(5 / 4)


def test_processes_are_measured_and_end_in_equal_weights(monkeypatch, tmp_path, capsys):
    path = tmp_path / "parallel.json"
    monkeypatch.setattr(
        sys, "argv", ["parallel.py", "--dry", "--networks", "mlp", "--json", str(path)]
    )
    runpy.run_path(str(BENCHMARK), run_name="__main__")
    (row,) = json.loads(path.read_text())["rows"]
    assert row["equal_weights"] == {"2": True, "4": True}
    assert len(row["idle"]) == 2
    assert all(0 <= idle < 1 for idle in row["idle"])
    assert row["sent"] > 0
    assert row["seconds"].keys() >= {ONE, LAYERS, BACKWARD, DDP}
    assert row["bandwidth"] > 0
    assert len(row["cpu"][LAYERS]) == 2 and min(row["cpu"][LAYERS]) > 0
    assert "2 processes: yes, 4 processes: yes" in capsys.readouterr().out
