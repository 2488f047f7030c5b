"""The benchmark of depth, on a few drawn pictures."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "depth.py"


@pytest.fixture
def folder(tmp_path):
    """Writes forty JPEG pictures of two classes, dark and bright."""
    random = np.random.default_rng(0)
    for split, count in (("train", 14), ("test", 6)):
        for label, name in enumerate(("dark", "bright")):
            home = tmp_path / "cifar10-jpeg" / split / name
            home.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(128 * label, 128 * label + 128, (32, 32, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(home / f"{number}.jpg")
    return tmp_path


def benchmark(monkeypatch, folder, *arguments):
    given = ["--folder", str(folder), "--json", str(folder / "rows.json"), "--size", "8"]
    given += ["--batch-size", "8", "--steps", "2", "--epochs", "1", *arguments]
    monkeypatch.setattr(sys, "argv", ["depth.py", *given])
    runpy.run_path(str(BENCHMARK), run_name="__main__")
    path = folder / "rows.json"
    return json.loads(path.read_text()) if path.exists() else []


PLAIN = ("--no-similarity", "--no-skips", "--network", "six")


def test_every_run_gives_a_row_and_no_run_is_repeated(monkeypatch, folder, capsys):
    rules = ("--rules", "voltage,backpropagation,predsim")
    rows = benchmark(monkeypatch, folder, *PLAIN, *rules)
    assert [row["rule"] for row in rows] == ["voltage", "backpropagation", "predsim"]
    local, reference, predsim = rows
    assert (predsim["centring"], predsim["similarity"]) == (False, False)
    assert local.keys() >= {
        "rule", "neuron", "network", "seed", "epochs", "train_samples", "blocks",
        "test_accuracy", "seconds", "centring", "similarity", "skips", "size", "steps", "device",
    }  # fmt: skip
    assert (local["train_samples"], local["centring"], local["skips"]) == (26, True, False)
    assert [block["name"] for block in local["blocks"]] == [f"block{n}" for n in range(1, 7)]
    keys = {"name", "context_accuracy", "probe_accuracy", "spike_rate", "context_cosine"}
    assert all(keys <= block.keys() for row in rows for block in row["blocks"])
    assert all(0 <= block["context_accuracy"] <= 1 for block in local["blocks"])
    assert all(block["context_accuracy"] is None for block in reference["blocks"])
    figure = folder / "depth.png"
    again = benchmark(monkeypatch, folder, *PLAIN, *rules, "--no-centring", "--figure", str(figure))
    assert again[:3] == rows
    assert [row["centring"] for row in again] == [True, False, False, False]
    assert figure.stat().st_size > 0
    assert benchmark(monkeypatch, folder, *PLAIN, *rules) == again
    assert "0 of 3 runs to do" in capsys.readouterr().out


def test_a_run_out_of_time_says_what_is_missing(monkeypatch, folder, capsys):
    assert benchmark(monkeypatch, folder, *PLAIN, "--rules", "voltage", "--minutes", "0") == []
    assert "missing: voltage seed 0" in capsys.readouterr().out


@pytest.mark.parametrize("network", ["vgg8", "conv"])
def test_other_networks_take_all_three_ingredients(monkeypatch, folder, network):
    options = ("--network", network, "--width", "0.05", "--neuron", "rate")
    rows = benchmark(monkeypatch, folder, "--rules", "surrogate", *options)
    assert (rows[0]["network"], rows[0]["skips"], rows[0]["similarity"]) == (network, True, True)
    assert len(rows[0]["blocks"]) == {"vgg8": 7, "conv": 3}[network]
