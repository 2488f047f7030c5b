"""Comparisons with invented runs. Real runs are in test_compare_command.py."""

import csv
import json
import statistics
from dataclasses import replace

import pytest

from sigprop_snn.comparison import CompareConfig, as_text, compare, trainings
from sigprop_snn.comparison.cell import run_cell
from sigprop_snn.errors import SigpropError
from sigprop_snn.processes.calls import CallFailedError
from sigprop_snn.rules import RULES
from sigprop_snn.training import RECIPES, TrainConfig, train

TWO = "voltage,surrogate"


class Runs:
    """Replaces the training: records the calls and returns invented results."""

    def __init__(self, fail=(), stop_before=None):
        self.fail, self.stop_before = fail, stop_before
        self.asked = []

    def __call__(self, training):
        self.asked.append((training.rule, training.seed))
        if (training.rule, training.seed) == self.stop_before:
            raise KeyboardInterrupt
        if training.rule in self.fail or (training.rule, training.seed) in self.fail:
            raise CallFailedError("the loss of block1 became NaN")
        accuracy = 0.9 + 0.01 * training.seed + (0.05 if training.rule == "surrogate" else 0.0)
        return {
            "test_accuracy": accuracy,
            "test_accuracies": [0.5, accuracy],
            "seconds_per_epoch": 2.0 + training.seed,
            "memory_mb": 100.0,
            "process_mb": 600.0,
            "parameters": 1000,
            "train_samples": 60,
            "test_samples": 20,
            "spikes": 40.0,
            "operations": 3000.0,
            "additions": 1000.0,
            "macs": 2000.0,
            "energy_nj": 7.0,
        }


def config(tmp_path, **settings):
    return CompareConfig("digits", **{"rules": TWO, "out": tmp_path / "c", **settings})


def silent(_):
    pass


@pytest.fixture
def no_picture(monkeypatch):
    """Draw no figure of a comparison: it takes most of the time of invented runs."""
    monkeypatch.setattr("sigprop_snn.plots.rule_spectrum", lambda *_, **__: None)
    monkeypatch.setattr("sigprop_snn.plots.save", lambda *_: None)


def test_a_row_has_the_means_over_the_seeds_and_the_needs_of_the_rule(tmp_path, no_picture):
    compared = compare(config(tmp_path), silent, Runs())
    first, second = compared.rows
    assert (first.rule, second.rule) == ("surrogate", "voltage")  # the more accurate first
    accuracies = [0.90, 0.91, 0.92]
    assert second.accuracy == pytest.approx(statistics.fmean(accuracies))
    assert second.accuracy_std == pytest.approx(0.01)
    assert (second.accuracy_min, second.accuracy_max) == pytest.approx((0.90, 0.92))
    assert (second.seconds, second.memory_mb, second.seeds, second.failed) == (3.0, 100.0, 3, 0)
    needs = RULES["voltage"].needs
    assert second.backward_pass == needs.backward_pass
    assert second.stored_activations == needs.stored_activations


def test_table_csv_and_json_agree(tmp_path):
    compared = compare(config(tmp_path), silent, Runs())
    out = tmp_path / "c"
    lines = as_text(compared.rows).splitlines()
    assert lines[3].split()[:4] == ["surrogate", "96.00", "±", "1.00"]
    assert lines[4].split()[:4] == ["voltage", "91.00", "±", "1.00"]
    assert lines[4].split()[4:] == ["3.00", "100.0", "40", "3,000"]
    assert lines[10].split()[:3] == ["voltage", "1,000", "8"]
    with (out / "compare.csv").open() as file:
        table = list(csv.DictReader(file))
    kept = json.loads((out / "compare.json").read_text())
    for row, from_csv, from_json in zip(compared.rows, table, kept["rows"], strict=True):
        assert from_csv["rule"] == from_json["rule"] == row.rule
        assert float(from_csv["accuracy"]) == from_json["accuracy"] == row.accuracy
    assert len(kept["runs"]) == 6
    assert kept["config"]["seeds"] == 3
    assert kept["machine"]["cores"] >= 1
    assert (out / "compare.png").stat().st_size > 10_000


def test_the_tables_of_all_rules_fit_80_columns(tmp_path, no_picture):
    names = ",".join(RULES)
    compared = compare(replace(config(tmp_path), rules=names), silent, Runs())
    lines = as_text(compared.rows).splitlines()
    assert max(len(line) for line in lines) <= 80
    assert sum(line.startswith("predictive-forward-forward ") for line in lines) == 2


def test_a_failed_rule_stays_in_the_table_and_the_others_run(tmp_path):
    compared = compare(config(tmp_path), silent, Runs(fail=["voltage", ("surrogate", 1)]))
    good, bad = compared.rows
    assert (good.rule, good.seeds, good.failed) == ("surrogate", 2, 1)
    assert (bad.rule, bad.seeds, bad.failed, bad.accuracy) == ("voltage", 0, 3, None)
    text = as_text(compared.rows)
    row = next(line for line in text.splitlines() if line.startswith("voltage  "))
    assert row.split()[:4] == ["voltage", "failed", "-", "-"]
    assert "voltage: 3 of 3 " in text and "the loss of block1 became NaN" in text
    assert "surrogate: 1 of 3 " in text
    assert (tmp_path / "c" / "compare.png").exists()


