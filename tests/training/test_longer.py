"""A run goes on for more epochs, starts from another run, and tells callbacks its numbers."""

from __future__ import annotations

import json

import pytest
import torch

from sigprop_snn.command_line.cli import main
from sigprop_snn.errors import SigpropError
from sigprop_snn.training import SCHEDULES, TrainConfig, load_run, resume, train

SMALL = {
    "neuron": "lif-noise",
    "steps": 3,
    "batch_size": 20,
    "train_samples": 60,
    "test_samples": 20,
    "device": "cpu",
}


def quiet(_):
    """Ignore a line."""


def config(out, epochs, **settings):
    return TrainConfig("digits", out=out, epochs=epochs, **(SMALL | settings))


def rates(trained):
    state = torch.load(trained.folder.path / "checkpoint.pt", weights_only=True)
    return [o["param_groups"][0]["lr"] for o in state["optimizers"].values()]


def test_under_a_constant_rate_a_continued_run_equals_a_longer_one(tmp_path):
    longer = train(config(tmp_path / "longer", 3, schedule="constant"), quiet)
    train(config(tmp_path / "short", 1, schedule="constant"), quiet)
    lines = []
    went_on = resume(tmp_path / "short", lines.append, epochs=3)
    for name, value in longer.network.state_dict().items():
        assert torch.equal(value, went_on.network.state_dict()[name]), name
    assert went_on.summary["epochs"] == 3
    assert "3 epochs, not 1: the learning rate continues" in "".join(lines)
    assert load_run(tmp_path / "short").config.epochs == 3


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_the_learning_rate_is_that_of_a_run_with_this_number_from_the_start(tmp_path, schedule):
    longer = train(config(tmp_path / "longer", 3, schedule=schedule), quiet)
    train(config(tmp_path / "short", 2, schedule=schedule), quiet)
    went_on = resume(tmp_path / "short", quiet, epochs=3)
    assert rates(went_on) == pytest.approx(rates(longer), abs=1e-12)


def test_a_continued_run_that_is_killed_at_once_continues_to_the_new_number(run_copy):
    # The configuration is written first; the checkpoint still has the old number.
    path = run_copy / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"epochs": 3}))
    assert len(resume(run_copy, quiet).history) == 3


def test_fewer_epochs_than_were_learned_are_refused_and_nothing_is_written(run_copy, content_of):
    before = content_of(run_copy)
    with pytest.raises(SigpropError, match=r"epochs is 1, .* 2; expected 2"):
        resume(run_copy, quiet, epochs=1)
    assert content_of(run_copy) == before


def test_the_command_resumes_with_more_epochs(run_copy, capsys):
    assert main(["resume", str(run_copy), "--epochs", "3"]) == 0
    assert "epoch 3/3" in capsys.readouterr().out


def test_a_warm_start_begins_with_the_weights_of_a_run(tmp_path, small_run):
    lines = []
    settings = {"network": "conv", "learning_rate": 1e-12, "optimizer": "sgd"}
    warm = train(
        config(tmp_path / "warm", 1, init_from=small_run.folder.path, seed=4, **settings),
        lines.append,
    )
    for name, value in small_run.network.named_parameters():
        assert torch.allclose(value, warm.network.get_parameter(name), atol=1e-6), name
    assert f"starts from the weights of {small_run.folder.path}" in lines


def test_a_warm_start_names_the_layers_that_are_new(tmp_path, small_run):
    lines = []
    rows = [(torch.rand(3, 8, 1, 8, 8), torch.arange(8) % 4)]
    settings = TrainConfig(
        "four", network="conv", epochs=1, init_from=small_run.folder.path, out=tmp_path / "run",
        device="cpu",
    )  # fmt: skip
    train(settings, lines.append, data=rows)
    assert any("new: readout" in line for line in lines)


def test_a_warm_start_from_another_network_is_refused(tmp_path, small_run):
    with pytest.raises(SigpropError, match=r"init_from is .*other shapes"):
        train(config(tmp_path / "run", 1, network="mlp", init_from=small_run.folder.path), quiet)


def test_callbacks_receive_numbers_by_name(tmp_path):
    epochs, batches = [], []
    train(config(tmp_path / "run", 2), quiet, on_epoch=epochs.append, on_batch=batches.append)
    assert [numbers["epoch"] for numbers in epochs] == [1, 2]
    assert {"accuracy/test", "accuracy/block1", "loss/network"} <= epochs[0].keys()
    assert [(n["epoch"], n["batch"]) for n in batches] == [
        (e, b) for e in (1, 2) for b in (1, 2, 3)
    ]
    assert batches[0]["learning_rate/block1"] > batches[-1]["learning_rate/block1"]
    assert "loss/block1" in batches[0]


@pytest.mark.parametrize("name", ["on_epoch", "on_batch"])
def test_a_callback_that_is_no_function_is_refused(tmp_path, name):
    with pytest.raises(SigpropError, match=f"{name} is 3"):
        train(config(tmp_path / "run", 1), quiet, **{name: 3})
