"""A data set's recipe decides what a run does not choose; a rule's own settings come before it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sigprop_snn.data import DATASETS, Frames
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.sources import sources_by_name
from sigprop_snn.recipe import Recipe
from sigprop_snn.rules import RULES
from sigprop_snn.training import TrainConfig
from sigprop_snn.training.building import build_network

DEEP = Recipe("conv", epochs=1, steps=2, batch_size=20, sources=2, loss="dot-product+similarity")


@pytest.fixture(autouse=True)
def deep_digits(monkeypatch):
    monkeypatch.setitem(DATASETS, "digits", replace(DATASETS["digits"], recipe=DEEP))


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_makes_a_network_from_a_recipe_with_sources_and_similarity(rule):
    config = TrainConfig("digits", rule=rule).resolved()
    network = build_network(config, (1, 8, 8), 10)
    received = sources_by_name(network.named_blocks())
    own_network = "network" in RULES[rule].recipe
    assert config.sources == (1 if own_network else 2)
    assert max(len(names) for names in received.values()) == config.sources
    uses_loss = rule in ("voltage", "surrogate")
    assert (config.loss == "dot-product+similarity") == uses_loss
    assert bool(list(network.loss_heads.parameters())) == uses_loss


def test_a_runs_own_choice_comes_before_the_recipe():
    config = TrainConfig("digits", sources=1, loss="l2").resolved()
    network = build_network(config, (1, 8, 8), 10)
    assert config.sources == 1
    assert sources_by_name(network.named_blocks())["block3"] == ("block2",)
    assert not list(network.loss_heads.parameters())


def test_a_data_set_may_have_recipes_for_other_networks(monkeypatch):
    other = replace(DEEP, epochs=7, loss="dot-product", sources=1)
    digits = replace(DATASETS["digits"], recipes={"mlp": other})
    monkeypatch.setitem(DATASETS, "digits", digits)
    for network, epochs in ((None, 1), ("conv", 1), ("vgg", 1), ("mlp", 7)):
        config = TrainConfig("digits", network=network).resolved()
        assert (config.network, config.epochs) == (network or "conv", epochs)


def test_a_recipe_sets_the_size_of_the_frames_of_events_but_not_of_data_from_outside():
    assert TrainConfig("nmnist").resolved().frames() == Frames(size=(17, 17))
    assert TrainConfig("nmnist", size="34x34").resolved().frames() == Frames(size=(34, 34))
    assert TrainConfig("nmnist", own_data=True).resolved().frames() is None


@pytest.mark.parametrize("sources", [0, -1])
def test_sources_start_at_one(sources):
    with pytest.raises(SigpropError, match=f"sources is {sources}"):
        TrainConfig("digits", sources=sources).resolved()
