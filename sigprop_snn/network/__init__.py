"""Networks that learn in the forward pass: signal, blocks, rules, losses, readout."""

from sigprop_snn.network.block import Block
from sigprop_snn.network.build import NETWORKS, conv, mlp
from sigprop_snn.network.loss import LOSSES, DotProductLoss, LocalLoss
from sigprop_snn.network.network import LayerReport, Learned, Network, Predict, Stage, correct
from sigprop_snn.network.norm import RunningNorm, RunningScale
from sigprop_snn.network.readout import Readout
from sigprop_snn.network.rule import RULES, Response, Rule, SurrogateRule, VoltageRule
from sigprop_snn.network.signal import SIGNALS, ProjectedContext
from sigprop_snn.network.synapse import EventLinear

__all__ = [
    "LOSSES",
    "NETWORKS",
    "RULES",
    "SIGNALS",
    "Block",
    "DotProductLoss",
    "EventLinear",
    "LayerReport",
    "Learned",
    "LocalLoss",
    "Network",
    "Predict",
    "ProjectedContext",
    "Readout",
    "Response",
    "Rule",
    "RunningNorm",
    "RunningScale",
    "Stage",
    "SurrogateRule",
    "VoltageRule",
    "conv",
    "correct",
    "mlp",
]
