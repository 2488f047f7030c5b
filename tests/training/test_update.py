"""When layers update, and how exact the products are, as choices of a run."""

from __future__ import annotations

import pytest

from sigprop_snn.config import TrainConfig
from sigprop_snn.errors import SigpropError
from sigprop_snn.training import train


def accuracy(tmp_path, **choices) -> float:
    config = TrainConfig("digits", epochs=3, steps=6, train_samples=600, out=tmp_path, **choices)
    return float(train(config, say=lambda _: None).summary["test_accuracy"])


@pytest.mark.parametrize(
    "choices",
    [
        {"update": "every-step", "learning_rate": 1e-3},
        {"update": "every-3"},
        {"precision": "bf16"},
        {"precision": "bf16", "rule": "surrogate"},
    ],
    ids=str,
)
def test_accuracy_does_not_suffer(tmp_path, choices):
    plain = {k: v for k, v in choices.items() if k == "rule"}
    expected = accuracy(tmp_path / "plain", **plain)
    assert expected > 0.85
    # On a budget this small an update at every step learns more, not less.
    assert accuracy(tmp_path / "other", **choices) > expected - 0.04


@pytest.mark.parametrize("update", ["every", "every-0", "every-x", "each-2", "every--1"])
def test_an_update_that_makes_no_sense_is_refused(update):
    with pytest.raises(SigpropError, match="expected 'sample', 'every-step'"):
        TrainConfig("digits", update=update).resolved()


def test_a_rate_network_takes_one_step_of_a_static_picture():
    assert TrainConfig("digits", neuron="rate").resolved().steps == 1
    assert TrainConfig("digits", neuron="rate", steps=3).resolved().steps == 3
    assert TrainConfig("digit-events", neuron="rate").resolved().steps == 12
