"""Networks that learn in the forward pass: signal, blocks, rules, losses, readout."""

from sigprop_snn.network.block import Block
from sigprop_snn.network.build import NETWORKS, conv, mlp
from sigprop_snn.network.goodness import Goodness
from sigprop_snn.network.layout import Layout
from sigprop_snn.network.local import LocalRule, SurrogateRule, VoltageRule
from sigprop_snn.network.loss import DotProductLoss, LocalLoss
from sigprop_snn.network.losses import LOSSES
from sigprop_snn.network.network import Network, Predict
from sigprop_snn.network.norm import LengthNorm, RunningNorm, RunningScale
from sigprop_snn.network.overlay import LabelOverlay, wrong_labels
from sigprop_snn.network.readout import Readout
from sigprop_snn.network.rule import Needs, Rule, Update
from sigprop_snn.network.signal import Entry, ProjectedContext, Signal
from sigprop_snn.network.signals import SIGNALS
from sigprop_snn.network.stage import LayerReport, Learned, Response, Stage, correct
from sigprop_snn.network.synapse import EventLinear

__all__ = [
    "LOSSES",
    "NETWORKS",
    "SIGNALS",
    "Block",
    "DotProductLoss",
    "Entry",
    "EventLinear",
    "Goodness",
    "LabelOverlay",
    "LayerReport",
    "Layout",
    "Learned",
    "LengthNorm",
    "LocalLoss",
    "LocalRule",
    "Needs",
    "Network",
    "Predict",
    "ProjectedContext",
    "Readout",
    "Response",
    "Rule",
    "RunningNorm",
    "RunningScale",
    "Signal",
    "Stage",
    "SurrogateRule",
    "Update",
    "VoltageRule",
    "conv",
    "correct",
    "mlp",
    "wrong_labels",
]
