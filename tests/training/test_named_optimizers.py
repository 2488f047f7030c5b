"""The optimizers, schedules and factors of a run, also over a stop."""

import math
import signal

import pytest
import torch

from sigprop_snn.errors import RunStoppedError, SigpropError
from sigprop_snn.training import (
    OPTIMIZERS,
    SCHEDULES,
    TrainConfig,
    build_network,
    load_checkpoint,
    resume,
    train,
)
from sigprop_snn.training.run import TrainingRun

SMALL = {
    "epochs": 2,
    "steps": 4,
    "batch_size": 20,
    "train_samples": 60,
    "test_samples": 20,
    "device": "cpu",
}


def quiet(_):
    """Ignore a line."""


PAIRS = list(
    zip(sorted(OPTIMIZERS), [*sorted(SCHEDULES), *["linear"] * len(OPTIMIZERS)], strict=False)
)


@pytest.mark.parametrize(("optimizer", "schedule"), PAIRS)
def test_each_learns_and_ends_in_the_same_weights_after_a_stop(
    tmp_path, monkeypatch, send_at, optimizer, schedule
):
    settings = SMALL | {"optimizer": optimizer, "schedule": schedule, "learning_rate": 2e-3}
    whole = train(TrainConfig("digits", out=tmp_path / "whole", **settings), say=quiet)
    assert whole.history[1]["loss"] < whole.history[0]["loss"]
    send_at(signal.SIGTERM, update=4 * 3)
    stopped = TrainConfig("digits", out=tmp_path / "stopped", **settings)
    with pytest.raises(RunStoppedError):
        train(stopped, say=quiet, catch_signals=True)
    monkeypatch.undo()
    resumed = resume(tmp_path / "stopped", say=quiet)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name


def test_factors_of_layers_reach_the_optimizers(tmp_path):
    settings = SMALL | {"epochs": 1, "schedule": "constant", "learning_rate": 0.01}
    config = TrainConfig(
        "digits", out=tmp_path / "run", layer_rates={"block1": 0.0, "readout": 0.5}, **settings
    )
    run = train(config, say=quiet)
    fresh = build_network(config.resolved(), run.data.shape, 10).state_dict()
    moved = {
        name: not torch.equal(value, fresh[name]) for name, value in run.network.named_parameters()
    }
    for name, has_moved in moved.items():
        still = name.startswith(("signal.", "blocks.0."))  # the signal learns with block1
        assert has_moved != still, name
    state = load_checkpoint(tmp_path / "run" / "checkpoint.pt")["optimizers"]
    rates = {layer: one["param_groups"][0]["lr"] for layer, one in state.items()}
    assert rates == {"block1": 0.0, "block2": 0.01, "readout": 0.005}


@pytest.mark.parametrize("given, factor", [({}, 1.0), ({"readout": 0.5}, 0.5)])
def test_a_readout_of_all_blocks_learns_more_slowly_the_more_features_it_has(
    given, factor, monkeypatch
):
    monkeypatch.setattr("sigprop_snn.layers.readout._FEATURES", 800)
    config = TrainConfig("digits", network="conv", learning_rate=0.01, layer_rates=given, **SMALL)
    run = TrainingRun.new(config.resolved())
    features = run.network.readout.synapse.in_features
    rates = {name: o.param_groups[0]["lr"] for name, o in run.optimizers.by_layer.items()}
    assert features > 800 and not run.network.readout.plain
    assert rates["block1"] == 0.01
    assert rates["readout"] == pytest.approx(0.01 * factor * 800 / features)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adm"}, "optimizer 'adm'.*'adam'"),
        ({"schedule": "cosin"}, "schedule 'cosin'.*'cosine'"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"layer_rates": {"block9": 1.0}}, "layer.* 'block9'.*block1"),
        ({"layer_rates": {"block1": -1.0}}, "layer_rates of 'block1' is -1.0"),
        ({"save_every": math.inf}, "save_every is inf"),
        ({"validation": 1.0}, "validation is 1.0"),
        ({"patience": 0}, "patience is 0"),
        ({"patience": 3}, "patience is 3 .*'digits'.*--validation"),
    ],
)
def test_a_run_that_cannot_start_leaves_nothing(tmp_path, settings, message):
    with pytest.raises(SigpropError, match=message):
        train(TrainConfig("digits", out=tmp_path / "run", **SMALL | settings), say=quiet)
    assert not (tmp_path / "run").exists()
