"""Error forward-propagation: the output's error enters at the front and travels forward."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.block import Block
from sigprop_snn.layers.contracts import LayerReport, Learned, Needs, Response, Update
from sigprop_snn.layers.layer_pass import layer_pass, observed_rows
from sigprop_snn.layers.readout import Readout
from sigprop_snn.layers.rule import LearningNetwork, Rule
from sigprop_snn.layers.scoring import hits
from sigprop_snn.neurons import Neuron, run
from sigprop_snn.neurons.engines import Run
from sigprop_snn.neurons.engines.reference import check_finite
from sigprop_snn.rules.relaxation import strengthen
from sigprop_snn.shapes import Layout


class Passed(NamedTuple):
    """What the first pass leaves of a block.

    Attributes:
        block: the layer.
        received: the mean over time of what it received, `[B, ...]`.
        active: the mean over time of its neurons' activity, `[B, ...]`.
    """

    block: Block
    received: Tensor
    active: Tensor


class ErrorForward(nn.Module, Rule):
    """Two passes forward: the input alone, then with the output's error looped to the front.

    After Error Forward-Propagation (Kohan, Rietman and Siegelmann, arXiv 1808.03357), in discrete
    form: there are no feedback weights but one loop from the output to the first block. The first
    pass ends in the error e = -dL/dscores, target minus softmax. In the second the first block's
    current has nudge * e * loop in addition, and what that changes travels through the forward
    weights. Every block learns from a product of its own two ends,

        dW = mean input * (mean activity in the second pass - in the first) / nudge,

    and passes the change on. The readout learns by its own error. The loop learns by the
    activity of the first block times e, the change that a connection from that block to the
    output would get, so that it comes to point where the first block helps the output; what
    arrives in a higher block then is what helps there, for it took the same weights as the
    activity. On MNIST both blocks' updates
    lie at 33 to 45 degrees from the gradient. A fixed random loop learns too, less well.
    Convolutional blocks hardly learn by it. Error-driven input modulation (PEPITA,
    Dellaferrera and Kreiman 2022) is the same with the error added before the first synapse
    instead of behind it, through fixed weights.

    The activity is the surrogate's primitive of the voltage: for rate neurons what they send on,
    for spiking neurons a smooth stand-in, while what travels are the spikes; a larger nudge then
    keeps the change above the grain of the spikes. Neurons whose activity is bounded learn best:
    nothing else holds a loop that reinforces itself.

    Args:
        layout: the network's shapes.
        nudge: how strongly the error drives the first block.
        learned: whether the loop learns, or stays as it was drawn.

    Raises:
        SigpropError: if the nudge is not a positive number.
    """

    needs: ClassVar[Needs] = Needs(feedback_weights=True, stored_activations="layers")

    def __init__(self, layout: Layout, *, nudge: float = 0.1, learned: bool = True) -> None:
        super().__init__()
        if not 0 < nudge < math.inf:
            raise SigpropError(f"nudge is {nudge}; expected a positive number")
        self.nudge = nudge
        shape = (layout.classes, math.prod(layout.currents[0]))
        drawn = torch.zeros(shape) if learned else torch.randn(shape) / math.sqrt(shape[0])
        self.loop = nn.Parameter(drawn, requires_grad=learned)

    def learn(
        self, network: LearningNetwork, inputs: Tensor, labels: Tensor, update: Update | None
    ) -> Learned:
        """Pass the batch through twice; every layer learns on the second way."""
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
        """Return the first block's current, what each block leaves, and what the last sends on."""
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
        """Pass the error through and yield each block's name as its gradient is there."""
        with torch.no_grad():
            current = front + self.nudge * (error @ self.loop).view_as(front[0])
            strengthen(self.loop, error.t() @ passed[0].active.flatten(1) / len(error))
        for index, first in enumerate(passed):
            with torch.no_grad():
                _, active, sent = _acted(first.block, current)
                if index + 1 < len(passed):
                    current = passed[index + 1].block.current(sent)
                moved = (active - first.active) / self.nudge
            if any(p.requires_grad for p in first.block.parameters()):
                _hebbian(first, moved)
            yield f"block{index + 1}"


def _learned(block: Block, rule: Rule, name: str) -> bool:
    """Return whether anything of a layer, or of the rule with it, learns."""
    own = rule.local_parameters().get(name, [])
    return any(p.requires_grad for p in [*block.parameters(), *own])


def _acted(block: Block, current: Tensor) -> tuple[Run, Tensor, Tensor]:
    """Return a block's run, its mean activity `[B, ...]` and its output, `[T, B, ...]`."""
    neuron = block.neuron
    ran = run(neuron, current, record=("voltage",))
    sent = ran.spikes.pooled(block.pool).dense()
    if neuron.graded:
        return ran, ran.spike.mean(0), sent
    return ran, _mean_activity(neuron, ran.recorded["voltage"]), sent


def _mean_activity(neuron: Neuron, voltage: Tensor) -> Tensor:
    """Return the mean over time of the surrogate's primitive of a voltage `[T, B, ...]`."""
    total = torch.zeros_like(voltage[0])
    for at_step in voltage:
        total += neuron.surrogate.f(neuron.above(at_step))
    return total / len(voltage)


def _output(readout: Readout, sent: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scores, their mean loss with the readout's gradient, and every sample's error."""
    scores = readout(sent)
    bare = scores.detach().requires_grad_()
    (grad,) = torch.autograd.grad(readout.loss(bare, labels), bare)
    return scores.detach(), readout.loss(scores, labels), -len(bare) * grad


def _hebbian(first: Passed, moved: Tensor) -> None:
    """Leave minus the mean of a block's input times a factor of its neurons in `.grad`.

    The block's own current carries it, whatever its synapse is: no other layer is in its graph.
    """
    with torch.enable_grad():
        driven = first.block.static_current(first.received)
        (driven * (-moved / len(moved))).sum().backward()  # type: ignore[no-untyped-call]
