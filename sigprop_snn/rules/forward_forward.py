"""Forward-Forward: every layer separates right labels from wrong labels by its goodness."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from sigprop_snn.layers.block import LayerRule
from sigprop_snn.layers.contracts import Learned, Stage, Update
from sigprop_snn.layers.layer_pass import plain_pass
from sigprop_snn.layers.readout import READOUT, Reading
from sigprop_snn.layers.rule import LearningNetwork, Rule
from sigprop_snn.rules.signal_propagation import (
    SignalPropagation,
    learn_by_stages,
    two_streams,
)
from sigprop_snn.rules.surrogate import SurrogateRule
from sigprop_snn.signals.label_overlay import LabelOverlay


@dataclass(frozen=True)
class ForwardForward(Rule):
    """Forward-Forward (Hinton, arXiv 2212.13345), with hard negatives.

    Each sample passes with a right and with a wrong label in it, and each layer's loss separates
    their goodness. First, a pass with the neutral overlay goes to the readout; wrong labels are
    drawn with the readout's probabilities. The readout also learns from this pass, so that the
    network can predict in one pass.

    Args:
        by: the layers' rule; the goodness is computed from its representation. Under the surrogate
            rule this is the mean over time of f(U - threshold), a rate neuron's activity.
        hard: whether to draw wrong labels with the readout's probabilities.
    """

    reads_blocks: ClassVar[bool] = True
    leaves: ClassVar[tuple[str, ...]] = ()

    by: LayerRule = field(default_factory=SurrogateRule)
    hard: bool = True

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
        """Yield every layer's stage; with labels, the readout's stage uses the neutral pass."""
        if labels is None or not isinstance(network.signal, LabelOverlay):
            plain = SignalPropagation(self.by)
            yield from plain.stages(network, inputs, labels, record=record)
            return
        seen = self._neutral(network, inputs)
        scores = seen.scores() if network.readout is not None else None
        beliefs = scores.detach().softmax(dim=1) if scores is not None and self.hard else None
        entry = network.signal.enter(inputs, labels, beliefs).without_samples()
        yield from two_streams(network, entry, self.by, learn=True, record=record)
        if scores is not None:
            assert network.readout is not None
            yield Stage(READOUT, scores, network.readout.loss(scores, labels), None, labels)

    def _neutral(self, network: LearningNetwork, inputs: Tensor) -> Reading:
        """Return what the readout receives for samples with the neutral overlay."""
        reading = Reading(network.readout, network.named_blocks())
        for layer in plain_pass(network.named_blocks(), network.signal, inputs):
            reading.add(layer.name, layer.sent)
        return reading
