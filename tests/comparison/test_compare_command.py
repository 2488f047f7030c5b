"""`sigprop-snn compare`, its processes included."""

import json

from sigprop_snn.cli import main

TINY = ["--seeds", "1", "--epochs", "1", "--train-samples", "60", "--test-samples", "20"]


def test_compare_prints_a_table_and_leaves_its_folder(tmp_path, capsys):
    out = tmp_path / "c"
    flags = ["--rules", "voltage,surrogate", "--steps", "4", "--out", str(out)]
    assert main(["compare", "digits", *TINY, *flags]) == 0
    said = capsys.readouterr().out
    assert "2 of 2: surrogate, seed 0: " in said
    assert f"comparison folder: {out}" in said
    assert {path.name for path in out.iterdir()} == {
        "cells", "compare.csv", "compare.json", "compare.png",
    }  # fmt: skip
    for row in json.loads((out / "compare.json").read_text())["rows"]:
        assert row["error"] is None
        assert row["seconds"] > 0
        assert 0 < row["memory_mb"] < row["process_mb"]
        assert row["spikes"] > 0
        assert row["operations"] == row["additions"] + row["macs"] > 0
        assert row["parameters"] == 64 * 800 + 800 * 800 + 4 * 800 + 10 * 800 + 10 * 801
    assert main(["compare", "digits", *TINY, *flags]) == 0
    assert "2 of them done before" in capsys.readouterr().out


def test_a_refusal_is_one_line(tmp_path, capsys):
    assert main(["compare", "digits", "--rules", "volt", "--out", str(tmp_path / "c")]) == 2
    assert capsys.readouterr().err.startswith("sigprop-snn: unknown rule 'volt'")
    assert not (tmp_path / "c").exists()
