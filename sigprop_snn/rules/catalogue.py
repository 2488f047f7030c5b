"""The rules that the command line knows by name, each with what else it needs to be itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sigprop_snn.network import Layout, Needs, Predict, Rule, SurrogateRule, VoltageRule
from sigprop_snn.rules.error_forward import ErrorForward
from sigprop_snn.rules.hebbian import Hebbian


@dataclass(frozen=True)
class RuleChoice:
    """A rule by name.

    Attributes:
        about: what it is, in one line.
        make: makes the rule for a network's layout.
        needs: what it asks of the machine that learns.
        signal: the learning signal it is defined with, a name in `SIGNALS`.
        loss: the local loss it is defined with, a name in `LOSSES`.
        predict: how its network predicts, where that is part of the rule.
        neuron: the neuron it is defined with, a name in `NEURONS`; None where any will do.
        recipe: where its recipe differs from the data set's, by the names of `TrainConfig`.
        options: what it asks of the network's maker, such as the normaliser.
    """

    about: str
    make: Callable[[Layout], Rule]
    needs: Needs
    signal: str = "context"
    loss: str = "dot-product"
    predict: Predict | None = None
    neuron: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


RULES: dict[str, RuleChoice] = {
    "voltage": RuleChoice(
        "Signal propagation from the membrane voltage alone",
        lambda layout: VoltageRule(),
        VoltageRule.needs,
    ),
    "surrogate": RuleChoice(
        "Signal propagation through the surrogate, attached before the spike",
        lambda layout: SurrogateRule(),
        SurrogateRule.needs,
    ),
    "error-forward": RuleChoice(
        "Error forward-propagation: the output's error looped to the front, a second pass forward",
        ErrorForward,
        ErrorForward.needs,
        neuron="hard-rate",
        recipe={"network": "mlp", "steps": 1, "epochs": 12, "batch_size": 64},
        options={"gain": 1.0},
    ),
    "hebbian": RuleChoice(
        "Leaky rates relax under a target loop and learn by contrastive Hebb, without a gradient",
        Hebbian,
        Hebbian.needs,
        predict="vote",
        neuron="leaky-rate",
        recipe={"network": "mlp", "steps": 8, "epochs": 10, "batch_size": 64},
        options={"gain": 1.0},
    ),
    "error-forward-relaxing": RuleChoice(
        "Error forward-propagation in continuous time: the output always loops to the front",
        lambda layout: Hebbian(layout, carries="output"),
        Hebbian.needs,
        predict="vote",
        neuron="leaky-rate",
        recipe={"network": "mlp", "steps": 8, "epochs": 10, "batch_size": 64},
        options={"gain": 1.0},
    ),
}
