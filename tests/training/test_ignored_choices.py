"""A choice without an effect is named; the catalogue of rules knows which choices those are."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch

from sigprop_snn.network import mlp
from sigprop_snn.neurons import NEURONS
from sigprop_snn.rules import RULES
from sigprop_snn.settings.train_config import TrainConfig
from sigprop_snn.training.building import build_network, warn_of_ignored

SHAPE, CLASSES = (1, 8, 8), 4


def configured(rule: str, **choices: str) -> TrainConfig:
    network = RULES[rule].recipe.get("network", "mlp")
    config = TrainConfig("digits", rule=rule, network=network, device="cpu", **choices)
    return replace(config.resolved(), steps=3)


def gradients_of(rule: str, **choices: str) -> dict[str, torch.Tensor]:
    """Return the gradients after a batch; all weights but the signal's are the same each time."""
    network = build_network(configured(rule, **choices), SHAPE, CLASSES)
    drawn = torch.Generator().manual_seed(1)
    for name, values in (*network.named_parameters(), *network.named_buffers()):
        is_weight = values.dim() > 1 or name.endswith("bias")
        if is_weight and name.startswith(("blocks", "readout", "rule")):
            with torch.no_grad():
                values.copy_(0.3 * torch.randn(values.shape, generator=drawn))
    x = torch.rand(3, 8, *SHAPE, generator=drawn)
    torch.manual_seed(5)  # some rules draw labels
    network.learn(x, torch.arange(8) % CLASSES)
    return {
        name: p.grad
        for name, p in network.named_parameters()
        if p.grad is not None and name.startswith(("blocks", "readout", "rule"))
    }


def differ(rule: str, one: dict[str, str], other: dict[str, str]) -> bool:
    a, b = gradients_of(rule, **one), gradients_of(rule, **other)
    return a.keys() != b.keys() or any(not torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("rule", RULES)
def test_the_surrogate_has_an_effect_as_the_catalogue_says(rule):
    found = differ(rule, {"surrogate": "arctan"}, {"surrogate": "rectangle"})
    assert found == ("surrogate" not in RULES[rule].ignores)


@pytest.mark.parametrize("rule", RULES)
def test_the_loss_has_an_effect_as_the_catalogue_says(rule):
    if RULES[rule].loss == "goodness":  # no other loss takes these signals
        assert "loss" not in RULES[rule].ignores
        return
    found = differ(rule, {"loss": "dot-product"}, {"loss": "l2"})
    assert found == ("loss" not in RULES[rule].ignores)


@pytest.mark.parametrize("rule", RULES)
def test_the_signal_has_an_effect_as_the_catalogue_says(rule):
    if RULES[rule].signal == "label-overlay":  # the rule needs it
        assert "signal" not in RULES[rule].ignores
        return
    found = differ(rule, {"signal": "context"}, {"signal": "drawn-context"})
    assert found == ("signal" not in RULES[rule].ignores)


@pytest.mark.filterwarnings("ignore:.*has no fixed linear filter")
@pytest.mark.filterwarnings("ignore:.*gives no gradient to .*log_threshold")
@pytest.mark.parametrize("neuron", NEURONS)
def test_under_the_voltage_rule_only_graded_neurons_use_the_surrogate(neuron):
    graded = build_network(configured("voltage", neuron=neuron), SHAPE, CLASSES).blocks[0]
    found = differ(
        "voltage",
        {"neuron": neuron, "surrogate": "arctan"},
        {"neuron": neuron, "surrogate": "rectangle"},
    )
    assert found == graded.neuron.graded


def warned(rule: str, **choices: str) -> list[str]:
    config = configured(rule, **choices)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        warn_of_ignored(config, build_network(config, SHAPE, CLASSES))
    return [str(warning.message) for warning in found]


CASES = {
    "surrogate": ("voltage", {"surrogate": "arctan"}, "'arctan'", "'voltage'"),
    "loss": ("backpropagation", {"loss": "l2"}, "'l2'", "'backpropagation'"),
    "signal": ("e-prop", {"signal": "fixed-context"}, "'fixed-context'", "'e-prop'"),
}


@pytest.mark.parametrize("choice", CASES)
def test_a_run_names_a_choice_without_an_effect(choice):
    rule, given, value, place = CASES[choice]
    (message,) = warned(rule, **given)
    assert choice in message and value in message and place in message


@pytest.mark.parametrize(
    ("rule", "choices"),
    [(rule, {}) for rule in RULES]
    + [
        ("surrogate", {"surrogate": "arctan"}),
        ("voltage", {"surrogate": "arctan", "neuron": "rate"}),
        ("backpropagation", {"signal": "label-overlay", "loss": "dot-product"}),
        ("voltage", {"loss": "l2", "signal": "fixed-context"}),
    ],
)
def test_a_run_is_silent_about_choices_with_an_effect_and_about_defaults(rule, choices):
    assert warned(rule, **choices) == []


def test_the_resolved_settings_of_a_run_are_no_choices():
    """A finished run's config.json names every default."""
    for rule in RULES:
        config = configured(rule)
        choices = {"signal": config.signal, "loss": config.loss, "neuron": config.neuron}
        assert warned(rule, **choices) == []


@pytest.mark.parametrize(
    ("given", "value"), [({"loss": "l2"}, "l2"), ({"signal": "fixed-context"}, "fixed-context")]
)
def test_a_builder_names_a_part_without_an_effect_under_a_rule_by_name(given, value):
    with pytest.warns(UserWarning, match=rf"{value}.*backpropagation"):
        mlp((4,), 3, hidden=5, rule="backpropagation", **given)
