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
from sigprop_snn.layers.layer_pass import Layer, as_spikes, section_pass
from sigprop_snn.layers.prediction import above_neutral
from sigprop_snn.layers.readout import READOUT
from sigprop_snn.layers.rule import LearningNetwork, Rule
from sigprop_snn.layers.scoring import hits
from sigprop_snn.layers.section import Section
from sigprop_snn.neurons.engines import Spikes
from sigprop_snn.predict import BY_LAST_BLOCK
from sigprop_snn.rules.rectified import Rectified
from sigprop_snn.shard import current_shard
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
    forward_only: ClassVar[bool] = True

    layer_rule: LayerRule

    def __post_init__(self) -> None:
        if isinstance(self.layer_rule, type) or not hasattr(self.layer_rule, "respond"):
            raise refused("layer_rule", self.layer_rule, "a layer rule such as VoltageRule()")

    def learn(
        self, network: LearningNetwork, inputs: Tensor, labels: Tensor, update: Update | None
    ) -> Learned:
        """Pass samples and contexts through; every layer learns before the next one runs."""
        entry = network.signal.enter(inputs, labels)
        stages = two_streams(network, entry, self.layer_rule, learn=True, fused=True)
        return learn_by_stages(network, stages, update)

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

    def section_stages(
        self, network: LearningNetwork, entry: Entry, section: Section[Spikes]
    ) -> Iterator[Stage]:
        """Pass both streams through a section of the network."""
        yield from two_streams(
            network, entry, self.layer_rule, learn=True, fused=True, section=section
        )


def two_streams(
    network: LearningNetwork,
    entry: Entry,
    layer_rule: LayerRule,
    *,
    learn: bool,
    record: tuple[str, ...] = (),
    fused: bool = False,
    section: Section[Spikes] | None = None,
) -> Iterator[Stage]:
    """Pass both streams through and yield every layer's stage.

    Args:
        network: the network.
        entry: the input of the first block.
        layer_rule: the rule for blocks without a rule.
        learn: whether the losses have a gradient and the normalisers observe the rows.
        record: names of the values to record at every step.
        fused: whether a block may compute its loss in one call, without a representation.
        section: the blocks to pass through; all if not given.
    """
    blocks = list(network.named_blocks())
    # The neutral context takes part in the scores, which need the representations.
    fused = fused and network.predict != "neutral"
    if section is None:
        section = Section.whole(blocks, network.readout, as_spikes(entry.inputs))

    def respond(name: str, block: Block, inputs: Spikes) -> tuple[Response, Spikes]:
        rule = block.rule if block.rule is not None else layer_rule
        contexts = entry.contexts if name == "block1" else None
        observed_rows = entry.observed_rows if learn and block.training else 0
        usual = None
        if fused:
            usual = Rectified.of(block, rule, network.loss_of(block), network.loss_head(name))
        if usual is not None and usual.takes(inputs, contexts, entry):
            response = usual.respond(inputs, contexts, observed_rows, entry)
        else:
            response = rule.respond(
                block, inputs,
                contexts=contexts, observed_rows=observed_rows, learn=learn, record=record,
            )  # fmt: skip
        return response, response.run.spikes.pooled(block.pool)

    for layer in section_pass(section.of(blocks), network.signal, section.kept, respond):
        section.reading.add(layer.name, layer.sent)
        yield compared(network, layer, entry)
        del layer  # free its graph before the next layer runs
    if network.readout is not None and entry.samples and section.ends:
        # Read out all rows, then slice: slicing the batch first would copy every step.
        scores = section.reading.scores()[: entry.samples]
        answers = entry.answers
        loss = network.readout.loss(scores, answers) if answers is not None else None
        yield Stage(READOUT, scores, loss, None, answers)


