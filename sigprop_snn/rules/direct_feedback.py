"""Direct feedback: fixed random weights send the output error or the target to every block."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor, nn

from sigprop_snn.arguments import instance
from sigprop_snn.layers.contracts import Learned, Needs, Stage, Update
from sigprop_snn.layers.layer_pass import Layer
from sigprop_snn.layers.readout import READOUT
from sigprop_snn.layers.rule import LearningNetwork, Rule
from sigprop_snn.layers.section import Section
from sigprop_snn.neurons.engines import Spikes
from sigprop_snn.rules.passes import (
    Fixed,
    check_blocks,
    entry_without_contexts,
    feedback_weights,
    layer_graphs,
    learn_from,
    learn_from_error,
    one_hot_targets,
    output_error,
    readout_of,
    reported,
    updated,
)
from sigprop_snn.rules.signal_propagation import learn_by_stages
from sigprop_snn.shapes import Layout
from sigprop_snn.signals.base import Entry


class DirectFeedback(nn.Module, Rule):
    """Base of both rules: fixed random weights B from the classes to each block's output.

    Args:
        layout: the network's shapes.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        instance("layout", layout, Layout, "a Layout")
        self.classes = layout.classes
        self.feedback = feedback_weights(layout)

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
    forward_only: ClassVar[bool] = True

    def learn(
        self, network: LearningNetwork, inputs: Tensor, labels: Tensor, update: Update | None
    ) -> Learned:
        """Pass the batch through; every block learns before the next one runs."""
        stages = self._stages(network, layer_graphs(network, inputs), labels, ends=True)
        return learn_by_stages(network, stages, update)

    def entry(self, network: LearningNetwork, inputs: Tensor, labels: Tensor) -> Entry:
        """Return the samples, without contexts."""
        return entry_without_contexts(network, inputs, labels)

    def section_stages(
        self, network: LearningNetwork, entry: Entry, section: Section[Spikes]
    ) -> Iterator[Stage]:
        """Pass samples through a section of the network."""
        assert entry.answers is not None  # labels were given
        graphs = layer_graphs(network, entry.inputs, section=section)
        yield from self._stages(network, graphs, entry.answers, ends=section.ends)

    def _stages(
        self,
        network: LearningNetwork,
        layers: Iterator[Layer[Tensor]],
        labels: Tensor,
        *,
        ends: bool,
    ) -> Iterator[Stage]:
        """Yield the stage of each block, and that of the readout where the network ends."""
        readout = readout_of(network, "direct-random-target")
        check_blocks(network, len(self.feedback), "direct-random-target")
        names = [name for name, _ in network.named_blocks()]
        for layer in layers:
            name, response, sent = layer.name, layer.response, layer.sent
            del layer
            target = -one_hot_targets(labels, self.classes, sent) / labels.shape[0]
            error = self.sent(names.index(name), target, sent)[0]
            # The gradient of this sum with respect to the output is the error, at every step.
            yield Stage(name, None, (sent.sum(0) * error).sum(), response)
            last = sent.detach()
            del sent, error  # free the layer's graph
        if ends:
            scores = readout(last)
            yield Stage(READOUT, scores, readout.loss(scores, labels), None, labels)
