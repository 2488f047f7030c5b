"""The command line, as a person meets it."""

import json

import pytest

from sigprop_snn.cli import main
from sigprop_snn.neurons import NEURONS
from sigprop_snn.rules import RULES
from sigprop_snn.surrogates import SURROGATES

TINY = ["--epochs", "1", "--train-samples", "60", "--test-samples", "20", "--steps", "4"]


@pytest.mark.parametrize("dataset", ["digits", "digit-events"])
def test_train_leaves_a_run_with_its_pictures(tmp_path, capsys, dataset):
    out = tmp_path / "run"
    assert main(["train", dataset, *TINY, "--out", str(out)]) == 0
    assert {path.name for path in out.iterdir()} == {
        "checkpoint.pt", "config.json", "figures", "metrics.jsonl", "summary.json",
    }  # fmt: skip
    assert {path.name for path in (out / "figures").iterdir()} == {
        "curves.png", "raster.png", "voltage.png",
    }  # fmt: skip
    said = capsys.readouterr()
    accuracy = json.loads((out / "summary.json").read_text())["test_accuracy"]
    assert f"test accuracy {accuracy:.4f}" in said.out
    assert "epoch 1/1" in said.out
    assert "%|" not in said.err  # no bar where there is no terminal


def test_flags_reach_the_run(tmp_path):
    out = tmp_path / "run"
    flags = [
        "--rule",
        "surrogate",
        "--network",
        "conv",
        "--encoding",
        "rate",
        "--predict",
        "context",
        "--seed",
        "3",
    ]
    assert main(["train", "digits", *TINY, *flags, "--batch-size", "16", "--out", str(out)]) == 0
    config = json.loads((out / "config.json").read_text())
    assert (config["rule"], config["network"], config["encoding"]) == ("surrogate", "conv", "rate")
    assert (config["predict"], config["seed"], config["batch_size"]) == ("context", 3, 16)


def test_neurons_without_spikes_leave_their_pictures_too(tmp_path):
    out = tmp_path / "run"
    flags = ["--neuron", "rate", "--steps", "1", "--out", str(out)]
    assert main(["train", "digits", *TINY[:-2], *flags]) == 0
    assert len(list((out / "figures").iterdir())) == 3


def test_a_refusal_is_one_line_without_a_traceback(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["train", "digit-event", *TINY, "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("sigprop-snn: unknown data set 'digit-event'. Did you mean")
    assert "Traceback" not in said
    assert not out.exists()


def test_absent_data_says_what_was_looked_for(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("tonic.datasets.NMNIST.download", _no_network)
    out = tmp_path / "run"
    assert main(["train", "nmnist", "--data-root", str(tmp_path), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "NMNIST" in said
    assert str(tmp_path) in said
    assert not out.exists()


def _no_network(*_: object, **__: object) -> None:
    raise OSError("no network")


def test_list_names_everything_with_a_line(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in [*NEURONS, *SURROGATES, *RULES, "digits", "nmnist", "mlp", "conv"]:
        (line,) = [line for line in lines if line.split()[0] == name and line.startswith("  ")]
        assert len(line.split()) > 2, name
