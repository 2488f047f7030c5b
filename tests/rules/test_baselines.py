"""What all baselines share: they learn, report, update, observe and refuse alike."""

from __future__ import annotations

import copy
import json
import math
from functools import partial

import pytest
import torch

from sigprop_snn.data import load
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import VoltageRule, conv, mlp
from sigprop_snn.neurons import NEURONS, Rate
from sigprop_snn.rules import RULES
from sigprop_snn.rules.passes import layer_graphs
from sigprop_snn.surrogates import Sigmoid
from sigprop_snn.training import LocalOptimizers, TrainConfig, evaluate, train

BASELINES = [
    "backpropagation",
    "feedback-alignment",
    "direct-feedback-alignment",
    "direct-random-target",
    "target-propagation",
    "local-readout",
    "e-prop",
    "ottt",
]
RATE_ONLY = ["target-propagation"]
BOTH = [(name, neuron) for name in BASELINES for neuron in ("lif", "rate")]
CASES = [(name, neuron) for name, neuron in BOTH if neuron == "rate" or name not in RATE_ONLY]


def small(name: str, neuron: str = "lif", kind: str = "mlp"):
    torch.manual_seed(0)
    model, rule = NEURONS[neuron], RULES[name].make
    if name == "direct-random-target" and neuron == "rate":
        model = partial(Rate, surrogate=Sigmoid())  # it needs an activation that saturates
    if kind == "conv":
        return conv((1, 8, 8), 10, channels=(8, 16), kernel=3, neuron=model, rule=rule)
    return mlp((1, 8, 8), 10, hidden=(80, 80), neuron=model, rule=rule)


@pytest.fixture(scope="module")
def digits():
    return {
        steps: load("digits", steps=steps, batch_size=20, train_samples=600, test_samples=200)
        for steps in (1, 5)
    }


@pytest.mark.parametrize(("name", "neuron"), CASES)
def test_it_learns_digits(digits, name, neuron):
    data = digits[1 if neuron == "rate" else 5]
    net = small(name, neuron)
    optimizers = LocalOptimizers(net, lambda weights: torch.optim.Adam(weights, lr=5e-3))
    # Chance is 0.1. The target in place of the error is the weakest of them.
    floor = 0.6 if name == "direct-random-target" else 0.8
    for _ in range(4):
        for x, labels in data.train:
            net.learn(x, labels, optimizers.step)
        accuracy = evaluate(net, data.test).accuracy
        if accuracy > floor:
            break
    assert accuracy > floor


@pytest.mark.parametrize("neuron", ["lif", "rate"])
@pytest.mark.parametrize("name", [name for name in BASELINES if name not in RATE_ONLY])
def test_it_learns_with_feature_maps(digits, name, neuron):
    net = small(name, neuron, "conv")
    optimizers = LocalOptimizers(net, lambda weights: torch.optim.Adam(weights, lr=2e-3))
    x, labels = next(iter(digits[1 if neuron == "rate" else 5].train))
    first = net.learn(x, labels, optimizers.step).layers[-1].loss
    for _ in range(15):
        last = net.learn(x, labels, optimizers.step).layers[-1].loss
    assert last < 0.8 * first


@pytest.mark.parametrize("name", BASELINES)
def test_by_name_from_configuration_to_checkpoint(tmp_path, name):
    trained = train(
        TrainConfig(
            "digits", rule=name, epochs=1, train_samples=40, test_samples=20, out=tmp_path / "run"
        ),
        say=lambda _: None,
    )
    assert math.isfinite(trained.history[0]["loss"])
    assert json.loads((tmp_path / "run" / "config.json").read_text())["rule"] == name
    guesses = [layer["accuracy"] is not None for layer in trained.history[0]["layers"]]
    assert guesses == [name == "local-readout"] * 2
    kept = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["network"]
    assert {key for key in trained.network.state_dict() if key.startswith("rule.")} <= set(kept)


@pytest.mark.parametrize("name", BASELINES)
def test_every_layer_reports_and_is_updated_once(digits, name):
    net = small(name, "rate")
    x, labels = next(iter(digits[1].train))
    told: list[str] = []
    learned = net.learn(x, labels, told.append)
    assert sorted(told) == ["block1", "block2", "readout"]
    assert [layer.name for layer in learned.layers] == ["block1", "block2", "readout"]
    for layer in learned.layers:
        guesses = layer.name == "readout" or name == "local-readout"
        assert (layer.loss is not None) == (layer.correct is not None) == guesses
    assert learned.correct == learned.layers[-1].correct
    learning = [p for n, p in net.named_parameters() if p.requires_grad and "signal" not in n]
    assert all(p.grad is not None for p in learning)
    assert net.signal.projection.grad is None


