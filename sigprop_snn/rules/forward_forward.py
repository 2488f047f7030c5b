"""Forward-Forward: every layer tells right labels from wrong ones by its goodness."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sigprop_snn.network import Block, LocalRule, Response, Stage, SurrogateRule
from sigprop_snn.network.overlay import LabelOverlay
from sigprop_snn.network.rule import plain_run
from sigprop_snn.neurons import Neuron

if TYPE_CHECKING:
    from sigprop_snn.network import Network


@dataclass(frozen=True)
class ForwardForward(LocalRule):
    """Forward-Forward (Hinton, arXiv 2212.13345), with hard negatives.

    Two passes with a label in the sample, one right and one wrong, and in each layer a loss that
    drives their goodness apart. A pass under the neutral overlay goes before: the readout on it
    says which wrong labels the network believes, and those are drawn. It also learns from it, so
    that it can predict in one pass.

    Args:
        by: how a layer responds, and so what its goodness is taken of: under the surrogate rule
            the mean over time of f(U - threshold), which for a rate neuron is its activity.
        hard: whether wrong labels are drawn in proportion to the network's beliefs.
    """

    by: LocalRule = field(default_factory=SurrogateRule)
    hard: bool = True

    def stages(
        self,
        network: Network,
        inputs: Tensor,
        labels: Tensor | None = None,
        *,
        record: tuple[str, ...] = (),
    ) -> Iterator[Stage]:
        """Yield every layer's stage; with labels, that of the readout stands on a neutral pass."""
        if labels is None or not isinstance(network.signal, LabelOverlay):
            yield from super().stages(network, inputs, labels, record=record)
            return
        seen = self._neutral(network, inputs)
        scores = network.readout(seen) if network.readout is not None else None
        beliefs = scores.detach().softmax(dim=1) if scores is not None and self.hard else None
        entry = network.signal.enter(inputs, labels, beliefs).without_samples()
        yield from self.through(network, entry, learn=True, record=record)
        if scores is not None:
            assert network.readout is not None
            yield Stage("readout", scores, network.readout.loss(scores, labels), None, labels)

    def represent(self, voltage: Tensor, neuron: Neuron) -> Tensor:
        """Return what `by` represents the voltages by."""
        return self.by.represent(voltage, neuron)

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
        """Run the block as `by` does."""
        return self.by.respond(
            block, inputs, context=context, rows=rows, learn=learn, record=record
        )

    def _neutral(self, network: Network, inputs: Tensor) -> Tensor:
        """Return what the last block sends on for the samples under the neutral overlay."""
        with torch.no_grad():
            inputs = network.signal.plain(inputs)
            for index, block in enumerate(network.each_block()):
                ran = plain_run(block, inputs, network.signal if index == 0 else None)
                inputs = block.pooled(ran.spike)
        return inputs
