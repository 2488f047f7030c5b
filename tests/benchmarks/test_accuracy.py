"""The script of the accuracies keeps its rows in a file."""

import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks/accuracy.py"


@pytest.fixture
def run(monkeypatch, tmp_path):
    def run(*arguments: str) -> list[dict]:
        file = tmp_path / "accuracy.json"
        monkeypatch.setattr(sys, "argv", [SCRIPT.name, *arguments, "--json", str(file)])
        runpy.run_path(str(SCRIPT), run_name="__main__")
        return json.loads(file.read_text(encoding="utf-8"))

    return run


def test_a_row_replaces_that_of_the_same_data_rule_and_network(run, monkeypatch):
    def train(config, say):
        result = type("Result", (), {})()
        accuracy = 0.9 + config.seed / 100
        result.summary = {
            "test_accuracy": accuracy, "network": "mlp", "steps": 2, "epochs": config.epochs
        }  # fmt: skip
        return result

    monkeypatch.setattr("sigprop_snn.training.train", train)
    run("digits", "--rules", "voltage", "--seeds", "0")
    rows = run("digits", "digit-events", "--rules", "voltage", "--seeds", "0", "1")
    assert [(row["dataset"], row["test_accuracies"]) for row in rows] == [
        ("digits", [0.9, 0.91]),
        ("digit-events", [0.9, 0.91]),
    ]
    assert rows[0]["mean"] == pytest.approx(0.905)


def test_a_row_of_another_neuron_stays_and_the_row_names_what_differs_from_the_recipe(
    run, monkeypatch
):
    seen = []

    def train(config, say):
        seen.append((config.neuron, config.batch_size, config.augment))
        result = type("Result", (), {})()
        result.summary = {"test_accuracy": 0.9, "network": "mlp", "steps": 1, "epochs": 1}
        return result

    monkeypatch.setattr("sigprop_snn.training.train", train)
    usual = ("mnist", "--rules", "voltage", "--seeds", "0")
    run(*usual)
    rows = run(*usual, "--neuron", "rate", "--batch-size", "128", "--no-augment")
    assert seen == [(None, None, None), ("rate", 128, False)]
    assert [(row.get("neuron"), row.get("batch_size"), row.get("augment")) for row in rows] == seen
