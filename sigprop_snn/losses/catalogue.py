"""The local losses that the command line knows by name."""

from __future__ import annotations

from collections.abc import Callable

from sigprop_snn.answers import Answers
from sigprop_snn.losses.base import LocalLoss
from sigprop_snn.losses.binary import BinaryLoss
from sigprop_snn.losses.contrastive import ContrastiveLoss
from sigprop_snn.losses.distance import CosineLoss, L2Loss
from sigprop_snn.losses.dot_product import DotProductLoss
from sigprop_snn.losses.goodness import Goodness
from sigprop_snn.losses.hebbian import HebbianLoss
from sigprop_snn.losses.selection import Maxima, RandomMaximum, TopK


def default_loss(answers: Answers) -> LocalLoss:
    """Return the loss for a kind of answer where nothing else is said."""
    return BinaryLoss() if answers == "labels" else DotProductLoss()


def maxima() -> DotProductLoss:
    """Dot products; the targets are all contexts that come in as the right one does."""
    return DotProductLoss(select=Maxima())


def random_maximum() -> DotProductLoss:
    """Dot products; the target is a random one of those contexts."""
    return DotProductLoss(select=RandomMaximum())


def top_k() -> DotProductLoss:
    """Dot products; soft targets from the contexts that come in most like the right one."""
    return DotProductLoss(select=TopK())


def one_of_many() -> BinaryLoss:
    """Binary cross-entropy for every context alone, where one of about ten is right."""
    return BinaryLoss(offset=0.3)


#: Every entry makes a loss with its measured defaults.
LOSSES: dict[str, Callable[[], LocalLoss]] = {
    "dot-product": DotProductLoss,
    "maxima": maxima,
    "random-maximum": random_maximum,
    "top-k": top_k,
    "l2": L2Loss,
    "cosine": CosineLoss,
    "contrastive": ContrastiveLoss,
    "hebbian": HebbianLoss,
    "binary": one_of_many,
    "goodness": Goodness,
}
