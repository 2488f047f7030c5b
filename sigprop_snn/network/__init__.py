"""Networks that learn in the forward pass, with everything that they are made of."""

from sigprop_snn.answers import Answers
from sigprop_snn.layers.block import Block, LayerRule
from sigprop_snn.layers.contracts import LayerReport, Learned, Needs, Response, Stage, Update
from sigprop_snn.layers.layout import layout_of
from sigprop_snn.layers.norm import LengthNorm, RunningNorm, RunningScale
from sigprop_snn.layers.readout import Readout
from sigprop_snn.layers.rule import LearningNetwork, Rule
from sigprop_snn.layers.scoring import correct
from sigprop_snn.layers.sources import Sources
from sigprop_snn.losses.base import LocalLoss, WeightedSum
from sigprop_snn.losses.binary import BinaryLoss
from sigprop_snn.losses.catalogue import LOSSES
from sigprop_snn.losses.contrastive import ContrastiveLoss
from sigprop_snn.losses.distance import CosineLoss, L2Loss
from sigprop_snn.losses.dot_product import DotProductLoss
from sigprop_snn.losses.goodness import Goodness
from sigprop_snn.losses.hebbian import HebbianLoss
from sigprop_snn.losses.selection import Label, Maxima, RandomMaximum, TopK, TopSamples
from sigprop_snn.losses.similarity_matching import Similarity
from sigprop_snn.network.builders import NETWORKS, conv, mlp, nir_conv, vgg, vgg8
from sigprop_snn.network.network import Network
from sigprop_snn.network.online import Online, learn_in_parts
from sigprop_snn.network.snntorch_models import from_snntorch
from sigprop_snn.neurons.pooling import HalvingPool
from sigprop_snn.predict import Predict
from sigprop_snn.rules.signal_propagation import SignalPropagation
from sigprop_snn.rules.surrogate import SurrogateRule
from sigprop_snn.rules.voltage import VoltageRule
from sigprop_snn.shapes import Layout
from sigprop_snn.signals.base import Entry, ProjectedContext, Signal
from sigprop_snn.signals.catalogue import SIGNALS, multi_label_context, vector_context
from sigprop_snn.signals.conditioned_context import ConditionedContext
from sigprop_snn.signals.drawn_context import DrawnContext
from sigprop_snn.signals.label_overlay import LabelOverlay, wrong_labels
from sigprop_snn.signals.vector_context import MultiLabelContext, VectorContext

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
    "Goodness",
    "HalvingPool",
    "HebbianLoss",
    "L2Loss",
    "Label",
    "LabelOverlay",
    "LayerReport",
    "LayerRule",
    "Layout",
    "Learned",
    "LearningNetwork",
    "LengthNorm",
    "LocalLoss",
    "Maxima",
    "MultiLabelContext",
    "Needs",
    "Network",
    "Online",
    "Predict",
    "ProjectedContext",
    "RandomMaximum",
    "Readout",
    "Response",
    "Rule",
    "RunningNorm",
    "RunningScale",
    "Signal",
    "SignalPropagation",
    "Similarity",
    "Sources",
    "Stage",
    "SurrogateRule",
    "TopK",
    "TopSamples",
    "Update",
    "VectorContext",
    "VoltageRule",
    "WeightedSum",
    "conv",
    "correct",
    "from_snntorch",
    "layout_of",
    "learn_in_parts",
    "mlp",
    "multi_label_context",
    "nir_conv",
    "vector_context",
    "vgg",
    "vgg8",
    "wrong_labels",
]
