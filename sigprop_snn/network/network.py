"""A network whose blocks learn in the forward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.network.block import Block
from sigprop_snn.network.loss import DotProductLoss, LocalLoss
from sigprop_snn.network.readout import Readout
from sigprop_snn.network.rule import Response, Rule, VoltageRule
from sigprop_snn.network.signal import ProjectedContext
from sigprop_snn.neurons.filters import is_constant

Predict = Literal["readout", "context", "vote"]
PREDICTIONS: tuple[Predict, ...] = ("readout", "context", "vote")


class Stage(NamedTuple):
    """One layer's part in a forward pass with the contexts riding along.

    Attributes:
        name: "block1" for the first block, "readout" for the readout.
        scores: how near each sample is to each class here, `[B, C]`.
        loss: the local loss, if labels were given.
        response: a block's spikes and voltages, samples first, contexts behind them; the readout
            has none.
    """

    name: str
    scores: Tensor
    loss: Tensor | None
    response: Response | None


class LayerReport(NamedTuple):
    """How one layer did on a batch.

    Attributes:
        name: "block1" for the first block; the readout is "readout".
        loss: the local loss.
        correct: how many samples it alone would have classified rightly.
    """

    name: str
    loss: float
    correct: int


class Learned(NamedTuple):
    """What a learning pass reports: every layer in order, and the network's own scores."""

    layers: list[LayerReport]
    scores: Tensor