def test_a_comparison_without_success_has_a_table_and_no_figure(tmp_path):
    compared = compare(config(tmp_path), silent, Runs(fail=TWO.split(",")))
    assert [row.accuracy for row in compared.rows] == [None, None]
    assert (tmp_path / "c" / "compare.csv").exists()
    assert not (tmp_path / "c" / "compare.png").exists()


def test_an_interrupted_comparison_keeps_its_runs_and_continues(tmp_path, no_picture):
    stopped = Runs(stop_before=("voltage", 1))
    with pytest.raises(KeyboardInterrupt):
        compare(config(tmp_path), silent, stopped)
    assert stopped.asked == [("voltage", 0), ("surrogate", 0), ("voltage", 1)]
    kept = json.loads((tmp_path / "c" / "compare.json").read_text())
    assert [row["seeds"] for row in kept["rows"]] == [1, 1]
    said = []
    again = Runs()
    resumed = compare(config(tmp_path), said.append, again)
    assert again.asked == [("voltage", 1), ("surrogate", 1), ("voltage", 2), ("surrogate", 2)]
    assert "runs: 6, 2 of them" in said[0]
    whole = compare(config(tmp_path, out=tmp_path / "whole"), silent, Runs())
    assert resumed.rows == whole.rows


def test_failed_runs_are_repeated_and_more_seeds_are_added(tmp_path, no_picture):
    compare(config(tmp_path, seeds=1), silent, Runs(fail=["voltage"]))
    again = Runs()
    compared = compare(config(tmp_path, seeds=2), silent, again)
    assert again.asked == [("voltage", 0), ("voltage", 1), ("surrogate", 1)]
    assert [row.failed for row in compared.rows] == [0, 0]


def test_a_folder_with_other_settings_is_refused(tmp_path, no_picture):
    compare(config(tmp_path), silent, Runs())
    with pytest.raises(SigpropError, match=r"voltage, seed 0, .*5 for epochs; expected 7"):
        compare(config(tmp_path, epochs=7), silent, Runs())
    compare(config(tmp_path, data_root=tmp_path), silent, Runs())  # does not change a result


def test_an_interrupted_run_with_other_settings_is_refused(tmp_path):
    settings = {"rule": "voltage", "steps": 2, "train_samples": 40, "test_samples": 20}
    training = TrainConfig("digits", out=tmp_path / "run", epochs=1, device="cpu", **settings)
    train(training, silent)
    run_cell(training)
    with pytest.raises(SigpropError, match=r"interrupted, with 1 for epochs; expected 3"):
        run_cell(replace(training, epochs=3))


def test_a_damaged_record_is_named(tmp_path, no_picture):
    compare(config(tmp_path, seeds=1), silent, Runs())
    (tmp_path / "c" / "cells" / "voltage-seed0.json").write_text("{")
    with pytest.raises(SigpropError, match=r"voltage-seed0\.json'"):
        compare(config(tmp_path, seeds=1), silent, Runs())


def test_data_and_epochs_are_the_same_and_other_settings_are_the_rules():
    planned = trainings(CompareConfig("mnist", train_samples=500, steps=6))
    assert {training.rule for training in planned} == set(RULES)
    assert {training.epochs for training in planned} == {5}
    assert {training.network for training in planned} == {"mlp"}
    assert {training.train_samples for training in planned} == {500}
    for training in planned:
        own = RULES[training.rule].recipe
        rate = own.get("learning_rate", RECIPES["mnist"].learning_rate)
        assert training.learning_rate == rate
        spikes = training.neuron != "rate"
        assert training.steps == own.get("steps", 6 if spikes else 1)


def test_same_recipe_takes_the_recipe_of_the_data_set():
    planned = trainings(CompareConfig("mnist", same_recipe=True, epochs=2))
    recipe = RECIPES["mnist"]
    found = {(t.epochs, t.batch_size, t.learning_rate) for t in planned}
    assert found == {(2, recipe.batch_size, recipe.learning_rate)}
    assert {t.steps for t in planned if t.neuron != "rate"} == {recipe.steps}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rules": "voltage,voltag"}, "rule 'voltag'.*'voltage'"),
        ({"rules": " , "}, "rules is ' , '"),
        ({"rules": ["voltage"]}, "rules is"),
        ({"seeds": 0}, "seeds is 0"),
        ({"seeds": "1"}, "seeds is '1'"),
        ({"epochs": 0}, "epochs is 0"),
        ({"network": "mpl"}, "network 'mpl'"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(tmp_path, settings, said):
    with pytest.raises(SigpropError, match=said):
        compare(config(tmp_path, **settings), silent, Runs())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(SigpropError, match="data set 'digit'"):
        compare(CompareConfig("digit", out=tmp_path / "c"), silent, Runs())
