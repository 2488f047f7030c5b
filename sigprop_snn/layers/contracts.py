"""What layers and rules report of a pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from sigprop_snn.neurons.engines import Run

Update = Callable[[str], object]
"""Takes the name of a layer as soon as the layer's gradient exists."""


@dataclass(frozen=True)
class Needs:
    """What a rule asks of the machine that learns.

    Attributes:
        backward_pass: whether an error travels back through the layers.
        symmetric_weights: whether it travels through the forward weights, transposed.
        feedback_weights: whether there are weights for it alone.
        stored_activations: whether activity is kept until it comes: of all "layers", all "steps"
            of one layer, or "both"; "" where nothing waits.
    """

    backward_pass: bool = False
    symmetric_weights: bool = False
    feedback_weights: bool = False
    stored_activations: str = ""


class Response(NamedTuple):
    """How a block responds to its input.

    Attributes:
        run: spikes and voltages, without a gradient.
        representation: what the loss compares, `[N, ...]`; its gradient reaches this block's
            weights (and the signal's, in the first block) and nothing else. None under a rule
            that compares nothing here.
    """

    run: Run
    representation: Tensor | None = None


class Stage(NamedTuple):
    """One layer's part in a pass.

    Attributes:
        name: "block1" for the first block, "readout" for the readout.
        scores: how near each sample is to each class here, `[B, C]`; None where a layer does not
            predict. While learning with contexts for each sample, `[B, K]`.
        loss: the local loss, if labels were given and the layer has one.
        response: a block's spikes and voltages, samples first, then contexts; None for the
            readout.
        targets: what the scores were compared with, if labels were given: columns `[B]`, or
            fractions `[B, M]`.
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
        loss: its loss, if it has one.
        correct: how many samples it alone would have classified right, if it predicts.
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
