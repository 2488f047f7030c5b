"""Networks that learn in the forward pass: signal, blocks, rules, losses, readout."""

from sigprop_snn.network.binary_loss import BinaryLoss
from sigprop_snn.network.block import Block
from sigprop_snn.network.build import NETWORKS, conv, mlp, vgg8
from sigprop_snn.network.conditioned_context import ConditionedContext
from sigprop_snn.network.contrastive_loss import ContrastiveLoss
from sigprop_snn.network.distance_losses import CosineLoss, L2Loss
from sigprop_snn.network.drawn_context import DrawnContext
from sigprop_snn.network.goodness import Goodness
from sigprop_snn.network.hebbian_loss import HebbianLoss
from sigprop_snn.network.layout import Layout
from sigprop_snn.network.local import LocalRule, SurrogateRule, VoltageRule
from sigprop_snn.network.loss import DotProductLoss, LocalLoss
from sigprop_snn.network.losses import LOSSES
from sigprop_snn.network.network import Network, Predict
from sigprop_snn.network.norm import LengthNorm, RunningNorm, RunningScale
from sigprop_snn.network.online import Online, learn_in_parts
from sigprop_snn.network.overlay import LabelOverlay, wrong_labels
from sigprop_snn.network.pool import HalvingPool
from sigprop_snn.network.readout import Answers, Readout
from sigprop_snn.network.rule import Needs, Rule, Update
from sigprop_snn.network.signal import Entry, ProjectedContext, Signal
from sigprop_snn.network.signals import SIGNALS, multi_label_context, vector_context
from sigprop_snn.network.stage import LayerReport, Learned, Response, Stage, correct
from sigprop_snn.network.synapse import EventLinear
from sigprop_snn.network.vector_context import MultiLabelContext, VectorContext

__all__ = [
    "LOSSES",
    "NETWORKS",
    "SIGNALS",
    "Answers",
    "BinaryLoss",
    "Block",
    "ConditionedContext",
    "ContrastiveLoss",
    "CosineLoss",
    "DotProductLoss",
    "DrawnContext",
    "Entry",
    "EventLinear",
    "Goodness",
    "HalvingPool",
    "HebbianLoss",
    "L2Loss",
    "LabelOverlay",
    "LayerReport",
    "Layout",
    "Learned",
    "LengthNorm",
    "LocalLoss",
    "LocalRule",
    "MultiLabelContext",
    "Needs",
    "Network",
    "Online",
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
    "VectorContext",
    "VoltageRule",
    "conv",
    "correct",
    "learn_in_parts",
    "mlp",
    "multi_label_context",
    "vector_context",
    "vgg8",
    "wrong_labels",
]
