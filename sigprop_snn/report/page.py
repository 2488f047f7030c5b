"""Writes the report of a run: its head, and its sections in order."""

from __future__ import annotations

import html
import os
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

from sigprop_snn.arguments import path as as_path
from sigprop_snn.arguments import whole
from sigprop_snn.errors import SigpropError
from sigprop_snn.files import write_atomically
from sigprop_snn.machine import machine
from sigprop_snn.monitors import Cost, EnergyModel
from sigprop_snn.plots.style import headless
from sigprop_snn.report import sections
from sigprop_snn.report.measure import RunData, gather
from sigprop_snn.report.style import (
    Html,
    compact,
    duration,
    element,
    energy,
    is_number,
    joined,
    percent,
)
from sigprop_snn.training.folder import METRICS
from sigprop_snn.version import version

REPORT = "report.html"

_SECTIONS: dict[str, Callable[[RunData], Html | None]] = {
    "Health": sections.health,
    "Learning": sections.learning,
    "Depth": sections.depth,
    "One sample": sections.sample,
    "Voltages": sections.voltages,
    "Confusion matrix": sections.confusion,
    "Cost": sections.cost,
    "Configuration": sections.configuration,
    "Files": sections.files,
}


def write_report(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str] | None = None,
    *,
    data: Any = None,
    data_root: str | os.PathLike[str] | None = None,
    device: str | None = None,
    samples: int = 500,
    model: EnergyModel | None = None,
) -> Path:
    """Write the report of a run as one HTML file that needs no other file.

    If the data or the weights can't be loaded, the page and a warning say so, and the page shows
    the content of the run folder.

    Args:
        run: the run folder.
        out: the file to write, ending in ".html"; `report.html` in the run folder if not given.
        data: the data of a run that was trained on data from outside; see `train`.
        data_root: where the data are now; as in the run's configuration if not given.
        device: the device to compute on; as in the run's configuration if not given.
        samples: about how many test samples to take for cost, health, voltages and depth.
        model: the energy of an operation; 32-bit floats in 45 nm if not given.

    Returns:
        The file written.

    Raises:
        SigpropError: if there is no run in that folder, `samples` is not positive, or `out` can't
            be written.
    """
    samples = whole("samples", samples)
    run = as_path("run", run)
    target = as_path("out", run / REPORT if out is None else out)
    if target.suffix.lower() != ".html":
        raise SigpropError(f"out is {str(target)!r}; expected a name that ends in '.html'")
    found = gather(run, data=data, data_root=data_root, device=device, samples=samples, model=model)
    text = page(found)
    return write_atomically(
        target, lambda file: file.write_text(text, encoding="utf-8"), make_folders=True
    )


def page(run: RunData) -> str:
    """Return the page of a run as HTML."""
    with headless():
        made = {title: make(run) for title, make in _SECTIONS.items()}
    present = {title: content for title, content in made.items() if content is not None}
    body = joined(
        [
            element(
                "header",
                element("h1", _title(run)),
                element("p", _subtitle(run), class_="under"),
                _tiles(run),
            ),
            _navigation(present),
            element("main", *(_section(title, content) for title, content in present.items())),
            element("footer", element("p", _closing())),
        ]
    )
    return Template(_part("page.html")).substitute(
        title=html.escape(_title(run)), style=_part("style.css"), body=body
    )


def _navigation(titles: Iterable[str]) -> Html:
    links = (element("li", element("a", title, href=f"#{_id(title)}")) for title in titles)
    return element("nav", element("ul", *links), aria_label="Sections")


def _section(title: str, content: Html) -> Html:
    name = _id(title)
    heading = element("h2", title, id=f"{name}-title")
    return element("section", heading, content, id=name, aria_labelledby=f"{name}-title")


def _id(title: str) -> str:
    return title.lower().replace(" ", "-")


def _part(name: str) -> str:
    """Return the text of a file of this package."""
    return (resources.files("sigprop_snn.report") / name).read_text(encoding="utf-8")


def _title(run: RunData) -> str:
    """Return data set, network and rule."""
    config = run.contents.config
    if not config:
        return run.contents.path.name
    dataset, network, rule = (config.get(key, "?") for key in ("dataset", "network", "rule"))
    return f"{dataset}, {network}, {rule} rule"


def _subtitle(run: RunData) -> str:
    """Return the main settings, and when the run was last written."""
    config = run.contents.config
    parts = [f"{name} {config[name]}" for name in ("neuron", "seed") if name in config]
    if is_number(config.get("steps")):
        parts.append(f"{config['steps']} time steps")
    epochs = len(run.contents.history)
    planned = config.get("epochs")
    parts.append(f"{epochs}{'' if planned in (None, epochs) else f' of {planned}'} epochs")
    if run.trained is not None and run.trained.epoch != epochs:
        parts.append(f"weights of epoch {run.trained.epoch}")
    metrics = run.contents.path / METRICS
    if metrics.exists():
        written = time.localtime(metrics.stat().st_mtime)
        parts.append(time.strftime("%Y-%m-%d %H:%M", written))
    return " · ".join(parts)


def _tiles(run: RunData) -> Html:
    """Return the main results as tiles."""
    return element(
        "dl",
        *(
            element(
                "div",
                element("dt", name),
                element("dd", element("span", value, class_="figure")),
                element("dd", remark, class_="beside") if remark else "",
                class_="tile",
            )
            for name, value, remark in _results(run)
        ),
        class_="tiles",
    )


def _results(run: RunData) -> Iterator[tuple[str, str, str]]:
    """Yield the main results that are known: name, value and remark."""
    last: dict[str, Any] = run.contents.history[-1] if run.contents.history else {}
    accuracy = run.contents.summary.get("test_accuracy", last.get("test_accuracy"))
    measured = run.measured
    if measured is not None:
        tested = measured.confusion
        yield "Test accuracy", percent(tested.accuracy), f"{tested.samples:,} samples"
    elif is_number(accuracy):
        samples = run.contents.summary.get("test_samples")
        remark = f"{samples:,} samples" if is_number(samples) else "from the run's records"
        yield "Test accuracy", percent(accuracy), remark
    if is_number(last.get("train_accuracy")):
        yield "Training accuracy", percent(last["train_accuracy"]), "while learning"
    if measured is not None and isinstance(measured.cost, Cost):
        cost = measured.cost
        rate = f"{percent(cost.total.spike_rate)} of steps"
        yield "Spikes per sample", compact(cost.total.spikes), rate
        dense = f"{energy(cost.dense_energy)} with graded values"
        yield "Energy per sample", energy(cost.total.energy), dense
    if run.trained is not None:
        weights = sum(weight.numel() for weight in run.trained.network.parameters())
        yield "Weights", compact(weights), f"{len(run.trained.network.blocks)} blocks"
    seconds = [r["seconds"] for r in run.contents.history if is_number(r.get("seconds"))]
    if seconds:
        yield "Time per epoch", duration(sum(seconds) / len(seconds)), "on average"


def _closing() -> str:
    """Return the last line of the page."""
    here = machine()
    processors = [here["processor"], here["gpu"]]
    versions = f"torch {here['torch']}, Python {here['python']}"
    return (
        f"Written by sigprop_snn {version()} on {time.strftime('%Y-%m-%d at %H:%M')}, with "
        f"{versions}, on {', '.join(filter(None, processors))} ({here['system']}). The training "
        "may have run elsewhere. This one file holds the complete page."
    )
