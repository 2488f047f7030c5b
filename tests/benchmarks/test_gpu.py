"""The scripts for a GPU, at toy sizes on a CPU."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.common import device_name

FOLDER = Path(__file__).parents[2] / "benchmarks"


def run(monkeypatch, name, *arguments):
    monkeypatch.setattr(sys, "argv", [name, "--dry", *map(str, arguments)])
    runpy.run_path(str(FOLDER / name), run_name="__main__")


def test_every_part_of_gpu_writes_its_rows_and_every_kernel_is_right(monkeypatch, tmp_path):
    path = tmp_path / "gpu.json"
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, "gpu.py", "--json", path)
    assert ended.value.code == 0
    found = json.loads(path.read_text())
    assert (found["device"], found["dry"]) == (device_name(torch.device("cpu")), True)
    assert {row["part"] for row in found["rows"]} == set("abcde")
    checks = [row for row in found["rows"] if row["part"] == "a"]
    assert len(checks) > 10
    assert all(row["right"] for row in checks)
    ours = [row for row in found["rows"] if row.get("library", "").startswith("sigprop_snn")]
    assert ours
    assert not any("left_out" in row for row in ours)


def test_the_minutes_end_a_run_of_gpu(monkeypatch, tmp_path, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "gpu.py", "--minutes", 0, "--parts", "e", "--json", tmp_path / "g.json")
    assert "the minutes are over" in capsys.readouterr().out
    assert not (tmp_path / "g.json").exists()


@pytest.mark.parametrize("rule", ["voltage", "surrogate"])
def test_cifar10_goes_on_where_its_minutes_ended(monkeypatch, tmp_path, rule, capsys):
    arguments = ("--rule", rule, "--epochs", 2)
    run(monkeypatch, "cifar10_gpu.py", "--out", tmp_path / "whole", *arguments)
    for minutes in (0, 5):
        run(
            monkeypatch, "cifar10_gpu.py", "--out", tmp_path / "parts", "--minutes", minutes,
            *arguments,
        )  # fmt: skip
    assert "the minutes are over after epoch 0" in capsys.readouterr().out
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("whole", "parts")
    ]
    whole, parts = ([row["validation"]["blocks"] for row in log] for log in logs)
    assert whole == parts
    assert len(logs[1][-1]["test"]["blocks"]) == 7


def test_cifar10_restores_what_it_saved(monkeypatch, tmp_path):
    """One epoch, then the next in another process's place: equal to both at once."""
    for name, slices in (("whole", (2,)), ("parts", (1, 2))):
        for epochs in slices:
            run(
                monkeypatch, "cifar10_gpu.py", "--out", tmp_path / name, "--epochs", epochs,
                "--rate", 0,
            )  # fmt: skip
    whole, parts = (
        json.loads((tmp_path / name / "log.jsonl").read_text().splitlines()[-1])
        for name in ("whole", "parts")
    )
    assert whole["validation"] == parts["validation"]
