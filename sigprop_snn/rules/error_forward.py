"""Error forward-propagation: the output's error enters at the front and travels forward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from sigprop_snn.arguments import instance, positive, truth
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.block import Block
from sigprop_snn.layers.contracts import LayerReport, Learned, Needs, Response, Update
from sigprop_snn.layers.layer_pass import joined_input, layer_pass, observed_rows
from sigprop_snn.layers.parameters import add_gradient
from sigprop_snn.layers.readout import Readout
from sigprop_snn.layers.rule import LearningNetwork, Rule
from sigprop_snn.layers.scoring import hits
from sigprop_snn.layers.sources import Kept, sources_by_name
from sigprop_snn.neurons import run
from sigprop_snn.neurons.engines import Run
from sigprop_snn.neurons.engines.reference import check_finite
from sigprop_snn.rules.passes import loop_weights, output_error
from sigprop_snn.shapes import Layout


class Passed(NamedTuple):
    """A block's means from the first pass.

    Attributes:
        block: the block.
        received: mean input over time, `[B, ...]`.
        active: mean activity of the neurons over time, `[B, ...]`.
    """

    block: Block
    received: Tensor
    active: Tensor


class ErrorForward(nn.Module, Rule):
    """Two forward passes: first only the input, then the input plus the looped output error.

    A discrete form of Error Forward-Propagation (Kohan, Rietman and Siegelmann, arXiv 1808.03357):
    the only feedback weights are one loop from the output to the first block. The first pass gives
    the error e = -dL/dscores, target minus softmax. The second pass adds nudge * e * loop to the
    first block's current, and the change travels through the forward weights. Every block learns
    from its input and its activity,

        dW = mean input * (mean activity in the second pass - in the first) / nudge.

    The readout learns from its error. The loop's change is the first block's activity times e, as
    for a connection from that block to the output. The loop thus learns the direction in which the
    first block reduces the output error. The effect on higher blocks is useful too, because it
    travels through the same weights as the activity. On MNIST the angle between the update and the
    gradient is 33 to 45 degrees in both blocks. A fixed random loop also learns, but less well.
    Convolutional blocks hardly learn. Error-driven input modulation (PEPITA, Dellaferrera and
    Kreiman 2022) differs in one point: it adds the error before the first synapse, through fixed
    weights.

    The activity is the surrogate's primitive of the voltage. Rate neurons send this value; spiking
    neurons send spikes, and the activity is a smooth approximation; they need a larger nudge, so
    that the change alters some spikes. Neurons with bounded activity learn best: nothing else
    limits a loop that reinforces itself.

    Args:
        layout: the network's shapes.
        nudge: strength of the error's current into the first block.
        learned: whether the loop learns, or keeps its initial random weights.

    Raises:
        SigpropError: if the nudge is not a positive number.
    """

    needs: ClassVar[Needs] = Needs(feedback_weights=True, stored_activations="layers")

    def __init__(self, layout: Layout, *, nudge: float = 0.1, learned: bool = True) -> None:
        super().__init__()
        instance("layout", layout, Layout, "a Layout")
        self.nudge = positive("nudge", nudge)
        self.loop = loop_weights(layout, learned=truth("learned", learned))

    def learn(
        self, network: LearningNetwork, inputs: Tensor, labels: Tensor, update: Update | None
    ) -> Learned:
        """Pass the batch through twice; every layer learns in the second pass."""
        readout = network.readout
        if readout is None:
            raise SigpropError("error forward-propagation needs an output: network has no readout")
        with torch.no_grad():
            inputs = network.signal.plain(inputs)
            front, passed, last = self._first_pass(network, inputs)
        scores, loss, error = _output(readout, last, labels)
        reports = []
        for name in self._second_pass(front, passed, error):
            reports.append(LayerReport(name, None, None))
            if update is not None and _learned(passed[len(reports) - 1].block, self, name):
                update(name)
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
            if update is not None:
                update("readout")
        reports.append(LayerReport("readout", float(loss.detach()), hits(scores, labels)))
        scores = network.predicted({"readout": scores})
        return Learned(reports, scores, hits(scores, labels))

    def local_parameters(self) -> dict[str, list[nn.Parameter]]:
        """Return the loop's weights, which learn with the first block."""
        return {"block1": [self.loop]} if self.loop.requires_grad else {}

    def extra_repr(self) -> str:
        """Return the settings for `print(rule)`."""
        return f"nudge={self.nudge}, learned={self.loop.requires_grad}"

    def _first_pass(
        self, network: LearningNetwork, inputs: Tensor
    ) -> tuple[Tensor, list[Passed], Tensor]:
        """Return the first block's current, each block's means, and the last block's output."""
        check_finite(inputs)
        passed: list[Passed] = []
        currents: list[Tensor] = []

        def respond(name: str, block: Block, inputs: Tensor) -> tuple[Response, Tensor]:
            current = block.current(inputs, observed_rows=observed_rows(block, inputs))
            ran, active, sent = _acted(block, current)
            passed.append(Passed(block, inputs.mean(0), active))
            if not currents:
                currents.append(current)
            return Response(ran), sent

        for layer in layer_pass(network.named_blocks(), network.signal, inputs, respond):
            sent = layer.sent
        return currents[0], passed, sent

    def _second_pass(self, front: Tensor, passed: list[Passed], error: Tensor) -> Iterator[str]:
        """Pass the error through and yield each block's name when its gradient is ready."""
        blocks = [(f"block{index + 1}", first.block) for index, first in enumerate(passed)]
        kept = Kept.at_start(sources_by_name(blocks), front)
        for index, ((name, block), first) in enumerate(zip(blocks, passed, strict=True)):
            with torch.no_grad():
                received = joined_input(name, block, kept.take(name))
                if index == 0:
                    current = front + self.nudge * (error @ self.loop).view_as(front[0])
                    active = first.active.flatten(1)
                    add_gradient(self.loop, error.to(active).t() @ active / -len(error))
                else:
                    current = block.current(received)
                _, active, sent = _acted(block, current)
                kept.put(name, sent)
                moved = (active - first.active) / self.nudge
            if any(p.requires_grad for p in block.parameters()):
                _hebbian(first, moved)
            yield name


def _learned(block: Block, rule: Rule, name: str) -> bool:
    """Return whether any parameter of a layer, or of the rule at this layer, learns."""
    rule_parameters = rule.local_parameters().get(name, [])
    return any(p.requires_grad for p in [*block.parameters(), *rule_parameters])


def _acted(block: Block, current: Tensor) -> tuple[Run, Tensor, Tensor]:
    """Return a block's run, its mean activity `[B, ...]` and its output, `[T, B, ...]`."""
    neuron = block.neuron
    ran = run(neuron, current, record=("voltage",))
    sent = ran.spikes.pooled(block.pool).dense()
    if neuron.graded:
        return ran, ran.spike.mean(0), sent
    return ran, block.engine.surrogate_mean(neuron, ran.recorded["voltage"]), sent


def _output(readout: Readout, sent: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scores, the mean loss (with the readout's graph), and each sample's error."""
    scores = readout(sent)
    error = -len(scores) * output_error(readout, scores, labels)
    return scores.detach(), readout.loss(scores, labels), error


def _hebbian(first: Passed, moved: Tensor) -> None:
    """Subtract the batch mean of a block's input times `moved` from `.grad`.

    Autograd computes it from the block's current, for any synapse; the graph has no other layer.
    """
    with torch.enable_grad():
        driven = first.block.static_current(first.received)
        (driven * (-moved / len(moved))).sum().backward()  # type: ignore[no-untyped-call]
