"""A network whose blocks learn in the forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.network.block import Block
from sigprop_snn.network.inputs import check_inputs
from sigprop_snn.network.local import VoltageRule
from sigprop_snn.network.loss import LocalLoss
from sigprop_snn.network.losses import default_loss
from sigprop_snn.network.readout import Readout
from sigprop_snn.network.rule import Rule, Update, plain_run
from sigprop_snn.network.signal import Signal
from sigprop_snn.network.stage import Learned, Stage
from sigprop_snn.neurons.kernels import Packed

Predict = Literal["readout", "context", "vote"]
PREDICTIONS: tuple[Predict, ...] = ("readout", "context", "vote")


class Network(nn.Module):
    """Blocks in a row, a learning signal at the front, a readout at the end.

    `network(x)` predicts. `network.learn(x, labels)` learns by the network's rule. Under the rules
    of signal propagation it is the same forward pass with the contexts riding along: every block
    leaves its gradient in its parameters' `.grad` on the way, ready for any `torch.optim`
    optimizer, and no gradient passes from one block to another.

    Args:
        signal: the learning signal; it enters at the first block.
        blocks: the blocks, in order.
        readout: what reads the classes off the last block's spikes; without one, prediction is
            by the nearest context.
        rule: the learning rule of every block that has none of its own.
        loss: the local loss of every block that has none of its own; if not given, the one that
            the signal's targets ask for.
        predict: "readout", "context" for the nearest context at the last block, or "vote" for the
            sum of all layers' log-probabilities.

    Raises:
        SigpropError: if there is no block, the prediction needs a readout that is not there, or
            the signal's targets are not what a loss compares or the readout learns.
    """

    def __init__(
        self,
        signal: Signal,
        blocks: Sequence[Block],
        readout: Readout | None = None,
        *,
        rule: Rule | None = None,
        loss: LocalLoss | None = None,
        predict: Predict | None = None,
    ) -> None:
        super().__init__()
        if not blocks:
            raise SigpropError("Network got no blocks; expected at least one")
        predict = predict or ("readout" if readout is not None else "context")
        if predict not in PREDICTIONS:
            raise UnknownNameError("prediction", predict, PREDICTIONS)
        if predict == "readout" and readout is None:
            raise SigpropError("Network predicts by readout but got none; expected a Readout")
        self.signal = signal
        self.blocks = nn.ModuleList(blocks)
        self.readout = readout
        self.rule = rule if rule is not None else VoltageRule()
        self.loss = loss if loss is not None else default_loss(signal.answers)
        self.predict = predict
        self._check_answers()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the class scores `[B, C]` for inputs `[T, B, ...]`."""
        with torch.no_grad():
            if self.predict != "readout":
                return self.predicted(_scored(self.stages(inputs)))
            self._check(inputs, packed=True)
            activity: Tensor | Packed = self.signal.plain(inputs)
            for index, block in enumerate(self.each_block()):
                ran = plain_run(block, activity, self.signal if index == 0 else None)
                activity = block.pooled(ran.activity)
            assert self.readout is not None  # the constructor saw to it
            scores: Tensor = self.readout(activity)
        return scores

    def learn(self, inputs: Tensor, labels: Tensor, update: Update | None = None) -> Learned:
        """Pass a batch through; the network learns from it by its rule.

        Args:
            inputs: `[T, B, ...]`.
            labels: the class of every sample, `[B]`, from 0 to C - 1, or what else the signal
                takes.
            update: called with a layer's name as soon as its gradient is there and nothing waits
                for its weights, under a local rule before the next layer runs; see
                `local_parameters`.

        Raises:
            SigpropError: if the shapes, the labels or the values can't be learned from.
        """
        self.signal.check(inputs, labels)
        self._check(inputs, packed=self.rule.packed)
        return self.rule.learn(self, inputs.detach(), _as_targets(labels), update)

    def stages(
        self, inputs: Tensor, labels: Tensor | None = None, *, record: tuple[str, ...] = ()
    ) -> Iterator[Stage]:
        """Pass samples and contexts through, yielding every layer's stage as it is reached.

        With labels, and under a rule of local losses, each stage carries its loss with a
        gradient; a caller that stops asking stops the pass. `record` names what each run keeps
        of every step.
        """
        self._check(inputs, packed=self.rule.packed)
        if labels is not None:
            self.signal.check(inputs, labels)
            labels = _as_targets(labels)
        yield from self.rule.stages(self, inputs.detach(), labels, record=record)

    def record(self, inputs: Tensor, names: Iterable[str]) -> dict[str, dict[str, Tensor]]:
        """Return what every block does at every step.

        Args:
            inputs: `[T, B, ...]`.
            names: "spike", "voltage" (before the reset), or a tensor of the neuron's state.

        Returns:
            By block and name, `[T, B, ...]`, detached, without the contexts.
        """
        names = tuple(names)
        rows = inputs.shape[1] if inputs.dim() > 1 else 0
        kept: dict[str, dict[str, Tensor]] = {}
        with torch.no_grad():
            for stage in self.stages(inputs, record=names):
                if stage.response is not None:
                    recorded = stage.response.run.recorded
                    kept[stage.name] = {name: recorded[name][:, :rows] for name in names}
        return kept

    def predicted(self, by_layer: Mapping[str, Tensor]) -> Tensor:
        """Return the network's own scores `[B, C]`, given those of its layers by name."""
        if self.predict == "readout":
            return by_layer["readout"]
        if self.predict == "context":
            return by_layer[f"block{len(self.blocks)}"]
        return torch.stack([scores.log_softmax(dim=1) for scores in by_layer.values()]).sum(dim=0)

    def local_parameters(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters that learn together, by layer; the signal goes with block1.

        What the rule itself learns goes with the layer that it names.
        """
        groups = {
            f"block{index + 1}": [p for p in block.parameters() if p.requires_grad]
            for index, block in enumerate(self.each_block())
        }
        groups["block1"] += [p for p in self.signal.parameters() if p.requires_grad]
        if self.readout is not None:
            groups["readout"] = [p for p in self.readout.parameters() if p.requires_grad]
        for name, own in self.rule.local_parameters().items():
            groups.setdefault(name, []).extend(own)
        return groups

    def each_block(self) -> Iterator[Block]:
        """Yield the blocks in order, with their type."""
        for block in self.blocks:
            assert isinstance(block, Block)
            yield block

    def named_blocks(self) -> Iterator[tuple[str, Block]]:
        """Yield every block with its name, "block1" for the first, in order."""
        for index, block in enumerate(self.each_block()):
            yield f"block{index + 1}", block

    def _check(self, inputs: Tensor, *, packed: bool) -> None:
        """Check samples at the start of a pass, which may hand the first block packed spikes."""
        first = next(self.each_block())
        packs = (packed if first.rule is None else first.rule.packed) and first.packs(inputs)
        # Packing looks at every number: what packs is finite, and what does not is checked then.
        check_inputs(inputs, finite=not packs)

    def _check_answers(self) -> None:
        answers, signal = self.signal.answers, type(self.signal).__name__
        for loss in (self.loss, *(block.loss for block in self.each_block())):
            if loss is None:
                continue
            if answers not in loss.takes:
                raise SigpropError(
                    f"{type(loss).__name__} can't compare the targets of {signal}, which are "
                    f"{answers}; it takes {', '.join(sorted(loss.takes))}"
                )
            if self.signal.own and loss.compares_contexts:
                raise SigpropError(
                    f"{loss} selects targets among contexts that all samples share, but {signal} "
                    "gives each sample its own; expected a loss that takes the label, such as "
                    "DotProductLoss()"
                )
        if self.readout is not None and self.readout.answers != answers:
            raise SigpropError(
                f"the readout learns {self.readout.answers} but the targets of {signal} are "
                f"{answers}; expected Readout(..., answers={answers!r})"
            )
        if answers == "values" and self.predict != "readout":
            raise SigpropError(
                f"Network predicts by {self.predict} but {signal} has values to find; expected "
                "predict='readout'"
            )
        if answers == "labels" and self.predict == "vote":
            raise SigpropError(
                f"Network predicts by vote but {signal} lets several labels hold; expected "
                "predict='readout' or 'context'"
            )


def _scored(stages: Iterable[Stage]) -> dict[str, Tensor]:
    """Return the scores of the layers that guess, by name."""
    return {stage.name: stage.scores for stage in stages if stage.scores is not None}


def _as_targets(labels: Tensor) -> Tensor:
    return labels if labels.is_floating_point() else labels.long()
