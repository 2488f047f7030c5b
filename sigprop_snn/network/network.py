"""A network whose blocks learn in the forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sigprop_snn.arguments import axes, instance, names_of, one_of, refused
from sigprop_snn.device import to_device
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.block import Block, LayerRule
from sigprop_snn.layers.contracts import Learned, Stage, Update
from sigprop_snn.layers.layer_pass import plain_pass
from sigprop_snn.layers.prediction import narrowed
from sigprop_snn.layers.readout import READOUT, Reading, Readout
from sigprop_snn.layers.rule import Rule
from sigprop_snn.layers.sources import INPUT
from sigprop_snn.losses.base import LocalLoss
from sigprop_snn.losses.catalogue import default_loss
from sigprop_snn.network.checks import (
    Reached,
    as_constant,
    as_targets,
    as_weights,
    check_inputs,
    check_labels,
    check_made_outside_inference,
    learning_mode,
    one_dtype,
    pairs,
)
from sigprop_snn.network.fitting import check_answers, check_readout, check_row
from sigprop_snn.network.recordings import chosen_recordings, first_rows
from sigprop_snn.network.scores import Scores
from sigprop_snn.predict import BY_LAST_BLOCK, Predict
from sigprop_snn.rules.signal_propagation import SignalPropagation
from sigprop_snn.rules.voltage import VoltageRule
from sigprop_snn.signals.base import Signal


class Optimizers(Protocol):
    """One optimizer for each layer, behind one method."""

    def step(self, layer: str) -> object:
        """Update the layer of this name by its gradient."""


def as_update(update: Update | Optimizers | None) -> Update | None:
    """Return the function to call with a layer's name: an object's `step`, or the function.

    Raises:
        SigpropError: if it is neither, or one optimizer of torch for the whole network.
    """
    given: Any = update
    owner = getattr(given, "__self__", given)  # of a method such as optimizer.step
    if isinstance(owner, torch.optim.Optimizer) and not callable(owner):
        raise SigpropError(
            f"update is one {type(owner).__name__} for the whole network; expected one for each "
            "layer: LocalOptimizers(network, make). Or give no update, and call step() after learn"
        )
    call: Update | None = getattr(given, "step", given)
    if call is not None and (not callable(call) or isinstance(call, type | nn.Module)):
        raise SigpropError(
            f"update is {update!r}; expected a function of a layer's name, or LocalOptimizers"
        )
    return call


class Network(nn.Module):
    """Blocks, each above those that it receives; a signal at the front, a readout at the end.

    `network(x)` predicts. `network.learn(x, labels)` learns by the network's rule. Under the rules
    of signal propagation it is the same forward pass with the contexts beside the samples: every
    block leaves its gradient in its parameters' `.grad` on the way, ready for any `torch.optim`
    optimizer, and no gradient passes from one block to another.

    Args:
        signal: the learning signal; it enters at the first block.
        blocks: the blocks, in order. Each receives the block below it, or several lower blocks;
            see `Block` and `Sources`.
        readout: reads the classes off the spikes of the last block, or of several; without one,
            the nearest context predicts.
        rule: the learning rule of the network, or the layer rule of every block that has none of
            its own; the voltage rule if not given.
        loss: the local loss of every block that has none of its own; if not given, the one that
            the signal's targets ask for.
        predict: "readout"; "context" for the nearest context at the last block; "subset" for the
            nearest there of the contexts that the blocks below kept, see `narrowed`; "neutral" for
            the scores at the last block less that of a neutral context, see `above_neutral`; "both"
            for the sum of the log-probabilities of the readout and of the contexts at the last
            block; or "vote" for the sum of all layers' log-probabilities.
        sample_shape: shape of one step of one sample, if inputs without a time axis are to be
            found by it. `mlp` and the other builders give it.

    Raises:
        SigpropError: if there is no block, a block receives one that is not below it, the rule
            can't take several, the readout reads more than the rule allows or is missing where
            it predicts, the loss or the readout can't use the signal's targets, or the rule or the
            signal has no prediction of this kind.
    """

    rule: Rule
    readout: Readout | None
    signal: Signal
    predict: Predict

    def __init__(
        self,
        signal: Signal,
        blocks: Sequence[Block],
        readout: Readout | None = None,
        *,
        rule: Rule | LayerRule | None = None,
        loss: LocalLoss | None = None,
        predict: Predict | None = None,
        sample_shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        instance("signal", signal, Signal, "a Signal such as ProjectedContext(...)")
        blocks = [blocks] if isinstance(blocks, Block) else blocks
        if not isinstance(blocks, Iterable) or not all(isinstance(b, Block) for b in blocks):
            hint = "; from_snntorch(model) makes them" if isinstance(blocks, nn.Sequential) else ""
            raise refused("blocks", blocks, f"a sequence of Block{hint}")
        blocks = list(blocks)
        if not blocks:
            raise SigpropError("Network got no blocks; expected at least one")
        if readout is not None:
            instance("readout", readout, Readout, "a Readout")
        if loss is not None:
            instance("loss", loss, LocalLoss, "a local loss such as DotProductLoss()")
        if predict is None:
            predict = "readout" if readout is not None else "context"
        self.signal = signal
        self.blocks = nn.ModuleList(blocks)
        self.readout = readout
        self.rule = as_rule(rule if rule is not None else VoltageRule())
        self.loss = loss if loss is not None else default_loss(signal.answers)
        self.predict = predict
        self.sample_shape = None if sample_shape is None else axes("sample_shape", sample_shape)
        self._check_answers()
        # Last, so that the term of a loss does not change the weights that a seed gives.
        self.loss_heads = nn.ModuleDict(self._loss_heads())

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute. A layer rule becomes the rule of signal propagation by it."""
        if name == "rule":
            value = as_rule(value)
            check_row(value, self.named_blocks())
            check_readout(value, self.readout, self.named_blocks())
            # The rule before may be a module and this one not, or the other way round.
            self._modules.pop("rule", None)
            self.__dict__.pop("rule", None)
            self._gradients_checked = False
        if name in ("signal", "readout", "loss", "predict", "rule"):
            # They are replaced one by one, so they have to fit each other in the next pass.
            self._answers_checked = False
        super().__setattr__(name, value)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the class scores `[B, C]` for inputs `[T, B, ...]`, without a gradient.

        The network learns by `learn`, not by a loss of these scores and `backward()`. For
        backpropagation, give it the rule "backpropagation".
        """
        with one_dtype(self):
            scores = self._scores(inputs)
        return Scores.of(scores) if self.training else scores

    def _scores(self, inputs: Tensor) -> Tensor:
        if self.predict != "readout":
            with torch.no_grad():
                return self.predicted(
                    {s.name: s.scores for s in self.stages(inputs) if s.scores is not None}
                )
        self.check_inputs(inputs)
        assert self.readout is not None  # the constructor checks it
        reading = Reading(self.readout, self.named_blocks())
        for layer in plain_pass(self.named_blocks(), self.signal, as_weights(self, inputs)):
            reading.add(layer.name, layer.sent)
        with torch.no_grad():
            return reading.scores()

    def learn(
        self, inputs: Tensor, labels: Tensor, update: Update | Optimizers | None = None
    ) -> Learned:
        """Pass a batch through; the network learns from it by its rule.

        It learns under `torch.no_grad()` and `torch.inference_mode()` as well.

        Args:
            inputs: `[T, B, ...]`.
            labels: the class of every sample, `[B]`, from 0 to C - 1, or what else the signal
                takes.
            update: a function of a layer's name, or an object with a method `step` that takes
                it. Called as soon as the layer's gradient exists and nothing waits for its
                weights, under a local rule before the next layer runs; see `local_parameters`.

        Raises:
            SigpropError: if the network can't learn from the shapes, the labels or the values.
        """
        self.check_batch(inputs, labels)
        with self.learning(update) as call:
            targets = as_targets(as_constant(labels), self.signal)
            return self.rule.learn(self, self.entering(inputs), targets, call)

    @contextmanager
    def learning(self, update: Update | Optimizers | None) -> Iterator[Update | None]:
        """Compute gradients in the `with` block; yield the function to call for each layer.

        At the end of the first block after the rule was set, warn of the parameters that got no
        gradient.

        Raises:
            SigpropError: if `update` can't be called, or a parameter was made under
                `torch.inference_mode()`.
        """
        call = as_update(update)
        with learning_mode(self, call) as call:
            if self._gradients_checked:
                yield call
                return
            reached = Reached(self, self.rule.leaves)
            yield reached.watch(call)
            self._gradients_checked = True
            reached.warn(self._rule_name())

    def check_inputs(self, inputs: Tensor) -> None:
        """Check samples `[T, B, ...]`, and the network if a part was replaced.

        Raises:
            SigpropError: if they are no tensor, or an axis is missing or empty; or if signal,
                readout, loss and prediction do not fit each other.
        """
        if not self._answers_checked:
            self._check_answers()
        check_inputs(inputs, self.sample_shape)

    def entering(self, inputs: Tensor) -> Tensor:
        """Return checked inputs in the dtype of the weights, without a gradient."""
        return as_weights(self, as_constant(inputs))

    def check_batch(self, inputs: Tensor, labels: Tensor) -> None:
        """Check a batch: inputs `[T, B, ...]` and labels as the signal takes them.

        Raises:
            SigpropError: if one is no tensor, or has a wrong shape, dtype or value.
        """
        check_labels(inputs, labels)
        self.check_inputs(inputs)
        self.signal.check(inputs, labels)

    def checked(self, batches: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches after a check, on the network's device; labels of classes are int64.

        Args:
            batches: `(x [T, B, ...], labels)`, with labels as the signal takes them.

        Raises:
            SigpropError: if `batches` gives no pairs of tensors, or a batch is wrong; see `learn`.
        """
        device = next(self.parameters()).device
        for inputs, labels in pairs(batches):
            self.check_batch(inputs, labels)
            labels = labels.to(device)
            yield (
                as_weights(self, to_device(inputs, device)),
                as_targets(labels, self.signal),
            )

    def stages(
        self, inputs: Tensor, labels: Tensor | None = None, *, record: tuple[str, ...] = ()
    ) -> Iterator[Stage]:
        """Pass samples and contexts through, yielding every layer's stage as it is reached.

        With labels, and under a rule of local losses, each stage carries its loss with a
        gradient; a caller that stops asking stops the pass. `record` names what each run keeps
        of every step.
        """
        if labels is None:
            self.check_inputs(inputs)
            yield from self.rule.stages(self, self.entering(inputs), record=record)
            return
        self.check_batch(inputs, labels)
        labels = as_targets(as_constant(labels), self.signal)
        check_made_outside_inference(self)
        if torch.is_inference_mode_enabled():
            raise SigpropError(
                "stages got labels under torch.inference_mode(), where losses have no gradient; "
                "expected torch.no_grad() or neither"
            )
        yield from _with_gradients(
            self.rule.stages(self, self.entering(inputs), labels, record=record)
        )

    def record(
        self,
        inputs: Tensor,
        names: Iterable[str] | str,
        layers: Iterable[str] | str | None = None,
    ) -> dict[str, dict[str, Tensor]]:
        """Return what layers do at every step.

        Args:
            inputs: `[T, B, ...]`.
            names: one or several of "spike", "voltage" (before the reset), and the tensors of the
                neuron's state.
            layers: one or several of the blocks' names, "input" (its "spike" is the inputs) and
                "readout" (its "voltage", before the mean over time); all blocks if not given.

        Returns:
            By layer and name, `[T, B, ...]`, detached, without the contexts.

        Raises:
            SigpropError: if the inputs or a name can't be used, or a tensor of the state has no
                axis that is known to be the batch.
        """
        names = names_of("names", names)
        for name in (INPUT, READOUT):
            if name in names:
                raise SigpropError(f"recording {name!r} is a layer; expected layers={name!r}")
        blocks = [name for name, _ in self.named_blocks()]
        chosen = blocks if layers is None else names_of("layers", layers)
        for layer in chosen:
            one_of("layer", layer, [INPUT, *(name for name, _ in self.named_layers())])
        self.check_inputs(inputs)
        found: dict[str, dict[str, Tensor]] = {INPUT: {"spike": inputs.detach()}}
        sent: dict[str, Tensor] = {}
        read = self.readout.names(self.named_blocks()) if self.readout and READOUT in chosen else ()
        rows = inputs.shape[1]
        with torch.no_grad():
            for stage in self.stages(inputs, record=names):
                if stage.response is None:
                    continue
                ran = stage.response.run
                found[stage.name] = {
                    name: first_rows(name, ran.recorded[name], rows, ran.mean_voltage.shape)
                    for name in names
                }
                if stage.name in read:
                    pool = self.block(stage.name).pool
                    sent[stage.name] = ran.spikes.rows(0, rows).pooled(pool).dense()
        if self.readout is not None and read:
            voltage = self.readout.trace(*(sent[name] for name in read)).recorded["voltage"]
            found[READOUT] = {"voltage": voltage}
        return {layer: chosen_recordings(layer, found[layer], names) for layer in chosen}

    def predicted(self, by_layer: Mapping[str, Tensor]) -> Tensor:
        """Return the network's own scores `[B, C]`, given those of its layers by name."""
        if self.predict == "readout":
            return by_layer["readout"]
        if self.predict == "subset":
            return narrowed([by_layer[name] for name, _ in self.named_blocks() if name in by_layer])
        last = f"block{len(self.blocks)}"
        if self.predict in BY_LAST_BLOCK:
            return by_layer[last]
        all_scores = [
            scores.log_softmax(dim=1)
            for name, scores in by_layer.items()
            if self.predict == "vote" or name in (last, "readout")
        ]
        return torch.stack(all_scores).sum(dim=0)

    def local_parameters(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters that learn together, by layer; the signal goes with block1.

        What a local loss learns goes with its block, and what the rule itself learns with the
        layer that the rule names.
        """
        groups = {
            name: [p for p in block.parameters() if p.requires_grad]
            for name, block in self.named_blocks()
        }
        for name, head in self.loss_heads.items():
            groups[name] += [p for p in head.parameters() if p.requires_grad]
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

    def block(self, name: str) -> Block:
        """Return the block of a name, "block1" for the first.

        Raises:
            UnknownNameError: if there is none.
        """
        blocks = dict(self.named_blocks())
        return blocks[one_of("block", name, blocks)]

    def named_layers(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield the blocks and the readout with their names, in order."""
        yield from self.named_blocks()
        if self.readout is not None:
            yield "readout", self.readout

    def loss_of(self, block: Block) -> LocalLoss:
        """Return the local loss of a block: its own, or the network's."""
        return block.loss if block.loss is not None else self.loss

    def _rule_name(self) -> str:
        rule = self.rule
        return type(rule.layer_rule if isinstance(rule, SignalPropagation) else rule).__name__

    def loss_head(self, name: str) -> nn.Module | None:
        """Return the module with the weights that the local loss of a block learns, or None."""
        return dict(self.loss_heads.items()).get(name)

    def _loss_heads(self) -> dict[str, nn.Module]:
        """Return the modules of the local losses that have one, by the name of the block."""
        heads: dict[str, nn.Module] = {}
        for name, block in self.named_blocks():
            head = self.loss_of(block).head(block.maps)
            if head is not None:
                heads[name] = head.requires_grad_(not block.frozen)
        return heads

    def _check_answers(self) -> None:
        blocks = (block.loss for block in self.each_block() if block.loss is not None)
        losses = (self.loss, *blocks)
        check_answers(self.signal, losses, self.readout, self.rule, self.predict)
        self._answers_checked = True


def as_rule(rule: Rule | LayerRule) -> Rule:
    """Return a rule as it is, or signal propagation by a layer rule.

    Raises:
        SigpropError: if it is neither.
    """
    if isinstance(rule, Rule):
        return rule
    if isinstance(rule, type) or not hasattr(rule, "respond"):
        raise refused("rule", rule, "a rule such as VoltageRule()")
    return SignalPropagation(rule)


@torch.enable_grad()
def _with_gradients(stages: Iterator[Stage]) -> Iterator[Stage]:
    """Make every stage with gradients; the caller's mode returns between two stages."""
    yield from stages
