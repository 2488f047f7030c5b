"""The local losses that the command line knows by name."""

from __future__ import annotations

from sigprop_snn.network.goodness import Goodness
from sigprop_snn.network.loss import DotProductLoss, LocalLoss

LOSSES: dict[str, type[LocalLoss]] = {
    "dot-product": DotProductLoss,
    "goodness": Goodness,
}
