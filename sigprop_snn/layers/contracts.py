"""What layers and rules report of a pass."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sigprop_snn.losses.base import Compared
from sigprop_snn.neurons.engines import Run
from sigprop_snn.neurons.engines.late import raise_late

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
            that compares nothing here, or that gives the loss itself.
        compared: the scores and the loss, where they come with the run.
        backward: where the loss has no graph, leaves its gradient in the parameters' `.grad`, and
            returns whether a parameter learns.
    """

    run: Run
    representation: Tensor | None = None
    compared: Compared | None = None
    backward: Callable[[], bool] | None = None


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

    def backward(self) -> bool:
        """Leave the gradient of the loss in the parameters' `.grad`; return whether one learns."""
        if self.response is not None and self.response.backward is not None:
            return self.response.backward()
        if self.loss is None or not self.loss.requires_grad:
            return False
        self.loss.backward()  # type: ignore[no-untyped-call]
        return True


class LayerReport:
    """How one layer did on a batch.

    On a GPU, reading a result waits for the batch. A program that reads none of them, or not after
    every batch, lets the GPU work ahead.

    Args:
        name: "block1" for the first block; the readout is "readout".
        loss: its loss, if it has one.
        correct: how many samples it alone would have classified right, if it predicts.
    """

    def __init__(
        self, name: str, loss: Tensor | float | None = None, correct: Tensor | int | None = None
    ) -> None:
        self.name = name
        self._loss = loss
        self._correct = correct

    @property
    def loss(self) -> float | None:
        """Its loss, if it has one."""
        return None if self._loss is None else float(read(self._loss))

    @property
    def correct(self) -> int | None:
        """How many samples it alone would have classified right, if it predicts."""
        return None if self._correct is None else int(read(self._correct))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LayerReport):
            return NotImplemented
        mine, theirs = ((r.name, r.loss, r.correct) for r in (self, other))
        return mine == theirs

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"LayerReport(name={self.name!r}, loss={self.loss}, correct={self.correct})"


class Learned:
    """What a learning pass reports. Reading a count waits for the batch, as in `LayerReport`.

    Args:
        layers: every layer in order.
        scores: the network's own, `[B, C]`.
        correct: how many samples the network got right.
    """

    def __init__(self, layers: list[LayerReport], scores: Tensor, correct: Tensor | int) -> None:
        self.layers = layers
        self.scores = scores
        self._correct = correct

    @property
    def correct(self) -> int:
        """How many samples the network got right."""
        return int(read(self._correct))

    def results(self) -> tuple[Tensor, list[str]]:
        """Return a copy of the results, without waiting for the batch.

        Returns:
            The number of correct samples and the losses, float64 on the device of the scores; and
            the names of the layers that the losses are of.
        """
        losses = {layer.name: layer._loss for layer in self.layers if layer._loss is not None}
        results = [
            torch.as_tensor(result, dtype=torch.float64, device=self.scores.device).reshape(())
            for result in (self._correct, *losses.values())
        ]
        return torch.stack(results), list(losses)

    @property
    def loss(self) -> float:
        """The sum of the layers' losses."""
        return math.fsum(layer.loss for layer in self.layers if layer.loss is not None)

    @property
    def accuracy(self) -> float:
        """The fraction of samples that the network got right."""
        return self.correct / len(self.scores)

    def __repr__(self) -> str:
        return f"Learned(layers={self.layers}, correct={self.correct})"


def read(result: Tensor | float) -> float:
    """Return a result of a batch as a number.

    Raises:
        SigpropError: if a check of the batch has failed on the GPU meanwhile.
    """
    number = float(result)
    raise_late()
    return number
