"""Validation samples choose the best epoch, and patience stops the run."""

import json
import signal

import pytest
import torch

from sigprop_snn.errors import RunStoppedError
from sigprop_snn.training import TrainConfig, evaluate, load_checkpoint, load_run, resume, train

SMALL = {
    "steps": 4,
    "batch_size": 20,
    "train_samples": 100,
    "test_samples": 40,
    "validation": 0.4,
    "device": "cpu",
}
WAVERING = {"optimizer": "sgd", "schedule": "constant", "learning_rate": 4.0, "epochs": 6}


def quiet(_):
    """Ignore a line."""


@pytest.fixture(scope="module")
def wavering(tmp_path_factory):
    """A run whose validation accuracy rises and falls, and the weights at each epoch's end."""
    out = tmp_path_factory.mktemp("runs") / "run"
    weights = []

    def keep(line):
        if line.startswith("epoch"):
            weights.append(load_checkpoint(out / "checkpoint.pt")["network"])

    return train(TrainConfig("digits", out=out, **SMALL, **WAVERING), say=keep), weights


def test_the_best_epoch_on_validation_is_kept(wavering):
    run, weights = wavering
    found = [record["validation_accuracy"] for record in run.history]
    best = found.index(max(found))
    assert best < len(found) - 1  # otherwise this test shows nothing
    assert run.epoch == best + 1
    for name, value in weights[best].items():
        assert torch.equal(value, run.network.state_dict()[name]), name
    assert evaluate(run.network, run.data.validation).accuracy == found[best]


def test_the_summary_says_which_epoch_was_chosen(wavering):
    run, _ = wavering
    summary = json.loads((run.folder.path / "summary.json").read_text())
    record = run.history[run.epoch - 1]
    assert summary["chosen_epoch"] == run.epoch
    assert summary["test_accuracy"] == record["test_accuracy"]
    assert summary["validation_accuracy"] == record["validation_accuracy"]
    assert summary["epochs"] == 6
    assert summary["train_samples"] == 60
    assert [layer["accuracy"] for layer in summary["layers"]] == [
        layer["accuracy"] for layer in record["layers"]
    ]


def test_a_run_read_back_holds_the_chosen_epoch(wavering):
    run, _ = wavering
    again = load_run(run.folder.path)
    assert again.epoch == run.epoch
    for name, value in run.network.state_dict().items():
        assert torch.equal(value, again.network.state_dict()[name]), name


def test_the_choice_survives_a_stop(wavering, tmp_path, monkeypatch, send_at):
    run, _ = wavering
    send_at(signal.SIGINT, update=(3 * (run.epoch + 1) - 1) * 3)  # in the epoch after the best
    config = TrainConfig("digits", out=tmp_path / "run", **SMALL, **WAVERING)
    with pytest.raises(RunStoppedError):
        train(config, say=quiet, catch_signals=True)
    monkeypatch.undo()
    halfway = load_run(tmp_path / "run")
    assert (halfway.epoch, halfway.batch, halfway.summary) == (run.epoch, 0, {})
    resumed = resume(tmp_path / "run", say=quiet)
    assert resumed.epoch == run.epoch
    for name, value in run.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name


def test_a_run_without_progress_stops_and_keeps_its_first_best(tmp_path):
    config = TrainConfig(
        "digits", out=tmp_path / "run", epochs=50, patience=2, learning_rate=1e-20, **SMALL
    )
    said = []
    run = train(config, say=said.append)
    assert len(run.history) == 3
    assert run.epoch == 1
    assert run.summary["epochs"] == 3
    assert any("validation 0." in line for line in said)
    assert any("epoch 1 of 3" in line for line in said)
    # It is finished, although it has fewer epochs than the configuration allows.
    assert resume(tmp_path / "run", say=quiet).history == run.history
