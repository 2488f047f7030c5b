"""The arguments that all builders of networks share: what they accept, resolved in one place."""

from __future__ import annotations

import inspect
import math
import operator
import types
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import nn

from sigprop_snn.arguments import one_of, refused
from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.layers.block import Block, LayerRule
from sigprop_snn.layers.readout import Readout, features_read
from sigprop_snn.layers.rule import Rule
from sigprop_snn.losses.base import LocalLoss
from sigprop_snn.losses.catalogue import LOSSES
from sigprop_snn.network.network import Network, as_rule
from sigprop_snn.neurons import NEURONS, Neuron, make_neuron
from sigprop_snn.neurons.snntorch_adapter import copied, is_snntorch, wrapped
from sigprop_snn.predict import PREDICTIONS, Predict
from sigprop_snn.rules.catalogue import RULES, RuleChoice
from sigprop_snn.shapes import Layout
from sigprop_snn.signals.base import Signal
from sigprop_snn.signals.catalogue import SIGNALS, projected_context
from sigprop_snn.signals.label_overlay import LabelOverlay

AnyNeuron: TypeAlias = Callable[..., Any] | nn.Module | str
AnyRule: TypeAlias = Rule | LayerRule | Callable[..., Rule | LayerRule] | str
AnyLoss: TypeAlias = LocalLoss | Callable[[], LocalLoss] | str
AnySignal: TypeAlias = Signal | Callable[[Layout], Signal] | str


@dataclass(frozen=True)
class NetworkParts:
    """The parts of a network that do not depend on its architecture.

    Args:
        neuron: the neuron of every block: a class or a function that makes one (it gets the
            layer's shape if it has a required parameter `features`), an instance that is copied
            for every block, a snnTorch neuron, or a name in `NEURONS`.
        rule: the learning rule: an instance, a class, a function of the network's `Layout`, or a
            name in `RULES`. A name also brings the signal, the loss and the prediction that the
            rule is defined with, where these are not given. The voltage rule if not given.
        loss: the local loss: an instance, a class, or a name in `LOSSES`. If not given, the loss
            that fits the signal's targets.
        signal: the learning signal: an instance, a function of the network's `Layout`, or a name
            in `SIGNALS`. A projected context if not given.
        predict: "readout", "context", "subset", "neutral", "both" or "vote"; see `Network`.

    Raises:
        SigpropError: if a part is none of these; it names the argument and the value.
    """

    neuron: AnyNeuron
    rule: AnyRule | None = None
    loss: AnyLoss | None = None
    signal: AnySignal | None = None
    predict: Predict | None = None

    def layer_neuron(self, shape: tuple[int, ...]) -> Neuron:
        """Return a new neuron for a layer of this shape, without the batch."""
        model = self.neuron
        if isinstance(model, str):
            model = _named("neuron", model, NEURONS)
        if isinstance(model, nn.Module):
            made: Any = copied(model)
        elif _can_make(model, Neuron):
            made = make_neuron(model, shape)
        else:
            made = model
        if is_snntorch(made):
            made = wrapped(made)
        if not isinstance(made, Neuron):
            raise refused(
                "neuron",
                made,
                "a neuron, a maker of neurons, a snnTorch neuron, or a name in NEURONS",
            )
        return made

    def network(
        self,
        layout: Layout,
        blocks: Sequence[Block],
        *,
        read_side: int | None = None,
        readout: Readout | None = None,
    ) -> Network:
        """Return the network of these blocks, with a signal, a rule and a readout that fit.

        Args:
            layout: the shapes of the blocks.
            blocks: the blocks, in order.
            read_side: positions per side to which the readout pools the maps of all blocks, under
                a rule that allows it; if not given, the readout reads the last block.
            readout: a readout that is already made; a new one if not given.
        """
        if self.predict is not None:
            one_of("predict", self.predict, PREDICTIONS)
        choice = _named("rule", self.rule, RULES) if isinstance(self.rule, str) else None
        signal = self._signal(layout, choice)
        self._warn_of_ignored(signal, choice)
        # Before the rule, whose random weights follow those of the readout.
        if readout is None:
            readout = Readout(math.prod(layout.outputs[-1]), layout.classes, answers=signal.answers)
        rule = self._rule(layout, choice)
        if read_side is not None and (rule is None or as_rule(rule).reads_blocks):
            readout = Readout(
                features_read(layout.outputs, read_side),
                layout.classes,
                answers=signal.answers,
                sources=len(blocks),
                side=read_side,
            )
        return Network(
            signal,
            blocks,
            readout,
            rule=rule,
            loss=self._loss(choice),
            predict=self.predict or (choice.predict if choice is not None else None),
            sample_shape=layout.inputs[0],
        )

    def _warn_of_ignored(self, signal: Signal, choice: RuleChoice | None) -> None:
        """Warn of a signal or a loss without an effect under a rule that is given by name."""
        if choice is None:
            return
        for name in choice.ignores:
            given = getattr(self, name, None)
            # A rule without contexts still learns the signal's kind of answer.
            used = isinstance(signal, LabelOverlay) or signal.answers != "classes"
            if given is not None and not (name == "signal" and used):
                warnings.warn(
                    f"{name} is {given!r}, which has no effect under the rule {self.rule!r}",
                    stacklevel=4,
                )

    def _signal(self, layout: Layout, choice: RuleChoice | None) -> Signal:
        signal = self.signal
        if signal is None and choice is not None:
            signal = choice.signal
        if isinstance(signal, str):
            signal = _named("signal", signal, SIGNALS)
        if signal is None:
            return projected_context(layout)
        made: Any = signal
        # A signal is callable too, as a module.
        if _can_make(signal, Signal) and not isinstance(signal, nn.Module):
            made = signal(layout)
        if not isinstance(made, Signal):
            raise refused(
                "signal", made, "a Signal, a function of the network's Layout, or a name in SIGNALS"
            )
        return made

    def _rule(self, layout: Layout, choice: RuleChoice | None) -> Rule | LayerRule | None:
        if self.rule is None:
            return None
        made: Any = choice.make if choice is not None else self.rule
        if isinstance(made, type):
            if not issubclass(made, Rule) and not hasattr(made, "respond"):
                raise self._no_rule(made)
            maker: Any = made
            made = maker(layout) if _has_required_argument(maker) else maker()
        elif _can_make(made, Rule) and not isinstance(made, nn.Module | Rule):
            made = made(layout)
        if not isinstance(made, Rule) and not hasattr(made, "respond"):
            raise self._no_rule(made)
        rule: Rule | LayerRule = made
        return rule

    def _no_rule(self, made: object) -> SigpropError:
        return refused(
            "rule", made, "a rule, a function of the network's Layout, or a name in RULES"
        )

    def _loss(self, choice: RuleChoice | None) -> LocalLoss | None:
        loss = self.loss
        if loss is None and choice is not None:
            loss = choice.loss
        if isinstance(loss, str):
            loss = _named("loss", loss, LOSSES)
        made: Any = loss
        if _can_make(made, LocalLoss) and not isinstance(made, nn.Module):
            made = made()
        if made is not None and not isinstance(made, LocalLoss):
            raise refused("loss", made, "a LocalLoss or a name in LOSSES")
        return made


