"""Checks that the parts of a network fit each other."""

from __future__ import annotations

from collections.abc import Iterable

from sigprop_snn.arguments import instance, one_of
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.block import Block
from sigprop_snn.layers.readout import Readout
from sigprop_snn.layers.rule import Rule
from sigprop_snn.layers.sources import first_branch, sources_by_name
from sigprop_snn.losses.base import LocalLoss, no_scores
from sigprop_snn.predict import PREDICTIONS, Predict
from sigprop_snn.rules.signal_propagation import SignalPropagation
from sigprop_snn.signals.base import Signal


def check_row(rule: Rule, blocks: Iterable[tuple[str, Block]]) -> None:
    """Check that a rule for a row of blocks has one.

    Raises:
        SigpropError: if a block receives another than the block below it.
    """
    received = sources_by_name(blocks)
    name = first_branch(received) if rule.row_only else None
    if name is not None:
        raise SigpropError(
            f"{type(rule).__name__} works only where every block receives the block below it, "
            f"but {name} receives {', '.join(received[name])}"
        )


def check_readout(rule: Rule, readout: Readout | None, blocks: Iterable[tuple[str, Block]]) -> None:
    """Check that the readout reads blocks of the network, and only those the rule lets it.

    Raises:
        SigpropError: if it reads others.
    """
    if readout is None:
        return
    readout.names(blocks)
    if not rule.reads_blocks and not readout.plain:
        raise SigpropError(
            f"{type(rule).__name__} works only with a plain readout of the last block, but "
            f"the network has Readout({readout.extra_repr()})"
        )


def check_answers(
    signal: Signal,
    losses: Iterable[LocalLoss],
    readout: Readout | None,
    rule: Rule,
    predict: Predict,
) -> None:
    """Check that the losses, the readout and the prediction take the targets of the signal.

    Raises:
        SigpropError: if one does not.
    """
    answers, name = signal.answers, type(signal).__name__
    one_of("predict", predict, PREDICTIONS)
    if readout is not None:
        instance("readout", readout, Readout, "a Readout")
    if predict in ("readout", "both") and readout is None:
        raise SigpropError(f"Network predicts by {predict} but got no readout; expected a Readout")
    for loss in losses:
        _check_loss(loss, signal)
    if readout is not None and readout.answers != answers:
        raise SigpropError(
            f"the readout learns {readout.answers} but the targets of {name} are "
            f"{answers}; expected Readout(..., answers={answers!r})"
        )
    gives = None if readout is None else readout.synapse.out_features
    if gives not in (None, signal.classes):
        raise SigpropError(
            f"the readout gives {gives} numbers but {name} has {signal.classes} "
            "classes, labels or values; expected as many"
        )
    if answers == "values" and predict != "readout":
        raise SigpropError(
            f"Network predicts by {predict} but the targets of {name} are values; "
            "expected predict='readout'"
        )
    if answers == "labels" and predict not in ("readout", "context"):
        raise SigpropError(
            f"Network predicts by {predict} but {name} lets several labels hold; "
            "expected predict='readout' or 'context'"
        )
    if predict == "neutral" and not isinstance(rule, SignalPropagation):
        raise SigpropError(
            f"Network predicts by neutral but {type(rule).__name__} compares no contexts "
            "in its blocks; expected a rule of signal propagation"
        )


def _check_loss(loss: LocalLoss, signal: Signal) -> None:
    name = type(signal).__name__
    if not loss.has_scores:
        raise no_scores(loss)
    if signal.answers not in loss.takes:
        raise SigpropError(
            f"{loss} can't compare the targets of {name}, which are "
            f"{signal.answers}; it takes {', '.join(sorted(loss.takes))}"
        )
    if signal.per_sample and loss.compares_contexts:
        raise SigpropError(
            f"{loss} selects targets among contexts that all samples share, but {name} "
            "gives each sample its own; expected a loss that takes the label, such as "
            "DotProductLoss()"
        )
