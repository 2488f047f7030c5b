"""`sigprop-snn compare` with real runs in their processes."""

import json
import shlex

import pytest

from sigprop_snn.command_line.cli import main
from sigprop_snn.processes.calls import CallFailedError, FreshProcesses
from sigprop_snn.training import load_run

TINY = ["--seeds", "1", "--epochs", "1", "--train-samples", "60", "--test-samples", "20"]


def test_compare_prints_a_table_and_leaves_its_folder(tmp_path, capsys):
    out = tmp_path / "c"
    flags = ["--rules", "voltage,surrogate", "--steps", "4", "--out", str(out)]
    assert main(["compare", "digits", *TINY, *flags]) == 0
    said = capsys.readouterr().out
    assert "2 of 2: surrogate, seed 0: " in said
    assert f"comparison folder: {out}" in said
    assert {path.name for path in out.iterdir()} == {
        "cells", "compare.csv", "compare.json", "compare.png", "runs",
    }  # fmt: skip
    assert f"figure: {out / 'compare.png'}" in said
    assert load_run(out / "runs" / "surrogate-seed0").epoch == 1
    for row in json.loads((out / "compare.json").read_text())["rows"]:
        assert row["error"] is None
        assert row["seconds"] > 0
        assert 0 < row["memory_mb"] < row["process_mb"]
        assert row["spikes"] > 0
        assert row["operations"] == row["additions"] + row["macs"] > 0
        assert row["parameters"] == 64 * 800 + 800 * 800 + 4 * 800 + 10 * 800 + 10 * 801
    assert main(["compare", "digits", *TINY, *flags]) == 0
    assert "runs: 2, 2 of them" in capsys.readouterr().out


@pytest.mark.parametrize("failing", ["voltage", "voltage,surrogate"])
def test_the_exit_code_is_1_if_any_run_failed(tmp_path, capsys, monkeypatch, failing):
    def run(self, function, training):
        if training.rule in failing.split(","):
            raise CallFailedError("no reason")
        return function(training)

    monkeypatch.setattr(FreshProcesses, "call", run)
    out = tmp_path / "two words"
    flags = ["--rules", "voltage,surrogate", "--steps", "2", "--out", str(out)]
    assert main(["compare", "digits", *TINY, *flags]) == 1
    said = capsys.readouterr()
    assert f"comparison folder: {out}" in said.out
    assert f"{len(failing.split(','))} of 2 runs failed" in said.err
    assert f"--out {shlex.quote(str(out))}" in said.err
    assert (out / "compare.csv").exists()


def test_a_refusal_is_one_line(tmp_path, capsys):
    assert main(["compare", "digits", "--rules", "volt", "--out", str(tmp_path / "c")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("sigprop-snn: ") and "rule 'volt'" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "c").exists()
