"""The head of a report: what the run was, and its figures at a glance."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sigprop_snn.monitors import Cost
from sigprop_snn.report.gather import Gathered
from sigprop_snn.report.html import Html, element
from sigprop_snn.report.numbers import energy, known_number, percent, short, spoken
from sigprop_snn.training.folder import METRICS


def title(run: Gathered) -> str:
    """Return what was learned, with what, in a line."""
    config = run.contents.config
    if not config:
        return run.contents.path.name
    dataset, network, rule = (config.get(key, "?") for key in ("dataset", "network", "rule"))
    return f"{dataset}, {network}, {rule} rule"


def subtitle(run: Gathered) -> str:
    """Return the settings one asks for first, and when the run was last written."""
    config = run.contents.config
    said = [
        f"{name} {config[key]}"
        for key, name in (("neuron", "neuron"), ("seed", "seed"))
        if key in config
    ]
    if known_number(config.get("steps")):
        said.append(f"{config['steps']} time steps")
    epochs = len(run.contents.history)
    asked = config.get("epochs")
    part = "" if asked in (None, epochs) else f" of {asked}"
    said.append(f"{epochs}{part} epochs")
    if run.trained is not None and run.trained.epoch != epochs:
        said.append(f"weights of epoch {run.trained.epoch}")
    metrics = run.contents.path / METRICS
    if metrics.exists():
        written = time.localtime(metrics.stat().st_mtime)
        said.append(time.strftime("%Y-%m-%d %H:%M", written))
    return " · ".join(said)


def tiles(run: Gathered) -> Html:
    """Return the figures at a glance."""
    return element(
        "dl",
        *(
            element(
                "div",
                element("dt", name),
                element("dd", element("span", figure, class_="figure")),
                element("dd", beside, class_="beside") if beside else "",
                class_="tile",
            )
            for name, figure, beside in _figures(run)
        ),
        class_="tiles",
    )


def closing() -> str:
    """Return the last line of the page."""
    try:
        made_by = f"sigprop_snn {version('sigprop-snn')}"
    except PackageNotFoundError:  # run from a checkout that was never installed
        made_by = "sigprop_snn"
    return (
        f"Written by {made_by} on {time.strftime('%Y-%m-%d at %H:%M')}. Everything on this page is "
        "inside this one file."
    )


def _figures(run: Gathered) -> Iterator[tuple[str, str, str]]:
    last: dict[str, Any] = run.contents.history[-1] if run.contents.history else {}
    accuracy = run.contents.summary.get("test_accuracy", last.get("test_accuracy"))
    measured = run.measured
    if measured is not None:
        tested = measured.confusion
        yield "Test accuracy", percent(tested.accuracy), f"{tested.samples:,} samples"
    elif known_number(accuracy):
        samples = run.contents.summary.get("test_samples")
        yield (
            "Test accuracy",
            percent(float(accuracy)),
            f"{samples:,} samples" if known_number(samples) else "as the run noted it",
        )
    if known_number(last.get("train_accuracy")):
        yield "Training accuracy", percent(float(last["train_accuracy"])), "while learning"
    if measured is not None and isinstance(measured.cost, Cost):
        cost = measured.cost
        yield (
            "Spikes a sample",
            short(cost.total.spikes),
            f"{percent(cost.total.spike_rate)} of steps",
        )
        yield (
            "Energy a sample",
            energy(cost.total.energy),
            f"{energy(cost.dense_energy)} with graded values",
        )
    if run.trained is not None:
        weights = sum(weight.numel() for weight in run.trained.network.parameters())
        yield "Weights", short(weights), f"{len(run.trained.network.blocks)} blocks"
    seconds = [r["seconds"] for r in run.contents.history if known_number(r.get("seconds"))]
    if seconds:
        yield "Time an epoch", spoken(sum(seconds) / len(seconds)), "in the mean"
