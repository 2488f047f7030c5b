"""Goodness: a layer's mean squared activity as the score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.answers import Answers
from sigprop_snn.arguments import number, one_of, positive
from sigprop_snn.errors import SigpropError
from sigprop_snn.losses.base import LocalLoss

Against = Literal["threshold", "wrong"]
AGAINST: tuple[Against, ...] = ("threshold", "wrong")


@dataclass(frozen=True)
class Goodness(LocalLoss):
    """Make activity high for a sample with its right label, and low with a wrong one.

    The score of a context is `sharpness * G`; the goodness G is the mean over the features of the
    squared activity. Against the "threshold", the loss is half of softplus(sharpness * (threshold
    - G_right)) + softplus(sharpness * (G_wrong - threshold)) (Hinton, arXiv 2212.13345, section
    2). Against the "wrong" context it is softplus(sharpness * (G_wrong - G_right)), which depends
    only on the difference (Lee and Song, arXiv 2303.08418).

    The sample rows are not used: every context is a sample that contains a label.

    Args:
        against: "threshold" or "wrong".
        threshold: the goodness that separates right from wrong.
        sharpness: factor of the goodness in the loss.

    Raises:
        SigpropError: if the sharpness is not positive, or the threshold not finite.
    """

    takes: ClassVar[frozenset[Answers]] = frozenset({"classes"})

    against: Against = "wrong"
    threshold: float = 0.5
    sharpness: float = 30.0

    def __post_init__(self) -> None:
        one_of("against", self.against, AGAINST)
        positive("sharpness of Goodness", self.sharpness)
        number("threshold of Goodness", self.threshold)

    def scores(self, samples: Tensor, contexts: Tensor) -> Tensor:
        """Return the scaled goodness of each sample's contexts, `[B, K]`.

        Raises:
            SigpropError: if the contexts are shared.
        """
        if contexts.dim() != samples.dim() + 1:
            raise SigpropError(
                f"Goodness got contexts of shape {list(contexts.shape)}, shared by all samples; "
                "expected separate contexts for each sample, as from the signal 'label-overlay'"
            )
        return self.sharpness * contexts.flatten(2).square().mean(2)

    def loss(self, scores: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss.

        Args:
            scores: `[B, K]`.
            labels: the column of each sample's right context, `[B]`.
        """
        is_right = F.one_hot(labels, scores.shape[1]).bool()
        right = scores[is_right][:, None]
        wrong = scores[~is_right].view(len(scores), -1)
        if self.against == "wrong":
            return F.softplus(wrong - right).mean()
        level = self.sharpness * self.threshold
        return 0.5 * (F.softplus(level - right).mean() + F.softplus(wrong - level).mean())