class Network(nn.Module):
    """Blocks in a row, a learning signal at the front, a readout at the end.

    `network(x)` predicts. `network.learn(x, labels)` is the same forward pass with the contexts
    riding along: every block leaves its gradient in its parameters' `.grad` on the way, ready for
    any `torch.optim` optimizer. No gradient passes from one block to another.

    Args:
        signal: the learning signal; it drives the first block.
        blocks: the blocks, in order.
        readout: what reads the classes off the last block's spikes; without one, prediction is
            by the nearest context.
        rule: the learning rule of every block that has none of its own.
        loss: the local loss of every block that has none of its own.
        predict: "readout", "context" for the nearest context at the last block, or "vote" for the
            sum of all layers' log-probabilities.

    Raises:
        SigpropError: if there is no block, or the prediction needs a readout that is not there.
    """

    def __init__(
        self,
        signal: ProjectedContext,
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
        self.loss = loss if loss is not None else DotProductLoss()
        self.predict = predict

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the class scores `[B, C]` for inputs `[T, B, ...]`."""
        _check_inputs(inputs)
        if self.predict != "readout":
            with torch.no_grad():
                return self.predicted({s.name: s.scores for s in self.stages(inputs)})
        with torch.no_grad():
            for index, block in enumerate(self._blocks()):
                response = self._respond(block, inputs, rows=inputs.shape[1], first=index == 0)
                inputs = block.pooled(response.run.spike)
            scores: Tensor = self._readout()(inputs)
        return scores

    def learn(
        self, inputs: Tensor, labels: Tensor, update: Callable[[str], object] | None = None
    ) -> Learned:
        """Pass a batch through; every layer learns from it on the way.

        Args:
            inputs: `[T, B, ...]`.
            labels: the class of every sample, `[B]`, from 0 to C - 1.
            update: called with a layer's name as soon as its gradient is there, so that the layer
                can be updated before the next one runs; see `local_parameters`.

        Raises:
            SigpropError: if the shapes, the labels or the values can't be learned from.
        """
        self._check_labels(inputs, labels)
        reports: list[LayerReport] = []
        by_layer: dict[str, Tensor] = {}
        for stage in self.stages(inputs, labels):
            assert stage.loss is not None  # labels were given
            if stage.loss.requires_grad:
                stage.loss.backward()  # type: ignore[no-untyped-call]
                if update is not None:
                    update(stage.name)
            scores = by_layer[stage.name] = stage.scores.detach()
            hits = int(correct(scores, labels).sum())
            reports.append(LayerReport(stage.name, float(stage.loss.detach()), hits))
        return Learned(reports, self.predicted(by_layer))

    def stages(
        self, inputs: Tensor, labels: Tensor | None = None, *, record: tuple[str, ...] = ()
    ) -> Iterator[Stage]:
        """Pass samples and contexts through, yielding every layer's stage as it is reached.

        With labels each stage carries its local loss with a gradient; a caller that stops asking
        stops the pass. `record` names what each run keeps of every step.
        """
        _check_inputs(inputs)
        if labels is not None:
            self._check_labels(inputs, labels)
            labels = labels.long()
        inputs = inputs.detach()
        rows = inputs.shape[1]
        learn = labels is not None
        for index, block in enumerate(self._blocks()):
            response = self._respond(
                block, inputs, rows=rows, first=index == 0, riding=True, learn=learn, record=record
            )
            local = block.loss if block.loss is not None else self.loss
            samples, contexts = response.representation[:rows], response.representation[rows:]
            scores = local.scores(samples, contexts)
            loss = local.loss(scores, labels) if labels is not None else None
            yield Stage(f"block{index + 1}", scores, loss, response)
            inputs = block.pooled(response.run.spike)
        if self.readout is not None:
            scores = self.readout(inputs[:, :rows])
            loss = self.readout.loss(scores, labels) if labels is not None else None
            yield Stage("readout", scores, loss, None)

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
        """Return the parameters that learn together, by layer; the signal goes with block1."""
        groups = {
            f"block{index + 1}": [p for p in block.parameters() if p.requires_grad]
            for index, block in enumerate(self._blocks())
        }
        groups["block1"] += [p for p in self.signal.parameters() if p.requires_grad]
        if self.readout is not None:
            groups["readout"] = [p for p in self.readout.parameters() if p.requires_grad]
        return groups

    def _blocks(self) -> Iterator[Block]:
        for block in self.blocks:
            assert isinstance(block, Block)
            yield block

    def _readout(self) -> Readout:
        assert self.readout is not None  # the constructor saw to it
        return self.readout

    def _respond(
        self,
        block: Block,
        inputs: Tensor,
        *,
        rows: int,
        first: bool,
        riding: bool = False,
        learn: bool = False,
        record: tuple[str, ...] = (),
    ) -> Response:
        rule = block.rule if block.rule is not None else self.rule
        context = self.signal() if first and riding else None
        try:
            response = rule.respond(
                block, inputs, context=context, rows=rows, learn=learn, record=record
            )
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            if not first:
                raise
            raise SigpropError(
                f"input of shape {list(inputs.shape)} does not fit the first block: {error}"
            ) from error
        # NaN never exceeds a threshold: unchecked, it would pass for silence.
        if first and not torch.isfinite(response.run.mean_voltage).all():
            raise SigpropError(
                "the first block's membrane voltage is not finite; "
                "expected smaller inputs or weights"
            )
        if first and response.run.mean_voltage.shape[1:] != self.signal.shape:
            raise SigpropError(
                f"input of shape {list(inputs.shape)} gives the first block a current of shape "
                f"{list(response.run.mean_voltage.shape[1:])}; "
                f"expected {list(self.signal.shape)}, the signal's"
            )
        return response

    def _check_labels(self, inputs: Tensor, labels: Tensor) -> None:
        if labels.dim() != 1 or inputs.dim() < 2 or labels.shape[0] != inputs.shape[1]:
            raise SigpropError(
                f"labels have shape {list(labels.shape)} beside an input of shape "
                f"{list(inputs.shape)}; expected [B] beside [T, B, ...]"
            )
        if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
            raise SigpropError(f"labels are {labels.dtype}; expected integers")
        classes = self.signal.classes
        wrong = labels[(labels < 0) | (labels >= classes)]
        if len(wrong):
            raise SigpropError(
                f"label {int(wrong[0])} is out of range; expected 0 to {classes - 1}, "
                f"for {classes} classes"
            )


def correct(scores: Tensor, labels: Tensor) -> Tensor:
    """Return which samples are classified rightly, `[B]`, for scores `[B, C]`.

    A tie for the highest score never counts, so that a silent network scores nothing.
    """
    best = scores.topk(2, dim=1)
    return (best.indices[:, 0] == labels) & (best.values[:, 0] > best.values[:, 1])


def _check_inputs(inputs: Tensor) -> None:
    if inputs.dim() < 3 or min(inputs.shape) < 1:
        raise SigpropError(
            f"input has shape {list(inputs.shape)}; expected [T, B, ...], none of them empty"
        )
    # NaN never exceeds a threshold: unchecked, it would pass for silence.
    distinct = inputs[:1] if is_constant(inputs) else inputs
    bad = ~torch.isfinite(distinct)
    if bad.any():
        place = bad.nonzero()[0].tolist()
        raise SigpropError(
            f"input is {float(distinct[tuple(place)])} at {place}; expected finite numbers"
        )
