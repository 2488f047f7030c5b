"""The rules of the command line, by name, each with the signal, loss and recipe it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sigprop_snn.layers.block import LayerRule
from sigprop_snn.layers.contracts import Needs
from sigprop_snn.layers.rule import Rule
from sigprop_snn.predict import Predict
from sigprop_snn.recipe import Recipe
from sigprop_snn.rules.backpropagation import Backpropagation
from sigprop_snn.rules.direct_feedback import DirectFeedbackAlignment, DirectRandomTarget
from sigprop_snn.rules.eprop import EProp
from sigprop_snn.rules.error_forward import ErrorForward
from sigprop_snn.rules.feedback_alignment import FeedbackAlignment
from sigprop_snn.rules.forward_forward import ForwardForward
from sigprop_snn.rules.hebbian import Hebbian
from sigprop_snn.rules.local_readout import LocalReadout
from sigprop_snn.rules.ottt import OnlineThroughTime
from sigprop_snn.rules.predictive_forward_forward import PredictiveForwardForward
from sigprop_snn.rules.surrogate import SurrogateRule
from sigprop_snn.rules.target_propagation import TargetPropagation
from sigprop_snn.rules.voltage import VoltageRule
from sigprop_snn.shapes import Layout


@dataclass(frozen=True)
class RuleChoice:
    """A rule with its defaults.

    Attributes:
        about: a description of one line.
        make: makes the rule for a network's layout.
        needs: the rule's demands on hardware.
        signal: the rule's learning signal, a name in `SIGNALS`.
        loss: the rule's local loss, a name in `LOSSES`; None is the data set's.
        predict: how the network predicts, if the rule decides it.
        neuron: the rule's neuron, a name in `NEURONS`; None accepts any.
        recipe: settings that replace the data set's, by their names in `TrainConfig`.
        options: arguments for the function that makes the network, for example the normaliser.
        ignores: choices of `TrainConfig` without an effect under the rule: "signal" (but a label
            written over the sample changes the sample), "loss", "surrogate" (but the activity of a
            rate neuron is its surrogate's).
    """

    about: str
    make: Callable[[Layout], Rule | LayerRule]
    needs: Needs
    signal: str = "context"
    loss: str | None = None
    predict: Predict | None = None
    neuron: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    ignores: tuple[str, ...] = ()

    def loss_of(self, recipe: Recipe) -> str:
        """Return the local loss for a data set with this recipe, a name in `LOSSES`."""
        if self.loss is not None:
            return self.loss
        # A loss without an effect must not give the network weights of its own.
        return Recipe.loss if "loss" in self.ignores else recipe.loss


# These rules compare nothing with a context: the target enters at the readout.
_READOUT_ONLY = ("signal", "loss")

RULES: dict[str, RuleChoice] = {
    "voltage": RuleChoice(
        "Signal propagation from the membrane voltage alone",
        lambda layout: VoltageRule(),
        VoltageRule.needs,
        ignores=("surrogate",),
    ),
    "surrogate": RuleChoice(
        "Signal propagation through the surrogate, attached before the spike",
        lambda layout: SurrogateRule(),
        SurrogateRule.needs,
    ),
    "forward-forward": RuleChoice(
        "Forward-Forward: the goodness of samples with the right label against a wrong label",
        lambda layout: ForwardForward(),
        ForwardForward.needs,
        signal="label-overlay",
        loss="goodness",
        predict="vote",
        neuron="rate",
        recipe={"network": "mlp", "sources": 1, "steps": 1, "epochs": 15},
        options={"norm": "length", "gain": 1.0},
    ),
    "spiking-forward-forward": RuleChoice(
        "Forward-Forward on spiking layers: the goodness of the mean membrane voltage",
        lambda layout: ForwardForward(by=VoltageRule()),
        ForwardForward.needs,
        signal="label-overlay",
        loss="goodness",
        predict="vote",
        neuron="lif",
        recipe={"network": "mlp", "sources": 1, "steps": 6, "epochs": 8},
        options={"norm": "length", "gain": 0.5},
        ignores=("surrogate",),
    ),
    "predictive-forward-forward": RuleChoice(
        "Predictive Forward-Forward: a circuit that represents and one that generates",
        PredictiveForwardForward,
        PredictiveForwardForward.needs,
        loss="goodness",
        predict="vote",
        neuron="rate",
        recipe={"network": "mlp", "sources": 1, "steps": 1, "epochs": 6},
        options={"hidden": (500, 500), "norm": "length", "gain": 1.0},
        ignores=("signal",),
    ),
    "error-forward": RuleChoice(
        "Error forward-propagation: the output's error enters the front in a second pass",
        ErrorForward,
        ErrorForward.needs,
        neuron="hard-rate",
        recipe={"network": "mlp", "sources": 1, "steps": 1, "epochs": 12, "batch_size": 64},
        options={"gain": 1.0},
        ignores=_READOUT_ONLY,
    ),
    "hebbian": RuleChoice(
        "Contrastive Hebbian learning of leaky rates, without a gradient",
        Hebbian,
        Hebbian.needs,
        predict="vote",
        neuron="leaky-rate",
        recipe={"network": "mlp", "sources": 1, "steps": 8, "epochs": 10, "batch_size": 64},
        options={"gain": 1.0},
        ignores=_READOUT_ONLY,
    ),
    "error-forward-relaxing": RuleChoice(
        "Error forward-propagation in continuous time: the output always loops to the front",
        lambda layout: Hebbian(layout, carries="output"),
        Hebbian.needs,
        predict="vote",
        neuron="leaky-rate",
        recipe={"network": "mlp", "sources": 1, "steps": 8, "epochs": 10, "batch_size": 64},
        options={"gain": 1.0},
        ignores=_READOUT_ONLY,
    ),
    "backpropagation": RuleChoice(
        "Backpropagation (through time), spikes by their surrogate derivative",
        lambda layout: Backpropagation(),
        Backpropagation.needs,
        ignores=_READOUT_ONLY,
    ),
    "feedback-alignment": RuleChoice(
        "Backpropagation with fixed random weights on the way back",
        FeedbackAlignment,
        FeedbackAlignment.needs,
        ignores=_READOUT_ONLY,
    ),
    "direct-feedback-alignment": RuleChoice(
        "The output error sent by fixed random weights straight to every block",
        DirectFeedbackAlignment,
        DirectFeedbackAlignment.needs,
        ignores=_READOUT_ONLY,
    ),
    "direct-random-target": RuleChoice(
        "The target sent by fixed random weights straight to every block (DRTP)",
        DirectRandomTarget,
        DirectRandomTarget.needs,
        ignores=_READOUT_ONLY,
    ),
    "target-propagation": RuleChoice(
        "Difference target propagation: targets travel back by learned inverses",
        TargetPropagation,
        TargetPropagation.needs,
        neuron="rate",
        recipe={"steps": 1, "network": "mlp", "sources": 1, "learning_rate": 1e-3},
        ignores=_READOUT_ONLY,
    ),
    "local-readout": RuleChoice(
        "A fixed random readout at every block and its local error (DECOLLE)",
        LocalReadout,
        LocalReadout.needs,
        ignores=_READOUT_ONLY,
    ),
    "e-prop": RuleChoice(
        "Eligibility traces times a learning signal sent by fixed random weights",
        EProp,
        EProp.needs,
        ignores=_READOUT_ONLY,
    ),
    "ottt": RuleChoice(
        "Backpropagation within each step, over presynaptic traces (OTTT)",
        lambda layout: OnlineThroughTime(),
        OnlineThroughTime.needs,
        ignores=_READOUT_ONLY,
    ),
}
