"""Direct feedback: fixed random weights send the output error or the target to every block."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from sigprop_snn.arguments import instance
from sigprop_snn.layers.contracts import Learned, Needs, Update
from sigprop_snn.layers.rule import LearningNetwork, Rule
from sigprop_snn.rules.passes import (
    Fixed,
    check_blocks,
    layer_graphs,
    learn_from,
    learn_from_error,
    one_hot_targets,
    output_error,
    readout_of,
    reported,
    updated,
)
from sigprop_snn.shapes import Layout


class DirectFeedback(nn.Module, Rule):
    """Base of both rules: fixed random weights B from the classes to each block's output.

    Args:
        layout: the network's shapes.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        instance("layout", layout, Layout, "a Layout")
        self.classes = layout.classes
        self.feedback = nn.ModuleList(
            Fixed(torch.randn(layout.classes, math.prod(shape)) / math.sqrt(layout.classes))
            for shape in layout.outputs
        )

    def sent(self, index: int, error: Tensor, output: Tensor) -> Tensor:
        """Return the error of a block's output, equal at every step.

        Args:
            index: index of the block, from 0.
            error: error of the network's scores (their mean over time), `[B, C]`.
            output: the block's output, `[T, B, ...]`; the result has this shape.
        """
        fixed = self.feedback[index]
        assert isinstance(fixed, Fixed)
        sent = error.to(fixed.weight) @ fixed.weight / output.shape[0]
        return sent.to(output).view(output.shape[1:]).expand_as(output)


class DirectFeedbackAlignment(DirectFeedback):
    """Sends the output error through fixed random weights to every block (Nokland 2016).

    With e = dL/dscores, the mean output of a block over time gets the error e B. The gradient of
    the block's weights follows through the surrogate derivative of every step and the neuron's
    filter, with constant spikes. The readout learns from the gradient of its loss.
    """

    needs: ClassVar[Needs] = Needs(feedback_weights=True, stored_activations="both")

    def learn(
        self, network: LearningNetwork, inputs: Tensor, labels: Tensor, update: Update | None
    ) -> Learned:
        """Pass the batch through, then send the error to every block."""
        readout = readout_of(network, "direct-feedback-alignment")
        check_blocks(network, len(self.feedback), "direct-feedback-alignment")
        outputs = [layer.sent for layer in layer_graphs(network, inputs)]
        scores = readout(outputs[-1].detach())
        loss = readout.loss(scores, labels)
        error = output_error(readout, scores, labels)
        for index, (name, block) in enumerate(network.named_blocks()):
            learn_from_error(outputs[index], self.sent(index, error, outputs[index]))
            updated(update, name, block)
        learn_from(loss)
        updated(update, "readout", readout)
        return reported(network, scores, loss, labels)


class DirectRandomTarget(DirectFeedback):
    """Direct random target projection (DRTP; Frenkel, Lefebvre and Bol 2021).

    The one-hot target y replaces the output error: a block gets -y B / batch instead of
    (softmax(scores) - y) B / batch. The target is known before the batch runs, so every block
    learns before the next one runs. The target does not vanish when the answer is right; rate
    neurons therefore need an activation that saturates, as in the paper. With a rectifier they
    drift and hardly learn.
    """

    needs: ClassVar[Needs] = Needs(feedback_weights=True, stored_activations="steps")

    def learn(
        self, network: LearningNetwork, inputs: Tensor, labels: Tensor, update: Update | None
    ) -> Learned:
        """Pass the batch through; every block learns before the next one runs."""
        readout = readout_of(network, "direct-random-target")
        check_blocks(network, len(self.feedback), "direct-random-target")
        error = -one_hot_targets(labels, self.classes, inputs) / labels.shape[0]
        for index, layer in enumerate(layer_graphs(network, inputs)):
            learn_from_error(layer.sent, self.sent(index, error, layer.sent))
            updated(update, layer.name, layer.block)
            sent = layer.sent.detach()
            del layer  # free its graph
        scores = readout(sent)
        loss = readout.loss(scores, labels)
        learn_from(loss)
        updated(update, "readout", readout)
        return reported(network, scores, loss, labels)
