"""What a report shows of a run: the files of its folder, and new measurements on its network."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sigprop_snn.analysis import BlockProfile, depth_profile
from sigprop_snn.data import Batches, Data
from sigprop_snn.device import to_device
from sigprop_snn.errors import SigpropError
from sigprop_snn.figures import Observed, observe
from sigprop_snn.monitors import (
    Cost,
    EnergyModel,
    Finding,
    VoltageHistogram,
    cost,
    examine,
    voltage_histograms,
)
from sigprop_snn.network import Network
from sigprop_snn.network.mode import evaluation_mode
from sigprop_snn.training import Trained, load_run, randomness
from sigprop_snn.training.folder import CHECKPOINT, CONFIG, METRICS, SUMMARY

_KNOWN_FILES = {
    CONFIG: "the settings of the run",
    METRICS: "a line for each epoch",
    CHECKPOINT: "weights and optimizer state",
    SUMMARY: "the results of the last epoch",
}


@dataclass(frozen=True)
class RunFile:
    """One file of a run.

    Attributes:
        name: its path in the run folder.
        size: its size in bytes.
        about: what it holds, or "" if that is not known.
    """

    name: str
    size: int
    about: str


@dataclass(frozen=True)
class Contents:
    """The content of a run folder.

    Attributes:
        path: the run folder.
        config: the configuration; empty if it can't be read.
        history: the records of the epochs.
        summary: the summary; empty if it can't be read.
        files: every file of the run.
        notes: what could not be read, and why.
    """

    path: Path
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    files: list[RunFile]
    notes: list[str]


@dataclass(frozen=True)
class Confusion:
    """The confusion of the classes.

    Attributes:
        counts: `[C, C]`, rows are true classes, columns predicted classes.
        ties: samples with a tie for the highest score, by true class, `[C]`. They are in no column
            and count as wrong.
    """

    counts: Tensor
    ties: Tensor

    @property
    def samples(self) -> int:
        """The number of samples."""
        return int(self.counts.sum() + self.ties.sum())

    @property
    def accuracy(self) -> float:
        """The fraction of samples that is classified correctly."""
        return float(self.counts.trace()) / max(self.samples, 1)


@dataclass(frozen=True)
class Measured:
    """Measurements of a trained network on its test samples.

    Attributes:
        confusion: over all test samples.
        examined: number of test samples for cost, findings, voltages and depth.
        cost: the cost of inference, or why it can't be counted.
        findings: problems of the layers.
        voltages: the membrane voltages of each block.
        depth: how every block does, or why this can't be measured.
        observed: every step of the first test sample.
        label: that sample's class.
        predicted: its predicted class; None for a tie.
    """

    confusion: Confusion
    examined: int
    cost: Cost | str
    findings: list[Finding]
    voltages: dict[str, VoltageHistogram]
    depth: tuple[BlockProfile, ...] | str
    observed: Observed
    label: int
    predicted: int | None


@dataclass(frozen=True)
class RunData:
    """Everything that a report shows of a run.

    Attributes:
        contents: the content of the run folder.
        trained: the network and its data, if they can be loaded.
        measured: measurements of the network, if it can be loaded.
        missing: why it can't be loaded.
    """

    contents: Contents
    trained: Trained | None
    measured: Measured | None
    missing: str


def gather(
    path: Path,
    *,
    data: Any,
    data_root: str | os.PathLike[str] | None,
    device: str | None,
    samples: int,
    model: EnergyModel | None,
) -> RunData:
    """Read a run folder, and measure its network if network and data can be loaded.

    A warning says why they can't.

    Raises:
        SigpropError: if there is no run in that folder.
    """
    contents = read_contents(path)
    try:
        trained = load_run(path, data=data, data_root=data_root, device=device)
    except (SigpropError, OSError) as error:
        warnings.warn(
            f"the report lacks what needs the network, which could not be run again: {error}",
            stacklevel=3,
        )
        return RunData(contents, None, None, str(error))
    # A noisy neuron gives the same report again.
    with trained.precision(), randomness.seeded(trained.config.seed):
        measured = measure(trained.network, trained.data, samples, model)
    return RunData(contents, trained, measured, "")


def read_contents(path: Path) -> Contents:
    """Return the content of a run folder. A damaged file gives a note; the others are read.

    Raises:
        SigpropError: if there is no run in that folder.
    """
    if not (path / CONFIG).is_file() and not (path / METRICS).is_file():
        raise SigpropError(
            f"no run at {str(path)!r}; expected a folder with {CONFIG} or {METRICS}, as written by "
            "`sigprop-snn train`"
        )
    notes: list[str] = []
    history = [
        record
        for line in (_text(path / METRICS, notes) or "").splitlines()
        if (record := _parsed(line, f"a line of {METRICS}", notes))
    ]
    return Contents(
        path,
        _parsed(_text(path / CONFIG, notes), CONFIG, notes),
        history,
        _parsed(_text(path / SUMMARY, notes), SUMMARY, notes) if (path / SUMMARY).exists() else {},
        _files(path),
        list(dict.fromkeys(notes)),
    )


def measure(network: Network, data: Data, samples: int, model: EnergyModel | None) -> Measured:
    """Measure a trained network on its test samples.

    Args:
        network: the trained network.
        data: its training and test samples.
        samples: about how many test samples, spread over all, to take for cost, findings,
            voltages and depth; as many training samples fit the probes.
        model: the energy of an operation.
    """
    chosen = _spread(data.test, samples)
    counted: Cost | str
    try:
        counted = cost(network, chosen, model)
    except SigpropError as error:
        counted = str(error)
    depth: tuple[BlockProfile, ...] | str
    try:
        depth = depth_profile(network, _spread(data.train, samples), chosen)
    except SigpropError as error:
        depth = str(error)
    inputs, labels = next(iter(data.test))
    observed = observe(network, inputs[:, 0])
    winner = -1 if observed.scores is None else int(_winners(observed.scores[None])[0])
    return Measured(
        confusion=confusion_of(network, data.test, len(data.classes)),
        examined=sum(len(labels) for _, labels in chosen),
        cost=counted,
        findings=examine(network, chosen, classes=data.classes, labels=data.train.labels),
        voltages=voltage_histograms(network, chosen),
        depth=depth,
        observed=observed,
        label=int(labels[0]),
        predicted=winner if winner >= 0 else None,
    )


def confusion_of(
    network: Network, batches: Iterable[tuple[Tensor, Tensor]], classes: int
) -> Confusion:
    """Return the confusion of the classes on batches of `(x [T, B, ...], labels [B])`."""
    counts = torch.zeros(classes, classes, dtype=torch.long)
    ties = torch.zeros(classes, dtype=torch.long)
    device = next(network.parameters()).device
    for inputs, labels in batches:
        with evaluation_mode(network), torch.no_grad():
            winners = _winners(network(to_device(inputs, device)).cpu())
        clear = winners >= 0
        pairs = labels[clear] * classes + winners[clear]
        counts += torch.bincount(pairs, minlength=classes**2).view(classes, classes)
        ties += torch.bincount(labels[~clear], minlength=classes)
    return Confusion(counts, ties)


def _winners(scores: Tensor) -> Tensor:
    """Return the class with the highest of the scores `[B, C]`, `[B]`, or -1 for a tie."""
    best = scores.topk(2, dim=1)
    clear = best.values[:, 0] > best.values[:, 1]
    return torch.where(clear, best.indices[:, 0], -1)


def _spread(batches: Batches, samples: int) -> list[tuple[Tensor, Tensor]]:
    """Return about so many samples, in complete batches spread over all."""
    every = max(1, batches.samples // max(samples, 1))
    return [batch for number, batch in enumerate(batches) if number % every == 0]


def _text(path: Path, notes: list[str]) -> str | None:
    """Return the text of a file, or None with a note why it can't be read."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        notes.append(f"{path.name} is not there.")
    except (OSError, UnicodeDecodeError) as error:
        notes.append(f"{path.name} can't be read ({type(error).__name__}).")
    return None


def _parsed(text: str | None, name: str, notes: list[str]) -> dict[str, Any]:
    """Return a JSON object, or an empty one with a note."""
    if text is None:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        notes.append(f"{name} is damaged: it holds no JSON object.")
        return {}
    return found


def _files(path: Path) -> list[RunFile]:
    """Return every file that is not hidden."""
    found = []
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        if file.is_file() and not any(part.startswith(".") for part in name.parts):
            about = _KNOWN_FILES.get(str(name), "")
            found.append(RunFile(str(name), file.stat().st_size, about))
    return found
