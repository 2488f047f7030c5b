"""Signal propagation: samples and contexts pass through; every layer learns immediately.

The local loss is attached *before* the spike. The gradient of the voltage rule and of the surrogate
rule does not pass through the spike function, and a block's input is held constant, so no gradient
leaves the layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sigprop_snn.arguments import refused
from sigprop_snn.layers.block import Block, LayerRule
from sigprop_snn.layers.contracts import LayerReport, Learned, Response, Stage, Update
from sigprop_snn.layers.layer_pass import Layer, as_spikes, layer_pass
from sigprop_snn.layers.prediction import above_neutral
from sigprop_snn.layers.readout import READOUT, Reading
from sigprop_snn.layers.rule import LearningNetwork, Rule
from sigprop_snn.layers.scoring import hits
from sigprop_snn.neurons.engines import Spikes
from sigprop_snn.predict import BY_LAST_BLOCK
from sigprop_snn.signals.base import Entry


@dataclass(frozen=True)
class SignalPropagation(Rule):
    """Every layer compares the two streams with its local loss, and learns only from this loss.

    Signal propagation (arXiv 2204.01723): the target enters at the front and travels through the
    same weights as the samples.

    Args:
        layer_rule: the rule for blocks without a rule: `VoltageRule()` or `SurrogateRule()`.
    """

    reads_blocks: ClassVar[bool] = True
    leaves: ClassVar[tuple[str, ...]] = ()

    layer_rule: LayerRule

    def __post_init__(self) -> None:
        if isinstance(self.layer_rule, type) or not hasattr(self.layer_rule, "respond"):
            raise refused("layer_rule", self.layer_rule, "a layer rule such as VoltageRule()")

    def learn(
        self, network: LearningNetwork, inputs: Tensor, labels: Tensor, update: Update | None
    ) -> Learned:
        """Pass samples and contexts through; every layer learns before the next one runs."""
        return learn_by_stages(network, self.stages(network, inputs, labels), update)

    def stages(
        self,
        network: LearningNetwork,
        inputs: Tensor,
        labels: Tensor | None = None,
        *,
        record: tuple[str, ...] = (),
    ) -> Iterator[Stage]:
        """Pass samples and contexts through; yield every layer's stage before the next runs."""
        entry = network.signal.enter(inputs, labels)
        yield from two_streams(
            network, entry, self.layer_rule, learn=labels is not None, record=record
        )


def two_streams(
    network: LearningNetwork,
    entry: Entry,
    layer_rule: LayerRule,
    *,
    learn: bool,
    record: tuple[str, ...] = (),
) -> Iterator[Stage]:
    """Pass both streams through and yield every layer's stage.

    Args:
        network: the network.
        entry: the input of the first block.
        layer_rule: the rule for blocks without a rule.
        learn: whether the losses have a gradient and the normalisers observe the rows.
        record: names of the values to record at every step.
    """

    def respond(name: str, block: Block, inputs: Spikes) -> tuple[Response, Spikes]:
        rule = block.rule if block.rule is not None else layer_rule
        response = rule.respond(
            block,
            inputs,
            contexts=entry.contexts if name == "block1" else None,
            observed_rows=entry.observed_rows if learn and block.training else 0,
            learn=learn,
            record=record,
        )
        return response, response.run.spikes.pooled(block.pool)

    inputs = as_spikes(entry.inputs)
    reading = Reading(network.readout, network.named_blocks())
    for layer in layer_pass(network.named_blocks(), network.signal, inputs, respond):
        yield compared(network, layer, entry)
        reading.add(layer.name, layer.sent)
        del layer  # free its graph before the next layer runs
    if network.readout is not None and entry.samples:
        # Read out all rows, then slice: slicing the batch first would copy every step.
        scores = reading.scores()[: entry.samples]
        answers = entry.answers
        loss = network.readout.loss(scores, answers) if answers is not None else None
        yield Stage(READOUT, scores, loss, None, answers)


