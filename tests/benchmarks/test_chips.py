"""benchmarks/chips.py at a toy size."""

from __future__ import annotations

import json
import runpy
import sys
from functools import partial
from pathlib import Path

import pytest

import sigprop_snn as sp

SCRIPT = Path(__file__).parents[2] / "benchmarks/chips.py"


def run(monkeypatch, path, *arguments):
    monkeypatch.setattr(sp, "load", partial(sp.load, test_samples=40))
    words = ["chips.py", "--data", "digits", "--epochs", "1", "--train-samples", "64"]
    monkeypatch.setattr(sys, "argv", [*words, "--json", str(path), *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert ended.value.code == 0
    return json.loads(path.read_text())


def test_every_row_is_measured_once_with_its_command(monkeypatch, tmp_path, capsys):
    path = tmp_path / "chips.json"
    first = run(monkeypatch, path, "--bits", "2", "--methods", "float,folded,after")
    assert [row["method"] for row in first] == ["float", "folded", "after"]
    again = run(monkeypatch, path, "--bits", "2")
    assert again[:3] == first
    rows = [(row["method"], row["bits"], row["stored"]) for row in again[3:]]
    assert rows == [("trained", 2, None), ("learned", 2, 2), ("learned", 2, 16)]
    assert all(0 <= row["accuracy"] <= 1 for row in again)
    assert again[-1]["command"] == (
        "python benchmarks/chips.py --data digits --methods learned --bits 2 --epochs 1 "
        "--train-samples 64"
    )
    assert "| digits | 2 bits, learned in integers, stored in 16 |" in capsys.readouterr().out
