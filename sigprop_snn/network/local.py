"""Signal propagation's own rules: how the voltage of a layer becomes what its loss compares.

Both rules attach the local loss *before* the spike. Neither goes through the spike function, and
the input of a block is always held constant, so no gradient leaves the layer.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.errors import UnknownNameError
from sigprop_snn.network.block import Block
from sigprop_snn.network.drive import (
    carrying,
    driven_mean,
    mean_of_currents,
    mean_of_surrogate,
    unrolled,
    with_context,
)
from sigprop_snn.network.rule import Rule, Update, check_front, misfit
from sigprop_snn.network.signal import Entry
from sigprop_snn.network.stage import LayerReport, Learned, Response, Stage, hits
from sigprop_snn.neurons import Neuron, run
from sigprop_snn.neurons.filters import is_constant
from sigprop_snn.neurons.kernels import Packed, unpacked

if TYPE_CHECKING:
    from sigprop_snn.network.network import Network

Statistic = Literal["rectified", "mean", "sigmoid"]
STATISTICS: tuple[Statistic, ...] = ("rectified", "mean", "sigmoid")


def learn_by_stages(network: Network, stages: Iterable[Stage], update: Update | None) -> Learned:
    """Let every layer learn from its own stage's loss before the next layer runs.

    Args:
        network: the network.
        stages: the stages of a pass with labels, as they are reached; each has scores and a loss.
        update: called with every layer's name as soon as its gradient is there.
    """
    reports: list[LayerReport] = []
    right: dict[str, int] = {}
    by_layer: dict[str, Tensor] = {}
    targets: dict[str, Tensor] = {}
    for stage in stages:
        assert stage.loss is not None and stage.scores is not None  # labels were given
        assert stage.targets is not None
        if stage.loss.requires_grad:
            stage.loss.backward()  # type: ignore[no-untyped-call]
            if update is not None:
                update(stage.name)
        scores = by_layer[stage.name] = stage.scores.detach()
        right[stage.name] = hits(scores, stage.targets)
        reports.append(LayerReport(stage.name, float(stage.loss.detach()), right[stage.name]))
        targets[stage.name] = stage.targets
        last = stage.name
        del stage  # and with it the layer's graph, before the next layer runs
    name = f"block{len(network.blocks)}" if network.predict == "context" else last
    # Layers whose columns stand for something else than those of the one that speaks don't vote.
    alike = [n for n, of in targets.items() if of is targets[name] or of.is_floating_point()]
    scores = network.predicted({n: by_layer[n] for n in alike})
    own = scores is by_layer[name]  # counted already
    return Learned(reports, scores, right[name] if own else hits(scores, targets[name]))


class LocalRule(Rule):
    """A rule by which every layer compares the two streams by itself, and learns at once.

    Attributes:
        of_mean: whether what is compared is a function of the mean voltage alone, so that the
            mean presynaptic trace is all it learns from.
    """

    of_mean: ClassVar[bool] = False

    def learn(
        self, network: Network, inputs: Tensor, labels: Tensor, update: Update | None
    ) -> Learned:
        """Pass samples and contexts through; every layer learns on the way."""
        return learn_by_stages(network, self.stages(network, inputs, labels), update)

    def stages(
        self,
        network: Network,
        inputs: Tensor,
        labels: Tensor | None = None,
        *,
        record: tuple[str, ...] = (),
    ) -> Iterator[Stage]:
        """Pass samples and contexts through, yielding every layer's stage as it is reached."""
        entry = network.signal.enter(inputs, labels)
        yield from self.through(network, entry, learn=labels is not None, record=record)

    def through(
        self, network: Network, entry: Entry, *, learn: bool, record: tuple[str, ...] = ()
    ) -> Iterator[Stage]:
        """Yield every layer's stage for what enters the first."""
        inputs: Tensor | Packed = entry.inputs
        for index, block in enumerate(network.each_block()):
            rule = block.rule if block.rule is not None else self
            context = entry.riding if index == 0 else None
            try:
                inputs = block.received(inputs) if rule.packed else unpacked(inputs)
                response = rule.respond(
                    block,
                    cast(Tensor, inputs),
                    context=context,
                    rows=entry.observed,
                    learn=learn,
                    record=record,
                )
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                if index > 0:
                    raise
                raise misfit(inputs, error) from error
            if index == 0:
                check_front(inputs, response.run, network.signal)
            yield compared(network, f"block{index + 1}", block, inputs, entry, response)
            inputs = block.pooled(response.run.activity)
            del response  # the graph holds what the block received
        if network.readout is not None and entry.samples:
            # All rows, then the samples': a part of every step would have to be copied first.
            scores = network.readout(inputs)[: entry.samples]
            answers = entry.answers
            loss = network.readout.loss(scores, answers) if answers is not None else None
            yield Stage("readout", scores, loss, None, answers)

    @abstractmethod
    def represent(self, voltage: Tensor, neuron: Neuron) -> Tensor:
        """Return what the loss compares, `[N, ...]`, for the voltages of some steps `[T, N, ...]`.

        Args:
            voltage: before the reset, with whatever gradient it carries.
            neuron: the block's.
        """

    @abstractmethod
    def respond(
        self,
        block: Block,
        inputs: Tensor,
        *,
        context: Tensor | None = None,
        rows: int,
        learn: bool,
        record: tuple[str, ...] = (),
    ) -> Response:
        """Run the block on `inputs` and return its response.

        Args:
            block: the layer.
            inputs: what it receives, `[T, N, ...]`.
            context: the current of the learning signal, `[C, ...]`, in the first block.
            rows: how many of the first rows the normaliser takes into its running figures.
            learn: whether the representation carries a gradient.
            record: what the run keeps of every step.
        """


