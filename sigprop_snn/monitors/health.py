"""Whether a network is well: silent, saturated or exploding layers, and labels nobody teaches."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sigprop_snn.device import to_device
from sigprop_snn.network import Block, Network, Stage


class HealthWarning(UserWarning):
    """A layer, or the data, is in a state that learning seldom leaves by itself."""


@dataclass(frozen=True)
class Limits:
    """From where on a figure is an ill.

    Attributes:
        dead: share of a layer's neurons (of a convolution: of its maps) that never fire.
        busy: spikes per step from which a neuron counts as firing nearly always.
        saturated: share of a layer's neurons that do.
        voltage: root mean square of the mean voltages' distance from the threshold, in the
            neuron's unit.
        silent: share of the samples for which a layer says nothing.
    """

    dead: float = 0.75
    busy: float = 0.9
    saturated: float = 0.5
    voltage: float = 1000.0
    silent: float = 0.01


@dataclass(frozen=True)
class Finding:
    """One ill of one layer.

    Attributes:
        ill: "not finite", "dead", "saturated", "exploding", "silent" or "absent labels".
        layer: "block1" for the first block, "readout", or "data".
        figure: how far it has gone: a share or a count, or volts of the neuron's unit.
        text: the layer, the figure and what usually helps, in a sentence or two.
    """

    ill: str
    layer: str
    figure: float
    text: str


class HealthCheck:
    """Watches the layers of a network and says each ill once.

    Hand `watch` to `evaluate`, or call it with every stage of a pass; `report` at the end of an
    epoch judges what was seen since the last report.

    Args:
        network: the network.
        classes: the names of the classes.
        labels: the labels of the training samples, `[N]`, to find the classes that never occur.
        say: takes a line for each new finding; without it they are warnings (`HealthWarning`).
        limits: from where on a figure is an ill.
    """

    def __init__(
        self,
        network: Network,
        *,
        classes: Sequence[str] = (),
        labels: Tensor | None = None,
        say: Callable[[str], object] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._network = network
        self._say = say if say is not None else _warn
        self._limits = limits if limits is not None else Limits()
        self._absent = absent_labels(labels, classes) if labels is not None else []
        self._said: set[tuple[str, str]] = set()
        self._seen: dict[str, _Seen] = {}
        self._unheard: Tensor | None = None

    @torch.no_grad()
    def watch(self, stage: Stage, labels: Tensor) -> None:
        """Take in what one layer did for a batch with these labels `[B]`."""
        rows = len(labels)
        seen = self._seen.setdefault(stage.name, _Seen())
        if stage.response is not None:
            ran = stage.response.run
            block = self._network.blocks[int(stage.name.removeprefix("block")) - 1]
            assert isinstance(block, Block)
            counts = ran.spike_count[:rows]
            self._unheard = counts.flatten(1).sum(1) == 0
            # A graded activity has no rate: it can be dead, not saturated.
            steps = len(ran.spike) if not block.neuron.graded else 0
            seen.add_run(counts, block.neuron.above(ran.mean_voltage[:rows]), steps)
        seen.samples += rows
        if stage.scores is None:
            return
        quiet = (stage.scores == stage.scores[:, :1]).all(1)
        if stage.response is None and self._unheard is not None:
            quiet = quiet | self._unheard  # only the readout's own bias speaks
        seen.silent += int(quiet.sum())
        seen.not_finite += int((~stage.scores.isfinite()).sum())

    def report(self) -> list[Finding]:
        """Return all that ails the network now, and say what was not said before.

        What was seen is forgotten, for the next epoch.
        """
        findings = list(self._absent)
        for name, seen in self._seen.items():
            findings += _layer_findings(name, seen, self._limits)
        self._seen.clear()
        for finding in findings:
            if (finding.ill, finding.layer) not in self._said:
                self._said.add((finding.ill, finding.layer))
                self._say(finding.text)
        return findings


def examine(
    network: Network,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    classes: Sequence[str] = (),
    labels: Tensor | None = None,
    limits: Limits | None = None,
) -> list[Finding]:
    """Return what ails a network on batches of `(x [T, B, ...], labels [B])`; say nothing.

    Args:
        network: the network; it is put into evaluation mode and back.
        batches: what it is run on.
        classes: the names of the classes.
        labels: the labels of the training samples, to find the classes that never occur.
        limits: from where on a figure is an ill.
    """
    check = HealthCheck(network, classes=classes, labels=labels, say=lambda _: None, limits=limits)
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    with torch.no_grad():
        for inputs, targets in batches:
            for stage in network.stages(to_device(inputs, device)):
                check.watch(stage, targets)
    network.train(was_training)
    return check.report()


def absent_labels(labels: Tensor, classes: Sequence[str]) -> list[Finding]:
    """Return a finding if there are classes that no label stands for."""
    present = set(labels.tolist())
    absent = [name for label, name in enumerate(classes) if label not in present]
    if not absent:
        return []
    named = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
    text = (
        f"data: {len(absent)} of {len(classes)} classes never occur in training ({named}); they "
        "can't be learned. More training samples, or fewer classes, usually help."
    )
    return [Finding("absent labels", "data", float(len(absent)), text)]


@dataclass
class _Seen:
    """What one layer did since the last report."""

    samples: int = 0
    silent: int = 0
    not_finite: int = 0
    chances: int = 0
    volts: int = 0
    square: float = 0.0
    counts: Tensor | None = field(default=None)

    def add_run(self, counts: Tensor, above: Tensor, steps: int) -> None:
        added = counts.double().sum(0)
        self.counts = added if self.counts is None else self.counts + added
        self.chances += len(counts) * steps
        finite = above[above.isfinite()].double()
        self.not_finite += above.numel() - finite.numel()
        self.volts += finite.numel()
        self.square += float(finite.square().sum())


def _layer_findings(name: str, seen: _Seen, limits: Limits) -> list[Finding]:
    if seen.not_finite:
        text = (
            f"{name}: {seen.not_finite:,} voltages or scores are NaN or infinite. A smaller "
            "learning rate, or input of a smaller size, usually helps."
        )
        return [Finding("not finite", name, float(seen.not_finite), text)]
    found: list[Finding] = []
    if seen.counts is not None:
        found += _spiking_findings(name, seen, seen.counts, limits)
    share = seen.silent / seen.samples
    if share >= limits.silent:
        found.append(Finding("silent", name, share, _silent_text(name, share)))
    return found


def _silent_text(name: str, share: float) -> str:
    what = (
        "no spike arrives, or no class scores above another,"
        if name == "readout"
        else "no class scores above another"
    )
    return (
        f"{name}: {what} for {_percent(share)} of the samples. Such a tie would count as the "
        "first class; here it counts as wrong. Stronger input, a higher gain of the normaliser "
        "or a lower threshold usually helps."
    )


def _spiking_findings(name: str, seen: _Seen, counts: Tensor, limits: Limits) -> list[Finding]:
    maps = counts.dim() > 1
    units = "maps" if maps else "neurons"
    # Positions of a map that see no input are not ill: the map is, if it is silent everywhere.
    dead = float((counts.flatten(1).sum(1) if maps else counts).eq(0).double().mean())
    rates = counts / seen.chances if seen.chances else torch.zeros_like(counts)
    busy = float((rates >= limits.busy).double().mean())
    volts = (seen.square / max(seen.volts, 1)) ** 0.5
    found: list[Finding] = []
    if dead > limits.dead:
        text = (
            f"{name}: {_percent(dead)} of the {units} never fire (over {seen.samples:,} samples). "
            "A normaliser of the current (or a higher gain of it), a lower threshold or more "
            "steps usually helps."
        )
        found.append(Finding("dead", name, dead, text))
    if busy > limits.saturated:
        text = (
            f"{name}: {_percent(busy)} of the neurons fire at {_percent(limits.busy)} of the steps "
            "or more, so their spikes tell little. A lower gain of the normaliser, a higher "
            "threshold or weaker input usually helps."
        )
        found.append(Finding("saturated", name, busy, text))
    if volts > limits.voltage:
        text = (
            f"{name}: the mean voltages lie {volts:,.0f} units from the threshold (root mean "
            "square). A smaller learning rate, a normaliser of the current or a neuron that "
            "leaks usually helps."
        )
        found.append(Finding("exploding", name, volts, text))
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _warn(text: str) -> None:
    warnings.warn(text, HealthWarning, stacklevel=3)