@pytest.mark.parametrize("name", BASELINES)
def test_an_update_on_the_way_changes_no_other_layers_gradient(digits, name):
    """Layers that are updated at once must not have been needed as they were."""
    x, labels = next(iter(digits[1].train))
    grads = []
    for at_once in (False, True):
        net = small(name, "rate").double()
        groups = net.local_parameters()
        kept: dict[str, list[torch.Tensor]] = {}

        def spoil(layer: str, groups=groups, kept=kept, at_once=at_once) -> None:
            kept[layer] = [p.grad.clone() for p in groups[layer] if p.grad is not None]
            if at_once:
                with torch.no_grad():
                    for p in groups[layer]:
                        p.add_(100.0)

        forward_order = name in ("local-readout", "direct-random-target")
        torch.manual_seed(5)
        net.learn(x.double(), labels, spoil)
        grads.append(kept)
        if forward_order:
            return  # there the next layer runs on what the update left, as it should
    for layer, before in grads[0].items():
        for a, b in zip(before, grads[1][layer], strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize("name", [name for name in BASELINES if name not in RATE_ONLY])
def test_normalisers_observe_what_they_do_under_the_local_rules(digits, name, kind):
    x, labels = next(iter(digits[5].train))
    net, twin = small(name, kind=kind), small("backpropagation", kind=kind)
    twin.rule = VoltageRule()
    for each in (net, twin):
        each.learn(x, labels)
        each.learn(x, labels)
        each.eval().learn(x, labels)
    mine, theirs = ({k: v for k, v in n.blocks.named_buffers()} for n in (net, twin))
    assert len(mine) >= 4
    for key, value in theirs.items():
        assert torch.allclose(mine[key], value, rtol=1e-5, atol=1e-7), key
        assert not key.endswith("batches") or value == 2


@pytest.mark.parametrize("name", BASELINES)
def test_a_frozen_block_keeps_its_weights_and_is_not_updated(digits, name):
    x, labels = next(iter(digits[1].train))
    net = small(name, "rate")
    net.blocks[0].requires_grad_(False)
    told: list[str] = []
    net.learn(x, labels, told.append)
    assert sorted(told) == ["block2", "readout"]
    assert all(p.grad is None for p in net.blocks[0].parameters())
    net.blocks[1].requires_grad_(False)
    net.readout.requires_grad_(False)
    net.learn(x, labels, lambda _: None)


@pytest.mark.parametrize("name", BASELINES)
def test_errors_say_what_was_expected(digits, name):
    x, labels = next(iter(digits[1].train))
    if name != "local-readout":
        net = small(name, "rate")
        net.predict = "context"
        with pytest.raises(SigpropError, match="predicts by 'context'; expected"):
            net.learn(x, labels)
        net.readout = None
        with pytest.raises(SigpropError, match="has no readout; expected"):
            net.learn(x, labels)
    with pytest.raises(SigpropError, match="does not fit block1"):
        small(name, "rate").learn(x[..., :5], labels)
    if name not in ("backpropagation", "ottt"):
        net = small(name, "rate")
        net.blocks.append(copy.deepcopy(net.blocks[1]))
        with pytest.raises(SigpropError, match="made for 2 blocks; the network has 3"):
            net.learn(x, labels)


def test_the_graph_of_a_layer_ends_at_its_input():
    net = small("local-readout")
    outputs = [layer.sent for layer in layer_graphs(net, torch.rand(5, 4, 1, 8, 8))]
    outputs[1].sum().backward()
    first, second = net.blocks[0], net.blocks[1]
    assert second.synapse.weight.grad.abs().max() > 0
    assert all(weight.grad is None for weight in first.parameters())


@pytest.mark.parametrize("name", BASELINES)
def test_its_recipe_and_needs_are_those_of_its_class(name):
    choice = RULES[name]
    assert type(small(name, "rate").rule).needs == choice.needs
    assert TrainConfig("digits", rule=name).resolved().rule == name
    assert choice.neuron == ("rate" if name in RATE_ONLY else None)


def test_shares_may_stand_in_for_labels(digits):
    """Soft targets that are one-hot give what the labels give."""
    x, labels = next(iter(digits[5].train))
    shares = torch.nn.functional.one_hot(labels, 10).float()
    for name in BASELINES:
        if name in RATE_ONLY:
            continue
        grads = []
        for answers in (labels, shares):
            net = small(name)
            net.rule.learn(net, x, answers, None)
            grads.append(net.blocks[0].synapse[1].weight.grad)
        assert torch.allclose(*grads, atol=1e-7), name