def compared(network: LearningNetwork, layer: Layer[Spikes], entry: Entry) -> Stage:
    """Return the stage of one block from the representations of both streams."""
    name, response = layer.name, layer.response
    if response.compared is not None:
        return Stage(name, *response.compared, response, entry.targets)
    local = network.loss_of(layer.block)
    shard = current_shard() if local.needs_batch else None
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
    # The columns of separate contexts tell right from wrong, not the classes.
    separate = entry.contexts_per_sample > 0
    columns = network.signal.classes if separate else len(contexts)
    right, labels = entry.targets, entry.answers if separate else entry.targets
    assert labels is not None
    if shard is not None:
        samples, right, labels = (shard.gather(each) for each in (samples, right, labels))
        contexts = shard.gather(contexts) if separate else contexts
    targets = local.targets(right, incoming)
    scores, loss = local.compare(samples, contexts, targets)
    if network.predict == "neutral":
        scores = above_neutral(scores, local, samples, contexts)
    among = local.compare_samples(samples, labels, columns, network.loss_head(name))
    if among is not None:
        loss = loss + among
    if shard is not None:
        scores = shard.own(scores)
    return Stage(name, scores, loss, response, entry.targets)


def learning_stages(stages: Iterable[Stage], update: Update | None) -> Iterator[Stage]:
    """Yield the stages; each layer has learned from its loss when its stage is yielded.

    Args:
        stages: the stages of a pass with labels, produced lazily; each has a loss.
        update: called with the name of every layer as soon as its gradient is ready.
    """
    for stage in stages:
        if stage.backward() and update is not None:
            update(stage.name)
        yield stage
        del stage  # free the layer's graph before the next layer runs


def learn_by_stages(
    network: LearningNetwork, stages: Iterable[Stage], update: Update | None
) -> Learned:
    """Let every layer learn from its stage's loss before the next layer runs.

    Args:
        network: the network.
        stages: the stages of a pass with labels, produced lazily; each has a loss, and the last
            one has scores.
        update: called with the name of every layer as soon as its gradient is ready.
    """
    return report(network, learning_stages(stages, update))


def report(network: LearningNetwork, stages: Iterable[Stage]) -> Learned:
    """Return the report of a pass with labels.

    Args:
        network: the network.
        stages: the stages of the pass, each with scores and a loss.
    """
    votes = Votes()
    reports = report_layers(stages, votes)
    return Learned(reports, *votes.result(network))


def learn_layers(stages: Iterable[Stage], update: Update | None, votes: Votes) -> list[LayerReport]:
    """Let layers learn as in `learn_by_stages`, and return their reports.

    Args:
        stages: the stages of a pass with labels.
        update: called with the name of every layer.
        votes: receives the scores of every layer.
    """
    return report_layers(learning_stages(stages, update), votes)


def report_layers(stages: Iterable[Stage], votes: Votes) -> list[LayerReport]:
    """Return the reports of layers that have learned.

    Args:
        stages: their stages.
        votes: receives the scores of every layer.
    """
    reports: list[LayerReport] = []
    for stage in stages:
        if stage.scores is None:  # a layer that does not predict
            reports.append(LayerReport(stage.name))
            continue
        assert stage.loss is not None and stage.targets is not None  # labels were given
        votes.add(stage.name, stage.scores.detach(), stage.targets)
        reports.append(LayerReport(stage.name, stage.loss.detach(), votes.right[stage.name]))
        del stage  # free the layer's graph before the next layer runs
    return reports


class Votes:
    """The layers' scores in a learning pass, from which the network's own come.

    Attributes:
        scores: the scores by layer, `[B, C]`.
        targets: the targets that each layer's scores were compared with.
        right: how many samples each layer got right.
    """

    def __init__(self) -> None:
        self.scores: dict[str, Tensor] = {}
        self.targets: dict[str, Tensor] = {}
        self.right: dict[str, Tensor] = {}

    def add(self, name: str, scores: Tensor, targets: Tensor) -> None:
        """Take the scores of a layer."""
        self.scores[name] = scores
        self.targets[name] = targets
        self.right[name] = hits(scores, targets)

    def result(self, network: LearningNetwork) -> tuple[Tensor, Tensor]:
        """Return the network's scores `[B, C]`, and how many samples it got right."""
        *_, last = self.scores
        name = f"block{len(network.blocks)}" if network.predict in BY_LAST_BLOCK else last
        # Only layers whose columns mean the same as the predicting layer's may vote.
        voting = [
            n for n, of in self.targets.items()
            if of is self.targets[name] or of.is_floating_point()
        ]  # fmt: skip
        scores = network.predicted({n: self.scores[n] for n in voting})
        counted = scores is self.scores[name]
        return scores, self.right[name] if counted else hits(scores, self.targets[name])