def compared(network: LearningNetwork, layer: Layer[Spikes], entry: Entry) -> Stage:
    """Return the stage of one block from the representations of both streams."""
    local = network.loss_of(layer.block)
    name, response = layer.name, layer.response
    both = response.representation
    assert both is not None
    # The backward pass of a split makes one gradient tensor; slices would make two.
    samples, contexts = torch.split(both, [entry.samples, len(both) - entry.samples])
    if entry.contexts_per_sample:
        contexts = contexts.reshape(entry.contexts_per_sample, -1, *contexts.shape[1:])
        contexts = contexts.transpose(0, 1)
    elif not len(contexts):
        return Stage(name, None, None, response)
    if entry.targets is None:
        scores = local.scores(samples, contexts)
        if network.predict == "neutral":
            scores = above_neutral(scores, local, samples, contexts)
        return Stage(name, scores, None, response)
    incoming = None
    if local.compares_contexts and name != "block1" and not entry.contexts_per_sample:
        incoming = layer.inputs.rows(entry.samples).dense()
    targets = local.targets(entry.targets, incoming)
    scores, loss = local.compare(samples, contexts, targets)
    if network.predict == "neutral":
        scores = above_neutral(scores, local, samples, contexts)
    # The columns of separate contexts tell right from wrong, not the classes.
    separate = entry.contexts_per_sample > 0
    labels = entry.answers if separate else entry.targets
    assert labels is not None
    columns = network.signal.classes if separate else len(contexts)
    among = local.compare_samples(samples, labels, columns, network.loss_head(name))
    if among is not None:
        loss = loss + among
    return Stage(name, scores, loss, response, entry.targets)


def learning_stages(stages: Iterable[Stage], update: Update | None) -> Iterator[Stage]:
    """Yield the stages; each layer has learned from its loss when its stage is yielded.

    Args:
        stages: the stages of a pass with labels, produced lazily; each has a loss.
        update: called with the name of every layer as soon as its gradient is ready.
    """
    for stage in stages:
        assert stage.loss is not None  # labels were given
        if stage.loss.requires_grad:
            stage.loss.backward()  # type: ignore[no-untyped-call]
            if update is not None:
                update(stage.name)
        yield stage
        del stage  # free the layer's graph before the next layer runs


def learn_by_stages(
    network: LearningNetwork, stages: Iterable[Stage], update: Update | None
) -> Learned:
    """Let every layer learn from its stage's loss before the next layer runs.

    Args:
        network: the network.
        stages: the stages of a pass with labels, produced lazily; each has scores and a loss.
        update: called with the name of every layer as soon as its gradient is ready.
    """
    return report(network, learning_stages(stages, update))


def report(network: LearningNetwork, stages: Iterable[Stage]) -> Learned:
    """Return the report of a pass with labels.

    Args:
        network: the network.
        stages: the stages of the pass, each with scores and a loss.
    """
    reports: list[LayerReport] = []
    right: dict[str, Tensor] = {}
    by_layer: dict[str, Tensor] = {}
    targets: dict[str, Tensor] = {}
    for stage in stages:
        assert stage.loss is not None and stage.scores is not None  # labels were given
        assert stage.targets is not None
        scores = by_layer[stage.name] = stage.scores.detach()
        right[stage.name] = hits(scores, stage.targets)
        reports.append(LayerReport(stage.name, stage.loss.detach(), right[stage.name]))
        targets[stage.name] = stage.targets
        last = stage.name
        del stage  # free the layer's graph before the next layer runs
    name = f"block{len(network.blocks)}" if network.predict in BY_LAST_BLOCK else last
    # Only layers whose columns mean the same as the predicting layer's may vote.
    voting = [n for n, of in targets.items() if of is targets[name] or of.is_floating_point()]
    scores = network.predicted({n: by_layer[n] for n in voting})
    counted = scores is by_layer[name]
    return Learned(reports, scores, right[name] if counted else hits(scores, targets[name]))
