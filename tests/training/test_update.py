"""When layers update, and in which precision."""

from __future__ import annotations

import functools
import re

import pytest
import torch

from sigprop_snn.data import DATASETS, Dataset, load
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import SurrogateRule, VoltageRule, learn_in_parts, mlp
from sigprop_snn.recipe import DEFAULT_RECIPE
from sigprop_snn.settings.train_config import TrainConfig
from sigprop_snn.training import LocalOptimizers, evaluate, train


@functools.cache
def accuracy(rule, *, every: int | None = None, bf16: bool = False, rate: float = 2e-3) -> float:
    torch.manual_seed(0)
    data = load("digits", steps=6, batch_size=32, train_samples=600)
    network = mlp(data.shape, 10, hidden=(150,), rule=rule)
    optimizers = LocalOptimizers(network, lambda group: torch.optim.Adam(group, lr=rate))
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        for _ in range(3):
            for x, labels in data.train:
                if every is None:
                    network.learn(x, labels, optimizers.step)
                else:
                    learn_in_parts(network, x, labels, optimizers.step, every)
        return evaluate(network, data.test).accuracy


# Each choice once, and each rule with both: a rule knows of neither. `learn_in_parts` gives it
# shorter inputs, and autocast works below it.
@pytest.mark.parametrize(
    ("rule", "choices"),
    [
        (VoltageRule(), {"every": 1, "rate": 1e-3}),
        (SurrogateRule(), {"every": 3}),
        (SurrogateRule(), {"bf16": True}),
        (VoltageRule(), {"bf16": True, "every": 2}),
    ],
    ids=str,
)
def test_accuracy_does_not_suffer(rule, choices):
    expected = accuracy(rule)
    assert expected > 0.75
    # On a budget this small an update at every step learns more, not less.
    assert accuracy(rule, **choices) > expected - 0.04


def test_a_run_takes_both_settings(tmp_path):
    config = TrainConfig(
        "digits", update="every-3", precision="bf16", epochs=1, train_samples=60, test_samples=20,
        out=tmp_path / "run",
    )  # fmt: skip
    assert train(config, say=lambda _: None).summary["test_accuracy"] >= 0
    assert '"every-3"' in (tmp_path / "run" / "config.json").read_text()


@pytest.mark.parametrize("update", ["every", "every-0", "every-x", "each-2", "every--1"])
def test_an_unknown_update_is_refused(update):
    with pytest.raises(SigpropError, match=re.escape(f"update is {update!r}")):
        TrainConfig("digits", update=update).resolved()


def test_a_data_set_without_a_recipe_takes_the_default_recipe(monkeypatch):
    own = Dataset("a data set", DATASETS["digits"].open)
    monkeypatch.setitem(DATASETS, "own", own)
    config = TrainConfig("own", epochs=3).resolved()
    assert (config.network, config.steps) == (DEFAULT_RECIPE.network, DEFAULT_RECIPE.steps)
    assert config.epochs == 3


def test_a_rate_network_takes_one_step_of_a_static_picture():
    assert TrainConfig("digits", neuron="rate").resolved().steps == 1
    assert TrainConfig("digits", neuron="rate", steps=3).resolved().steps == 3
    assert TrainConfig("digit-events", neuron="rate").resolved().steps == 12
