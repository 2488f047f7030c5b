"""Contrastive Hebbian learning in continuous time, without gradients."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from sigprop_snn.arguments import instance, one_of, positive, truth
from sigprop_snn.layers.block import Block
from sigprop_snn.layers.contracts import LayerReport, Learned, Needs, Response, Stage, Update
from sigprop_snn.layers.layer_pass import check_first, fits
from sigprop_snn.layers.norm import RunningNorm, RunningScale
from sigprop_snn.layers.parameters import add_gradient
from sigprop_snn.layers.rule import LearningNetwork, Rule
from sigprop_snn.layers.scoring import hits
from sigprop_snn.neurons.engines.reference import check_finite
from sigprop_snn.rules.passes import loop_weights, one_hot_targets
from sigprop_snn.rules.relaxation import (
    CARRIES,
    Carries,
    Relaxed,
    Target,
    as_run,
    check_relaxing,
    correlate,
    held,
    relax,
)
from sigprop_snn.shapes import Layout


class Hebbian(nn.Module, Rule):
    """Leaky rate neurons relax without and with the target; synapses learn from the difference.

    The network starts from zero voltages. After half of the T steps it continues twice with the
    same input: once unchanged (the free phase), and once with the current nudge * (t - f(y)), which
    pulls the output units y towards the target t. A loop sends the pull to the first block, and it
    travels on through the forward weights. Every synapse changes by a product of two local values,

        dW = f(pre) * (f(post with the target) - f(post without)) / nudge.

    The loop changes by the same product with its ends exchanged, f(h1) * dy / nudge, like the
    weight of a connection in the opposite direction (Kolen and Pollack's method to learn matching
    weights). The loop thus learns the direction in which a change of the first block improves the
    output, and its signal reaches every layer through the forward weights. A fixed random loop
    also learns, but less well.

    With `carries="error"` the loop is silent without a target: continuous-time signal propagation
    with a target loop (Kohan et al., arXiv 2204.01723). With "output" the loop always carries the
    output units' rates, and the target acts through them: error forward-propagation (Kohan et al.,
    arXiv 1808.03357) with its free phase and its weakly clamped phase. Both phases have the same
    length, so only the target causes their difference, even if the network has not settled. The
    target comes after the output has formed, so an answer that is already right changes nothing.

    The readout's weights lead to the output units, which have the dynamics of the last block's
    neurons. Normalisers update their running statistics; their gains don't learn. Scores come from
    the last step, so predict by "vote", which lets the network relax as in learning. The rule uses
    no autograd: it writes minus the change to `.grad`, for any optimizer.

    Args:
        layout: the network's shapes.
        carries: the loop's signal, "error" or "output".
        nudge: strength of the pull on the output units.
        learned: whether the loop learns, or keeps its initial random weights.

    Raises:
        SigpropError: if the nudge is not a positive number, or `carries` is unknown.
    """

    row_only: ClassVar[bool] = True
    leaves: ClassVar[tuple[str, ...]] = ("signal", "norm")
    needs: ClassVar[Needs] = Needs(feedback_weights=True, stored_activations="layers")

    def __init__(
        self,
        layout: Layout,
        *,
        carries: Carries = "error",
        nudge: float = 0.5,
        learned: bool = True,
    ) -> None:
        super().__init__()
        instance("layout", layout, Layout, "a Layout")
        one_of("carries", carries, CARRIES)
        self.carries: Carries = carries
        self.nudge = positive("nudge", nudge)
        self.loop = loop_weights(layout, learned=truth("learned", learned))

    @torch.no_grad()
    def learn(
        self, network: LearningNetwork, inputs: Tensor, labels: Tensor, update: Update | None
    ) -> Learned:
        """Relax the network without and with the target; every layer learns from the difference."""
        inputs = network.signal.plain(inputs)
        current = self._front(network, inputs, observe=True)
        rates = one_hot_targets(labels, self.loop.shape[0], current)
        neutral_rows = len(current) // 2
        relaxing = partial(relax, network, loop=self.loop, carries=self.carries)
        before = relaxing(current[:neutral_rows]) if neutral_rows else None
        free = relaxing(current[neutral_rows:], start=before)
        pulled = relaxing(current[neutral_rows:], start=before, target=Target(rates, self.nudge))
        self._change(network, inputs, free, pulled)
        self._observe(network, free)
        reports = [LayerReport(name, None, None) for name in self._updated(network, update)]
        distance = (rates - _blocks(network)[-1].neuron.fire(free.output)).square()
        loss = float(distance.sum(dim=1).mean()) / 2
        reports[-1] = LayerReport("readout", loss, hits(free.output, labels))
        scores = network.predicted({"readout": free.output})
        return Learned(reports, scores, hits(scores, labels))

    def stages(
        self,
        network: LearningNetwork,
        inputs: Tensor,
        labels: Tensor | None = None,
        *,
        record: tuple[str, ...] = (),
    ) -> Iterator[Stage]:
        """Relax the network without a target and yield every layer's stage."""
        with torch.no_grad():
            current = self._front(network, network.signal.plain(inputs), observe=False)
            free = relax(network, current, self.loop, carries=self.carries, keep=True)
            for index, (rate, voltage) in enumerate(free.steps):
                response = Response(as_run(rate, voltage, record), None)
                if index == 0:
                    check_first(inputs.shape, response.run, network.signal)
                yield Stage(f"block{index + 1}", None, None, response)
            yield Stage("readout", free.output, None, None, labels)

    def local_parameters(self) -> dict[str, list[nn.Parameter]]:
        """Return the loop's weights, which learn with the first block."""
        return {"block1": [self.loop]} if self.loop.requires_grad else {}

    def extra_repr(self) -> str:
        """Return the settings for `print(rule)`."""
        learned = self.loop.requires_grad
        return f"carries={self.carries!r}, nudge={self.nudge}, learned={learned}"

    def _front(self, network: LearningNetwork, inputs: Tensor, *, observe: bool) -> Tensor:
        """Return the first block's current from the input, `[T, B, ...]`."""
        check_relaxing(network, self.loop, "the Hebbian rule")
        _, block = next(network.named_blocks())
        check_finite(inputs)
        rows = inputs.shape[1] if observe and block.training else 0
        with fits(inputs.shape, "block1"):
            return block.current(inputs, observed_rows=rows)

    def _change(
        self, network: LearningNetwork, inputs: Tensor, free: Relaxed, pulled: Relaxed
    ) -> None:
        """Subtract the change of every synapse and of the loop from `.grad`."""
        assert network.readout is not None  # checked
        blocks = _blocks(network)
        before = held(blocks[0].neuron, inputs)
        for index, block in enumerate(blocks):
            moved = (pulled.rates[index] - free.rates[index]) / self.nudge
            correlate(block.synapse, before, moved)
            before = free.sent[index]
        moved = (pulled.output - free.output) / self.nudge
        correlate(network.readout.synapse, before.flatten(1), moved)
        add_gradient(self.loop, moved.t() @ free.rates[0].flatten(1) / -len(moved))

    def _observe(self, network: LearningNetwork, free: Relaxed) -> None:
        """Update the statistics of the normalisers above the first block.

        An update between the two phases would look like an effect of the target.
        """
        for block, raw in zip(_blocks(network)[1:], free.raw, strict=True):
            if block.training and isinstance(block.norm, RunningScale | RunningNorm):
                block.norm.observe(raw)

    def _updated(self, network: LearningNetwork, update: Update | None) -> list[str]:
        """Call `update` for every layer with a change, and return the names of all layers."""
        assert network.readout is not None  # checked
        layers = dict(network.named_layers())
        rule_parameters = self.local_parameters()
        for name, layer in layers.items():
            learns = [*layer.parameters(), *rule_parameters.get(name, [])]
            if update is not None and any(p.grad is not None for p in learns):
                update(name)
        return list(layers)


def _blocks(network: LearningNetwork) -> list[Block]:
    return [block for _, block in network.named_blocks()]
