"""What a layer reports of a pass, and how answers are counted."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sigprop_snn.neurons import Run


class Response(NamedTuple):
    """How a block responds to its input.

    Attributes:
        run: spikes and voltages, without a gradient.
        representation: what the loss compares, `[N, ...]`; its gradient reaches this block's
            weights (and the signal's, in the first block) and nothing else. None under a rule
            that compares nothing here.
    """

    run: Run
    representation: Tensor | None


class Stage(NamedTuple):
    """One layer's part in a forward pass with the contexts riding along.

    Attributes:
        name: "block1" for the first block, "readout" for the readout.
        scores: how near each sample is to each class here, `[B, C]`; None where a layer makes no
            guess of its own. While learning with contexts of each sample's own, `[B, K]`.
        loss: the local loss, if labels were given and the layer has one.
        response: a block's spikes and voltages, samples first, contexts behind them; the readout
            has none.
        targets: what the scores were compared with, if labels were given: columns `[B]`, or
            shares `[B, M]`.
    """

    name: str
    scores: Tensor | None
    loss: Tensor | None
    response: Response | None
    targets: Tensor | None = None


class LayerReport(NamedTuple):
    """How one layer did on a batch.

    Attributes:
        name: "block1" for the first block; the readout is "readout".
        loss: its loss, if it has one of its own.
        correct: how many samples it alone would have got right, if it makes a guess.
    """

    name: str
    loss: float | None
    correct: int | None


class Learned(NamedTuple):
    """What a learning pass reports.

    Attributes:
        layers: every layer in order.
        scores: the network's own, `[B, C]`.
        correct: how many samples the network got right.
    """

    layers: list[LayerReport]
    scores: Tensor
    correct: int


def correct(scores: Tensor, labels: Tensor) -> Tensor:
    """Return which samples are classified rightly, `[B]`, for scores `[B, C]`.

    A tie for the highest score never counts, so that a silent network scores nothing.
    """
    if scores.shape[1] < 2:  # one value: nothing to be told apart
        return torch.zeros_like(labels, dtype=torch.bool)
    own = scores.gather(1, labels[:, None])
    # Whatever is not below it stands beside it, and so does NaN.
    return (~(scores < own)).sum(1) == 1


def hits(scores: Tensor, targets: Tensor) -> int:
    """Return how many samples score highest where their target is: a column, or the largest share.

    Where several contexts have that share, one of them is enough. Of values it says nothing.
    """
    if not targets.is_floating_point():
        return int(correct(scores, targets).sum())
    best = scores.argmax(dim=1)
    right = targets.gather(1, best[:, None]).squeeze(1) == targets.amax(dim=1)
    return int((correct(scores, best) & right).sum())
