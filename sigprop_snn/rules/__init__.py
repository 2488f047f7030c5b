"""Learning rules by name: signal propagation, its family, and the baselines beside it."""

from sigprop_snn.rules.catalogue import RULES, RuleChoice
from sigprop_snn.rules.circuits import Generator, LatentPrior
from sigprop_snn.rules.forward_forward import ForwardForward
from sigprop_snn.rules.predictive_forward_forward import PredictiveForwardForward

__all__ = [
    "RULES",
    "ForwardForward",
    "Generator",
    "LatentPrior",
    "PredictiveForwardForward",
    "RuleChoice",
]
