"""Learning rules by name: signal propagation, related rules, and baselines."""

from sigprop_snn.rules.backpropagation import Backpropagation
from sigprop_snn.rules.catalogue import RULES, RuleChoice
from sigprop_snn.rules.circuits import Generator, LatentPrior
from sigprop_snn.rules.direct_feedback import DirectFeedbackAlignment, DirectRandomTarget
from sigprop_snn.rules.eprop import EProp
from sigprop_snn.rules.feedback_alignment import FeedbackAlignment
from sigprop_snn.rules.forward_forward import ForwardForward
from sigprop_snn.rules.local_readout import LocalReadout
from sigprop_snn.rules.ottt import OnlineThroughTime
from sigprop_snn.rules.predictive_forward_forward import PredictiveForwardForward
from sigprop_snn.rules.signal_propagation import SignalPropagation
from sigprop_snn.rules.surrogate import SurrogateRule
from sigprop_snn.rules.target_propagation import TargetPropagation
from sigprop_snn.rules.voltage import VoltageRule

__all__ = [
    "RULES",
    "Backpropagation",
    "DirectFeedbackAlignment",
    "DirectRandomTarget",
    "EProp",
    "FeedbackAlignment",
    "ForwardForward",
    "Generator",
    "LatentPrior",
    "LocalReadout",
    "OnlineThroughTime",
    "PredictiveForwardForward",
    "RuleChoice",
    "SignalPropagation",
    "SurrogateRule",
    "TargetPropagation",
    "VoltageRule",
]
