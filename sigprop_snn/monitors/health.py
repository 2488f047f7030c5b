"""Checks the health of a network: silent, saturated or useless layers, and absent labels."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sigprop_snn.arguments import instance, names_of, refused, whole
from sigprop_snn.errors import SigpropError
from sigprop_snn.monitors.mean_input import mean_input_shares
from sigprop_snn.network import Network, RunningNorm, SignalPropagation, Stage, correct
from sigprop_snn.network.mode import evaluation_mode


class HealthWarning(UserWarning):
    """A layer, or the data, has a problem that rarely disappears with more training."""


@dataclass(frozen=True)
class Limits:
    """The limits from which a value is a problem.

    Attributes:
        dead: fraction of a layer's neurons (of a convolution: of its maps) that never fire.
        busy: spikes per step from which a neuron counts as firing almost always.
        saturated: fraction of a layer's neurons that fire almost always.
        voltage: root mean square of the distances of the mean voltages from the threshold, in the
            neuron's unit.
        silent: fraction of the samples for which a layer has no output.
        drop: accuracy that a block loses to the block below it, beyond the noise of the samples.
        mean_share: share of the weight gradient along the mean input of a block that could be
            centred; see `mean_input_shares`.
    """

    dead: float = 0.75
    busy: float = 0.9
    saturated: float = 0.5
    voltage: float = 1000.0
    silent: float = 0.01
    drop: float = 0.05
    mean_share: float = 0.5


@dataclass(frozen=True)
class Finding:
    """One problem of one layer.

    Attributes:
        problem: "not finite", "dead", "saturated", "exploding", "silent", "no gain", "mean input"
            or "absent labels".
        layer: "block1" for the first block, "readout", or "data".
        value: the size of the problem: a fraction, a count, or a voltage in the neuron's unit.
        text: the layer, the value and what usually helps.
    """

    problem: str
    layer: str
    value: float
    text: str


class HealthCheck:
    """Checks the layers of a network during training, and reports each problem once.

    Pass `watch` to `evaluate`, or call it with every stage of a pass. `report` then returns the
    findings since the last report.

    Args:
        network: the network.
        classes: the names of the classes.
        labels: the labels of the training samples, `[N]`, to find classes that never occur.
        say: takes a line for each new finding; None gives a `HealthWarning` for each.
        limits: the limits from which a value is a problem.
        patience: number of reports in a row in which a block has no gain, or the share of its mean
            input grows, until it is a problem: upper blocks learn later than those below them.
        probe: a batch `(x [T, B, ...], labels [B])`, to measure the share of each block's weight
            gradient along its mean input at every report. Only blocks above the first that could
            be centred and are not are measured, and only under signal propagation.

    Raises:
        SigpropError: if an argument can't be used; it names the argument and the value.
    """

    def __init__(
        self,
        network: Network,
        *,
        classes: Sequence[str] = (),
        labels: Tensor | None = None,
        say: Callable[[str], object] | None = None,
        limits: Limits | None = None,
        patience: int = 3,
        probe: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        instance("network", network, Network, "a Network")
        self._network = network
        if probe is not None and (not isinstance(probe, tuple | list) or len(probe) != 2):
            raise refused("probe", probe, "a batch (x [T, B, ...], labels [B])")
        self.probe = probe
        self._shares: dict[str, float] = {}
        self._blocks = dict(network.named_blocks())
        if say is not None and not callable(say):
            raise refused("say", say, "a function of one line of text, such as print")
        if limits is not None:
            instance("limits", limits, Limits, "a Limits")
        classes = names_of("classes", classes)
        if labels is not None:
            instance("labels", labels, Tensor, "a tensor [N]")
        patience = whole("patience", patience)
        self._say = say if say is not None else _warn
        self._limits = limits if limits is not None else Limits()
        self._absent = absent_labels(labels, classes) if labels is not None else []
        self._reported: set[tuple[str, str]] = set()
        self._tallies: dict[str, _Tally] = {}
        readout = network.readout
        self._read = () if readout is None else readout.names(network.named_blocks())
        self._no_spikes: dict[str, Tensor] = {}  # by block that the readout reads
        self._patience = patience
        self._in_a_row: dict[tuple[str, str], int] = {}

    @torch.no_grad()
    def watch(self, stage: Stage, labels: Tensor) -> None:
        """Count what one layer did for a batch with these labels `[B]`."""
        rows = len(labels)
        tally = self._tallies.setdefault(stage.name, _Tally())
        if stage.response is not None:
            run = stage.response.run
            neuron = self._blocks[stage.name].neuron
            counts = run.spike_count[:rows]
            if stage.name in self._read:
                self._no_spikes[stage.name] = counts.flatten(1).sum(1) == 0
            # A graded activity has no spike rate: it can be dead, but not saturated.
            steps = len(run.spike) if not neuron.graded else 0
            tally.add_run(counts, neuron.above(run.mean_voltage[:rows]), steps)
        tally.samples += rows
        if stage.scores is None:
            return
        silent = (stage.scores == stage.scores[:, :1]).all(1)
        if stage.response is None and self._no_spikes:
            # These scores come from the readout's bias alone.
            silent = silent | torch.stack(list(self._no_spikes.values())).all(0)
        tally.count("silent", silent.sum())
        if stage.response is not None and not labels.is_floating_point():
            right = correct(stage.scores, labels.to(stage.scores.device)).sum()
            tally.count("correct", right)
        tally.count("not finite", (~stage.scores.isfinite()).sum())

    def report(self) -> list[Finding]:
        """Return the findings since the last report, and say those that are new."""
        findings = list(self._absent)
        for name, tally in self._tallies.items():
            findings += _layer_findings(name, tally, self._limits)
        if self._tallies:
            lasting = _gain_findings(self._tallies, self._limits) + self._share_findings()
            findings += self._lasting(lasting)
        self._tallies.clear()
        for finding in findings:
            if (finding.problem, finding.layer) not in self._reported:
                self._reported.add((finding.problem, finding.layer))
                self._say(finding.text)
        return findings

    def _lasting(self, findings: list[Finding]) -> list[Finding]:
        """Return the findings of layers that had one in each of the last reports."""
        before = self._in_a_row
        named = {(finding.problem, finding.layer): finding for finding in findings}
        self._in_a_row = {key: before.get(key, 0) + 1 for key in named}
        return [each for key, each in named.items() if self._in_a_row[key] >= self._patience]

    def _share_findings(self) -> list[Finding]:
        """Return a finding for each block whose share of the mean input is large and has grown."""
        uncentred = uncentred_blocks(self._network)
        if self.probe is None or not uncentred:
            return []
        before, shares = self._shares, mean_input_shares(self._network, *self.probe)
        self._shares = shares
        return [
            Finding("mean input", name, shares[name], _share_text(name, shares[name]))
            for name in uncentred
            if shares.get(name, 0.0) > max(self._limits.mean_share, before.get(name, 0.0))
        ]


def examine(
    network: Network,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    classes: Sequence[str] = (),
    labels: Tensor | None = None,
    limits: Limits | None = None,
) -> list[Finding]:
    """Return the problems of a network on batches of `(x [T, B, ...], labels [B])`.

    Args:
        network: the network; its training mode is restored afterwards.
        batches: the batches.
        classes: the names of the classes.
        labels: the labels of the training samples, `[N]`, to find classes that never occur.
        limits: the limits from which a value is a problem.

    Raises:
        SigpropError: if there is neither a batch nor `labels`, or a batch is wrong; see
            `Network.learn`.
    """
    check = HealthCheck(
        network, classes=classes, labels=labels, say=lambda _: None, limits=limits, patience=1
    )
    with evaluation_mode(network), torch.no_grad():
        for inputs, targets in network.checked(batches):
            check.probe = check.probe or (inputs, targets)
            for stage in network.stages(inputs):
                check.watch(stage, targets)
    if check.probe is None and labels is None:
        raise SigpropError("batches are empty; expected at least one batch, or labels to examine")
    return check.report()


def uncentred_blocks(network: Network) -> list[str]:
    """Return the names of the blocks that could be centred and are not, above the first.

    Only blocks that learn, and only under signal propagation.
    """
    if not isinstance(network.rule, SignalPropagation):
        return []
    return [
        name
        for name, block in network.named_blocks()
        if name != "block1"
        and isinstance(block.norm, RunningNorm)
        and not (block.centred or block.frozen)
    ]


def absent_labels(labels: Tensor, classes: Sequence[str]) -> list[Finding]:
    """Return a finding if some classes have no label."""
    present = set(labels.tolist())
    absent = [name for label, name in enumerate(classes) if label not in present]
    if not absent:
        return []
    listed = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
    text = (
        f"data: {len(absent)} of {len(classes)} classes never occur in training ({listed}) and "
        "can't be learned. More training samples, or fewer classes, usually help."
    )
    return [Finding("absent labels", "data", float(len(absent)), text)]


@dataclass
class _Tally:
    """Counts of one layer since the last report."""

    samples: int = 0
    steps: int = 0
    counts: Tensor | None = None
    # On the device until they are read, so that no batch waits for a GPU.
    _sums: dict[str, Tensor] = field(default_factory=dict)

    @property
    def silent(self) -> int:
        return int(self._sums.get("silent", 0))

    @property
    def not_finite(self) -> int:
        return int(self._sums.get("not finite", 0))

    @property
    def voltages(self) -> int:
        return int(self._sums.get("voltages", 0))

    @property
    def squares(self) -> float:
        return float(self._sums.get("squares", 0))

    @property
    def correct(self) -> int | None:
        return int(self._sums["correct"]) if "correct" in self._sums else None

    def count(self, what: str, added: Tensor) -> None:
        self._sums[what] = self._sums[what] + added if what in self._sums else added

    def add_run(self, counts: Tensor, above: Tensor, steps: int) -> None:
        added = counts.double().sum(0)
        self.counts = added if self.counts is None else self.counts + added
        self.steps += len(counts) * steps
        finite = above.isfinite()
        self.count("voltages", finite.sum())
        self.count("not finite", (~finite).sum())
        self.count("squares", torch.where(finite, above, 0.0).double().square().sum())


def _layer_findings(name: str, tally: _Tally, limits: Limits) -> list[Finding]:
    if tally.not_finite:
        text = (
            f"{name}: {tally.not_finite:,} voltages or scores are NaN or infinite. A smaller "
            "learning rate, or smaller input values, usually help."
        )
        return [Finding("not finite", name, float(tally.not_finite), text)]
    found: list[Finding] = []
    if tally.counts is not None:
        found += _spiking_findings(name, tally, tally.counts, limits)
    fraction = tally.silent / tally.samples
    if fraction >= limits.silent:
        found.append(Finding("silent", name, fraction, _silent_text(name, fraction)))
    return found


def _gain_findings(tallies: Mapping[str, _Tally], limits: Limits) -> list[Finding]:
    """Return a finding for each block that classifies worse than the block below it."""
    predicting = [(name, tally) for name, tally in tallies.items() if tally.correct is not None]
    found: list[Finding] = []
    for (_, below), (name, tally) in itertools.pairwise(predicting):
        one, other = ((each.correct or 0) / each.samples for each in (below, tally))
        noise = 1 / math.sqrt(tally.samples)  # at least 1.4 standard errors of the difference
        if one - other > limits.drop + noise:
            text = (
                f"{name}: it alone classifies {_percent(other)} of the samples correctly, the "
                f"block below it {_percent(one)}. Centred traces, a similarity term in the loss, "
                "blocks that receive several blocks below them, or more training usually help."
            )
            found.append(Finding("no gain", name, one - other, text))
    return found


def _share_text(name: str, share: float) -> str:
    return (
        f"{name}: the part of the weight gradient along the mean input has grown to {share:.2f} of "
        "its squared length. The normaliser hides this part, and it costs upper blocks their "
        "accuracy. Centred traces (Block(centred=True)) take it out."
    )


def _silent_text(name: str, fraction: float) -> str:
    cause = (
        "no spike arrives, or all scores are equal"
        if name == "readout"
        else ("all scores are equal")
    )
    return (
        f"{name}: {cause} for {_percent(fraction)} of the samples. Such a tie counts as wrong. "
        "Stronger input, a higher gain of the normaliser or a lower threshold usually help."
    )


def _spiking_findings(name: str, tally: _Tally, counts: Tensor, limits: Limits) -> list[Finding]:
    maps = counts.dim() > 1
    units = "maps" if maps else "neurons"
    # A position of a map may see no input. A map is dead if it is silent at all positions.
    dead = float((counts.flatten(1).sum(1) if maps else counts).eq(0).double().mean())
    rates = counts / tally.steps if tally.steps else torch.zeros_like(counts)
    busy = float((rates >= limits.busy).double().mean())
    voltage = (tally.squares / max(tally.voltages, 1)) ** 0.5
    found: list[Finding] = []
    if dead > limits.dead:
        text = (
            f"{name}: {_percent(dead)} of the {units} never fire (over {tally.samples:,} samples). "
            "A normaliser of the current, a higher gain, a lower threshold or more steps usually "
            "help."
        )
        found.append(Finding("dead", name, dead, text))
    if busy > limits.saturated:
        text = (
            f"{name}: {_percent(busy)} of the neurons fire at {_percent(limits.busy)} of the steps "
            "or more, so their spikes carry little information. A lower gain of the normaliser, a "
            "higher threshold or weaker input usually help."
        )
        found.append(Finding("saturated", name, busy, text))
    if voltage > limits.voltage:
        text = (
            f"{name}: the mean voltages are {voltage:,.0f} units from the threshold (root mean "
            "square). A smaller learning rate, a normaliser of the current or a neuron with a leak "
            "usually help."
        )
        found.append(Finding("exploding", name, voltage, text))
    return found


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g} %"


def _warn(text: str) -> None:
    warnings.warn(text, HealthWarning, stacklevel=3)