def sizes(name: str, value: Any) -> tuple[int, ...]:
    """Return the sizes of layers, or of a sample's axes; one whole number is one size.

    Raises:
        SigpropError: if there is none, or one is not a positive whole number.
    """
    try:
        found = tuple(operator.index(size) for size in _listed(value))
    except TypeError:
        found = ()
    if not found or min(found) < 1:
        raise SigpropError(f"{name} is {value!r}; expected positive whole numbers, at least one")
    return found


def picture_shape(shape: Any) -> tuple[int, int, int]:
    """Return the shape of a sample of feature maps, `(C, H, W)`.

    Raises:
        SigpropError: if there are not three positive sizes.
    """
    found = sizes("shape", shape)
    if len(found) != 3:
        raise SigpropError(f"shape is {list(found)}; expected (C, H, W)")
    return found


def _listed(value: Any) -> Any:
    """Return a lone whole number as a sequence of one; a truth value is no size."""
    if isinstance(value, bool | str):
        raise TypeError
    return (value,) if hasattr(value, "__index__") and not hasattr(value, "__len__") else value


def _can_make(maker: Any, kind: type) -> bool:
    """Return whether something is a function of Python, or a class of this kind or of snnTorch."""
    if isinstance(maker, type):
        return issubclass(maker, kind) or maker.__module__.startswith("snntorch.")
    return callable(maker) and not isinstance(maker, types.BuiltinFunctionType)


def _named(argument: str, name: str, catalogue: Any) -> Any:
    if name not in catalogue:
        raise UnknownNameError(argument, name, catalogue)
    return catalogue[name]


def _has_required_argument(maker: type) -> bool:
    """Return whether a class needs an argument, which is then the network's layout."""
    return any(
        parameter.default is inspect.Parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        for parameter in inspect.signature(maker).parameters.values()
    )