def compared(
    network: Network,
    name: str,
    block: Block,
    inputs: Tensor | Packed,
    entry: Entry,
    response: Response,
) -> Stage:
    """Return the stage of one block, whose representation holds both streams."""
    local = block.loss if block.loss is not None else network.loss
    assert response.representation is not None
    # Unlike slices, parts of a split give their gradients back in one piece.
    both = response.representation
    samples, contexts = torch.split(both, [entry.samples, len(both) - entry.samples])
    if entry.own:
        contexts = contexts.reshape(entry.own, -1, *contexts.shape[1:]).transpose(0, 1)
    elif not len(contexts):
        return Stage(name, None, None, response)
    if entry.targets is None:
        return Stage(name, local.scores(samples, contexts), None, response)
    incoming = None
    if local.compares_contexts and name != "block1" and not entry.own:
        first = entry.samples
        incoming = (
            inputs.rows(first).unpacked() if isinstance(inputs, Packed) else inputs[:, first:]
        )
    targets = local.targets(entry.targets, incoming)
    scores, loss = local.compare(samples, contexts, targets)
    return Stage(name, scores, loss, response, entry.targets)


@dataclass(frozen=True)
class VoltageRule(LocalRule):
    """Learning from the membrane voltage alone: no spike derivative anywhere.

    The representation is a pointwise function of the voltage's mean over time. With the reset
    held constant the mean voltage is `gain * (W xbar + b)` plus constants, where xbar is the mean
    presynaptic trace, so one static pass over xbar carries the exact gradient of the layer's
    unrolled graph: one weight-gradient product for a layer and batch, and no graph in time.

    Where the closed form does not apply, the gradient is the same and costs more: over the
    currents of all steps behind a synapse or normaliser that is not affine, over the layer's own
    dynamics for a neuron without a fixed linear filter (said once, as a warning).

    Args:
        statistic: "rectified" max(0, mean U), "mean", or "sigmoid" f(mean U - threshold) with the
            neuron's surrogate.
    """

    of_mean: ClassVar[bool] = True
    packed: ClassVar[bool] = True

    statistic: Statistic = "rectified"

    def __post_init__(self) -> None:
        if self.statistic not in STATISTICS:
            raise UnknownNameError("statistic", self.statistic, STATISTICS)

    def respond(
        self,
        block: Block,
        inputs: Tensor | Packed,
        *,
        context: Tensor | None = None,
        rows: int,
        learn: bool,
        record: tuple[str, ...] = (),
    ) -> Response:
        """Run the block; let a gradient into the mean voltage through one static pass."""
        observed = rows if block.training and learn else 0
        neuron = block.neuron
        if not learn or (neuron.closed_form and block.affine):
            ran = block.run(inputs, riding=context, observed_rows=observed, record=record)
            voltage = driven_mean(block, inputs, context, ran) if learn else ran.mean_voltage
        else:
            current = block.current(unpacked(inputs), like=context, observed_rows=observed)
            if not neuron.closed_form:
                ran, voltages = unrolled(neuron, with_context(current, context), record)
                return Response(ran, self.represent(voltages, neuron))
            with torch.no_grad():
                ran = run(neuron, current, riding=context, record=record)
            driven = mean_of_currents(neuron, with_context(current, context), ran.spike)
            voltage = carrying(ran.mean_voltage, driven)
        return Response(ran, self.represent(voltage.unsqueeze(0), neuron))

    def represent(self, voltage: Tensor, neuron: Neuron) -> Tensor:
        """Return the pointwise function of the mean voltage."""
        voltage = voltage.mean(0) if len(voltage) > 1 else voltage.squeeze(0)
        if self.statistic == "rectified":
            return F.relu(neuron.depolarisation(voltage))
        if self.statistic == "sigmoid":
            return neuron.surrogate.f(neuron.above(voltage))
        return neuron.depolarisation(voltage)


@dataclass(frozen=True)
class SurrogateRule(LocalRule):
    """Learning through the neuron's surrogate, attached to the voltage before the spike.

    The representation is the mean over time of f(U[t] - threshold); the update is
    dL/df * df(U[t]) * presynaptic trace, summed over the steps.
    """

    packed: ClassVar[bool] = True

    def respond(
        self,
        block: Block,
        inputs: Tensor | Packed,
        *,
        context: Tensor | None = None,
        rows: int,
        learn: bool,
        record: tuple[str, ...] = (),
    ) -> Response:
        """Run the block; let the gradient of every step's voltage into the current."""
        observed = rows if block.training and learn else 0
        neuron = block.neuron
        simple = neuron.closed_form and not (isinstance(inputs, Tensor) and inputs.requires_grad)
        parts = block.affine_parts if simple else None
        record = ("voltage", *record)
        if not learn or parts is not None:
            ran = block.run(inputs, riding=context, observed_rows=observed, record=record)
            # Only the gradient of the current matters from here on, so any numbers stand for it.
            current = ran.recorded["voltage"][:, : inputs.shape[1]]
            if isinstance(inputs, Tensor) and is_constant(inputs):
                current = current[:1].expand_as(current)
            if learn and parts is not None:
                current = parts.attach(inputs, current)
        else:
            current = block.current(unpacked(inputs), like=context, observed_rows=observed)
            if not neuron.closed_form:
                ran, voltage = unrolled(neuron, with_context(current, context), record)
                return Response(ran, self.represent(voltage, neuron))
            with torch.no_grad():
                ran = run(neuron, current, riding=context, record=record)
        return Response(ran, mean_of_surrogate(neuron, current, context, ran))

    def represent(self, voltage: Tensor, neuron: Neuron) -> Tensor:
        """Return the mean over time of the surrogate's primitive."""
        return neuron.surrogate.f(neuron.above(voltage)).mean(0)
