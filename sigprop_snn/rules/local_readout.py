"""Local readouts: every block learns only from the error of a readout attached to it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sigprop_snn.answers import Answers
from sigprop_snn.arguments import instance, one_of, positive, truth
from sigprop_snn.layers.contracts import Learned, Needs, Response, Stage, Update
from sigprop_snn.layers.layer_pass import plain_pass
from sigprop_snn.layers.rule import LearningNetwork, Rule
from sigprop_snn.layers.section import Section
from sigprop_snn.neurons.engines import Spikes
from sigprop_snn.rules.passes import (
    check_blocks,
    entry_without_contexts,
    every_step,
    layer_graphs,
    one_hot_targets,
)
from sigprop_snn.rules.signal_propagation import learn_by_stages
from sigprop_snn.shapes import Layout
from sigprop_snn.shard import current_shard
from sigprop_snn.signals.base import Entry

LocalError = Literal["cross-entropy", "squared"]
LOCAL_ERRORS: tuple[LocalError, ...] = ("cross-entropy", "squared")


class LocalReadout(nn.Module, Rule):
    """A readout at every block; its error at every step changes only that block.

    A similarity term in the network's loss, `DotProductLoss() + 10 * Similarity()`, joins the error
    of the readout; with learned readouts this is the loss of Noekland and Eidnes (2019), predsim.
    The other terms of the loss are not used.

    With LIF layers this is DECOLLE (Kaiser, Mostafa and Neftci 2020): y[t] = G s[t] with a fixed
    random G, a loss at every step, and the update (G^T dL/dy[t]) df(U[t]) x[t]^T summed over the
    steps, with the presynaptic trace x[t]. One product over the batch computes the sum. With rate
    layers this is greedy layerwise learning with an auxiliary classifier. Every block is updated
    before the next one runs.

    Args:
        layout: the network's shapes.
        learned: whether the blocks' readouts learn too, or keep their initial random weights.
        error: the loss between a block's readout and the label. "cross-entropy" is binary where
            several labels may hold, and the mean squared error for values, as in `Readout`.
        gain: scale of the readouts' initial weights, relative to one over the root of their inputs.

    Raises:
        UnknownNameError: if the error is unknown.
    """

    needs: ClassVar[Needs] = Needs(feedback_weights=True, stored_activations="steps")
    forward_only: ClassVar[bool] = True

    def __init__(
        self,
        layout: Layout,
        *,
        learned: bool = False,
        error: LocalError = "cross-entropy",
        gain: float = 1.0,
    ) -> None:
        super().__init__()
        instance("layout", layout, Layout, "a Layout")
        one_of("local error", error, LOCAL_ERRORS)
        learned = truth("learned of LocalReadout", learned)
        gain = positive("gain of LocalReadout", gain)
        self.error = error
        self.learned = learned
        self.readouts = nn.ModuleList(
            nn.Linear(math.prod(shape), layout.classes) for shape in layout.outputs
        ).requires_grad_(learned)
        with torch.no_grad():
            for weight in self.readouts.parameters():
                weight.mul_(gain)

    def local_parameters(self) -> dict[str, list[nn.Parameter]]:
        """Return the blocks' readouts by block name, if they learn."""
        if not self.learned:
            return {}
        return {f"block{i + 1}": list(g.parameters()) for i, g in enumerate(self.readouts)}

    def learn(
        self, network: LearningNetwork, inputs: Tensor, labels: Tensor, update: Update | None
    ) -> Learned:
        """Pass the batch through; every layer learns before the next one runs."""
        return learn_by_stages(network, self.stages(network, inputs, labels), update)

    def stages(
        self,
        network: LearningNetwork,
        inputs: Tensor,
        labels: Tensor | None = None,
        *,
        record: tuple[str, ...] = (),
    ) -> Iterator[Stage]:
        """Pass samples through and yield every layer's stage before the next layer runs."""
        check_blocks(network, len(self.readouts), "local-readout")
        blocks, signal = network.named_blocks(), network.signal
        outputs: Iterator[tuple[str, Response, Tensor]]
        if labels is None:
            layers = plain_pass(blocks, signal, inputs, record=record)
            outputs = ((layer.name, layer.response, layer.sent.dense()) for layer in layers)
        else:
            graphs = layer_graphs(network, inputs, record)
            outputs = ((layer.name, layer.response, layer.sent) for layer in graphs)
        yield from self._stages(network, outputs, labels, ends=True)

    def entry(self, network: LearningNetwork, inputs: Tensor, labels: Tensor) -> Entry:
        """Return the samples, without contexts."""
        return entry_without_contexts(network, inputs, labels)

    def section_stages(
        self, network: LearningNetwork, entry: Entry, section: Section[Spikes]
    ) -> Iterator[Stage]:
        """Pass samples through a section of the network."""
        check_blocks(network, len(self.readouts), "local-readout")
        graphs = layer_graphs(network, entry.inputs, section=section)
        outputs = ((layer.name, layer.response, layer.sent) for layer in graphs)
        yield from self._stages(network, outputs, entry.answers, ends=section.ends)

    def _stages(
        self,
        network: LearningNetwork,
        outputs: Iterator[tuple[str, Response, Tensor]],
        labels: Tensor | None,
        *,
        ends: bool,
    ) -> Iterator[Stage]:
        """Yield the stage of each output, and that of the readout where the network ends."""
        names = [name for name, _ in network.named_blocks()]
        for name, response, sent in outputs:
            read = self.readouts[names.index(name)](sent.flatten(2))
            loss = None
            if labels is not None:
                loss = self._loss(read, labels, network.signal.answers)
                loss = loss + similarity(network, name, sent, labels)
            yield Stage(name, read.mean(0), loss, response, labels)
            last = sent.detach()
            del sent, read, loss  # free the layer's graph
        if network.readout is not None and ends:
            scores = network.readout(last)
            loss = network.readout.loss(scores, labels) if labels is not None else None
            yield Stage("readout", scores, loss, None, labels)

    def _loss(self, read: Tensor, labels: Tensor, answers: Answers) -> Tensor:
        """Return the mean error of scores `[T, B, C]` over samples and steps."""
        if self.error == "squared":
            return (read - one_hot_targets(labels, read.shape[2], read)).square().sum(2).mean()
        if answers == "labels":
            return F.binary_cross_entropy_with_logits(read, labels.to(read).expand_as(read))
        if answers == "values":
            return F.mse_loss(read, labels.to(read).expand_as(read))
        return F.cross_entropy(read.flatten(0, 1), every_step(labels, read.shape[0]))


def similarity(network: LearningNetwork, name: str, sent: Tensor, labels: Tensor) -> Tensor | float:
    """Return the similarity terms of a block's loss on its mean output, 0 without any.

    Args:
        network: the network.
        name: the block's name.
        sent: the block's output, `[T, B, ...]`.
        labels: `[B]`.
    """
    loss = network.loss_of(dict(network.named_blocks())[name])
    classes = network.signal.classes
    samples, shard = sent.mean(0), current_shard()
    if shard is not None and loss.needs_batch:
        samples, labels = shard.gather(samples), shard.gather(labels)
    found = loss.compare_samples(samples, labels, classes, network.loss_head(name))
    return 0.0 if found is None else found
