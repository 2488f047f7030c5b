"""The local losses that the command line accepts by name."""

from __future__ import annotations

from collections.abc import Callable

from sigprop_snn.answers import Answers
from sigprop_snn.losses.base import LocalLoss, WeightedSum
from sigprop_snn.losses.binary import BinaryLoss
from sigprop_snn.losses.contrastive import ContrastiveLoss
from sigprop_snn.losses.distance import CosineLoss, L2Loss
from sigprop_snn.losses.dot_product import DotProductLoss
from sigprop_snn.losses.goodness import Goodness
from sigprop_snn.losses.hebbian import HebbianLoss
from sigprop_snn.losses.selection import Maxima, RandomMaximum, TopK
from sigprop_snn.losses.similarity_matching import Similarity


def default_loss(answers: Answers) -> LocalLoss:
    """Return the default loss for a kind of answer."""
    return BinaryLoss() if answers == "labels" else DotProductLoss()


def maxima() -> DotProductLoss:
    """Dot products; the targets are all contexts most similar to the right one at the input."""
    return DotProductLoss(select=Maxima())


def random_maximum() -> DotProductLoss:
    """Dot products; the target is a random one of the contexts that `maxima` selects."""
    return DotProductLoss(select=RandomMaximum())


def top_k() -> DotProductLoss:
    """Dot products; soft targets, the contexts most similar to the right one at the input."""
    return DotProductLoss(select=TopK())


def with_similarity() -> WeightedSum:
    """Dot products on a grid of 4; samples of one class become similar, others dissimilar."""
    return DotProductLoss(grid=4) + 10 * Similarity()


def one_of_many() -> BinaryLoss:
    """Binary cross-entropy of every context; for about ten contexts, one of them right."""
    return BinaryLoss(offset=0.3)


#: Each function makes a loss with settings chosen by measurement.
LOSSES: dict[str, Callable[[], LocalLoss]] = {
    "dot-product": DotProductLoss,
    "maxima": maxima,
    "random-maximum": random_maximum,
    "top-k": top_k,
    "dot-product+similarity": with_similarity,
    "l2": L2Loss,
    "cosine": CosineLoss,
    "contrastive": ContrastiveLoss,
    "hebbian": HebbianLoss,
    "binary": one_of_many,
    "goodness": Goodness,
}
