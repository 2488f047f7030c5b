"""Validation samples choose the best epoch, and patience stops the run."""

import json
import signal
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from sigprop_snn.errors import RunStoppedError
from sigprop_snn.network import LayerReport, Learned
from sigprop_snn.training import TrainConfig, evaluate, load_checkpoint, load_run, resume, train
from sigprop_snn.training.metrics import EpochMetrics

SMALL = {
    "steps": 4,
    "batch_size": 20,
    "train_samples": 100,
    "test_samples": 40,
    "validation": 0.4,
    "device": "cpu",
}


def quiet(_):
    """Ignore a line."""


@contextmanager
def validation_accuracies(accuracies):
    """Let the validation samples give these accuracies, one for each epoch."""
    real = EpochMetrics.record

    def record(metrics, epoch, tested, validated):
        return real(metrics, epoch, tested, replace(validated, accuracy=accuracies[epoch - 1]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EpochMetrics, "record", record)
        yield


RISING_AND_FALLING = [0.2, 0.3, 0.6, 0.5, 0.6, 0.4]
BEST = 3


@pytest.fixture(scope="module")
def wavering(tmp_path_factory):
    """A run whose best epoch is not its last, and the weights at each epoch's end."""
    out = tmp_path_factory.mktemp("runs") / "run"
    weights = []

    def keep(line):
        if line.startswith("epoch"):
            weights.append(load_checkpoint(out / "checkpoint.pt")["network"])

    with validation_accuracies(RISING_AND_FALLING):
        return train(TrainConfig("digits", out=out, **SMALL, epochs=6), say=keep), weights


def test_the_best_epoch_on_validation_is_kept(wavering):
    run, weights = wavering
    assert [record["validation_accuracy"] for record in run.history] == RISING_AND_FALLING
    assert run.epoch == BEST
    for name, value in weights[BEST - 1].items():
        assert torch.equal(value, run.network.state_dict()[name]), name
    assert any(
        not torch.equal(value, weights[BEST - 1][name]) for name, value in weights[-1].items()
    )


def test_the_validation_accuracy_is_measured_on_the_validation_samples(tmp_path):
    run = train(TrainConfig("digits", out=tmp_path / "run", **SMALL, epochs=1), say=quiet)
    found = evaluate(run.network, run.data.validation).accuracy
    assert run.history[0]["validation_accuracy"] == found


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
    config = TrainConfig("digits", out=tmp_path / "run", **SMALL, epochs=6)
    with validation_accuracies(RISING_AND_FALLING):
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
    config = TrainConfig("digits", out=tmp_path / "run", epochs=50, patience=2, **SMALL)
    said = []
    with validation_accuracies([0.5] * 50):
        run = train(config, say=said.append)
    assert len(run.history) == 3
    assert run.epoch == 1
    assert run.summary["epochs"] == 3
    assert any("validation 50.00 %" in line for line in said)
    assert any("epoch 1 of 3" in line for line in said)
    # It is finished, although it has fewer epochs than the configuration allows.
    assert resume(tmp_path / "run", say=quiet).history == run.history
    stored, said = (tmp_path / "run" / "config.json").read_text(), []
    assert resume(tmp_path / "run", say=said.append, epochs=60).history == run.history
    assert "patience 2 has run out: no epoch is added" in said
    assert (tmp_path / "run" / "config.json").read_text() == stored


def test_results_are_copied_before_the_next_batch_overwrites_the_report():
    loss, correct = torch.tensor(2.0), torch.tensor(3)
    scores = torch.zeros(4, 2, device="cpu")
    report = Learned([LayerReport("block1", loss, correct), LayerReport("block2")], scores, correct)
    metrics, labels = EpochMetrics(), torch.zeros(4, dtype=torch.long, device="meta")
    metrics.add(report, labels)  # not on the CPU: read later
    assert metrics.right == 0
    loss.fill_(5.0)
    correct.fill_(1)
    metrics.add(report, labels)
    metrics.settle()
    assert (metrics.samples, metrics.right, metrics.loss) == (8, 4, {"block1": 28.0})
