"""The sections of a report; each returns what stands in it, or None if there is nothing to say."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

from sigprop_snn import plots
from sigprop_snn.errors import SigpropError
from sigprop_snn.figures import CURVES, RASTER, VOLTAGE, draw_voltages
from sigprop_snn.monitors import Cost
from sigprop_snn.report.gather import Gathered
from sigprop_snn.report.html import Html, element, joined
from sigprop_snn.report.numbers import file_size, known_number, percent
from sigprop_snn.report.pictures import picture
from sigprop_snn.report.tables import (
    confusion_table,
    cost_table,
    listing,
    mistakes,
    pairs,
    scrolling,
)

_MOST_CLASSES = 20  # a larger confusion matrix is a picture
_MOST_KEPT = 3 << 20  # bytes of a stored picture that is put into the page


def health(run: Gathered) -> Html:
    """Tell what ails the network, or that nothing does, and what could not be read."""
    notes = [element("p", note, class_="note") for note in run.contents.notes]
    if run.measured is None:
        why = (
            "The network could not be run again, so what is measured on it is missing here: "
            f"{run.missing}"
        )
        return joined([element("p", why, class_="note"), *notes])
    findings = run.measured.findings
    if not findings:
        said = element(
            "p",
            element("strong", "Nothing found."),
            f" No dead, saturated or exploding layer, no NaN, no silent output over "
            f"{run.measured.looked_at:,} test samples, and every class occurs in training.",
            class_="well",
        )
        return joined([said, *notes])
    listed = (
        element("li", element("strong", finding.ill.capitalize()), f" {finding.text}")
        for finding in findings
    )
    return joined([element("ul", *listed, class_="findings"), *notes])


def learning(run: Gathered) -> Html | None:
    """Show accuracy and loss over the epochs, of the network and of every layer."""
    history = run.contents.history
    if not history:
        return None
    shown = _drawn(
        lambda: picture(
            lambda ax: plots.learning_curves(history, ax=ax),
            f"Accuracy and loss of every layer over {len(history)} epochs.",
            "Each layer learns and is judged on its own; a layer that stays below the one under it "
            "adds nothing.",
            narrow_height=6.0,
        ),
        run.contents.path / "figures" / CURVES,
    )
    rows = [
        (
            record.get("epoch", number + 1),
            *(
                f"{100 * record[key]:.2f}" if known_number(record.get(key)) else "–"
                for key in ("test_accuracy", "train_accuracy")
            ),
            f"{record['loss']:.4f}" if known_number(record.get("loss")) else "–",
            f"{record['seconds']:.1f}" if known_number(record.get("seconds")) else "–",
        )
        for number, record in enumerate(history)
    ]
    head = ("epoch", "test accuracy (%)", "training accuracy (%)", "loss", "seconds")
    table = listing("Epochs", head, rows)
    return joined([shown, element("details", element("summary", "Every epoch"), table)])


def sample(run: Gathered) -> Html | None:
    """Show what one test sample does to the network."""
    measured, trained = run.measured, run.trained
    if measured is None or trained is None:
        return _kept(run.contents.path, (RASTER, VOLTAGE))
    classes, observed = trained.data.classes, measured.observed
    true = classes[measured.label]
    taken = "a tie" if measured.predicted is None else classes[measured.predicted]
    layers = {"input": observed.input, **observed.spikes}
    if observed.readout is not None:
        layers["readout"] = observed.readout
    raster = _drawn(
        lambda: picture(
            lambda ax: plots.network_raster(
                layers, classes=classes, label=measured.label, winner=measured.predicted, ax=ax
            ),
            f"Spikes of every layer over time for a sample of class {true}, predicted {taken}.",
            f"The first test sample, of class {true}, from the input down; the network says "
            f"{taken}.",
        )
    )
    traces = _drawn(
        lambda: picture(
            lambda ax: draw_voltages(trained.network, observed, ax=ax),
            "Membrane voltage over time of a few neurons of the first block.",
            "Neurons of the first block that spike for this sample, from the busiest to the "
            "quietest, before the reset.",
        )
    )
    return joined([raster, traces])


def voltages(run: Gathered) -> Html | None:
    """Show where the membrane voltages lie."""
    measured = run.measured
    if measured is None:
        return None
    layers = {name: (bins.edges, bins.counts) for name, bins in measured.voltages.items()}
    return _drawn(
        lambda: picture(
            lambda ax: plots.voltage_histogram(layers, ax=ax),
            "Histogram of the membrane voltages of every block, from the threshold.",
            f"All neurons and steps of {measured.looked_at:,} test samples. What lies to the "
            "right of the threshold fires.",
        )
    )


def confusion(run: Gathered) -> Html | None:
    """Show which classes the network takes for which."""
    if run.measured is None or run.trained is None:
        return None
    found, classes = run.measured.confusion, run.trained.data.classes
    ties = int(found.ties.sum())
    said = f"{percent(found.accuracy)} of {found.samples:,} test samples are right."
    if ties:
        said += f" {ties:,} tie for the highest score; a tie counts as wrong."
    wrong = mistakes(found, classes)
    if len(classes) <= _MOST_CLASSES:
        shown = confusion_table(found, classes)
    else:
        shown = _drawn(
            lambda: picture(
                lambda ax: plots.confusion(found.counts, classes, ax=ax),
                "Confusion matrix: rows are true classes, columns predicted ones.",
                "The depth of colour is the share of the true class.",
                narrow_height=4.2,
            )
        )
    beside = [element("div", element("h3", "Most frequent mistakes"), wrong)] if wrong else []
    return joined(
        [element("p", said), element("div", element("div", shown), *beside, class_="columns")]
    )


def cost(run: Gathered) -> Html | None:
    """Show spikes, operations and energy of every layer."""
    if run.measured is None:
        return None
    found = run.measured.cost
    if not isinstance(found, Cost):
        return element("p", f"The operations could not be counted: {found}", class_="note")
    total = found.total
    share = total.energy / found.dense_energy if found.dense_energy else 0.0
    said = (
        f"Inference on one sample of {found.steps} steps, in the mean over {found.samples:,} test "
        f"samples. One pass of graded values through the same weights would take "
        f"{total.connections:,} multiply-accumulates; the spiking network needs "
        f"{percent(share)} of that energy by this estimate."
    )
    model = (
        "Additions: a weight added because a spike arrived. MACs: multiply-accumulates where the "
        "input is graded; a constant current is multiplied once a sample. Updates: steps of the "
        f"membranes. Energy: {found.model.about}."
    )
    return joined([element("p", said), cost_table(found), element("p", model, class_="under")])


def configuration(run: Gathered) -> Html | None:
    """Show the choices of the run."""
    if not run.contents.config:
        return None
    rows = [(name, _setting(value)) for name, value in run.contents.config.items()]
    return scrolling("Configuration", pairs(rows))


def _setting(value: object) -> str:
    if value is None:
        return "not set"
    return value if isinstance(value, str) else json.dumps(value)


def files(run: Gathered) -> Html:
    """List the files of the run."""
    rows = [(file.name, file.about, file_size(file.size)) for file in run.contents.files]
    where = element("p", "In ", element("code", str(run.contents.path)), ".")
    return joined([where, listing("Files", ("file", "what it holds", "size"), rows, left=2)])


def _drawn(draw: Callable[[], Html], kept: Path | None = None) -> Html:
    """Return a picture; or a kept one, or why there is none, where the figures can't be drawn."""
    try:
        return draw()
    except SigpropError as error:
        said = element("p", f"This picture can't be drawn: {error}", class_="note")
        stored = _stored(kept) if kept is not None else None
        return joined([said, stored]) if stored is not None else said


def _kept(folder: Path, names: tuple[str, ...]) -> Html | None:
    """Return the pictures that the run itself drew."""
    found = [shown for name in names if (shown := _stored(folder / "figures" / name)) is not None]
    return joined(found) if found else None


def _stored(file: Path) -> Html | None:
    if not file.is_file() or file.stat().st_size > _MOST_KEPT:
        return None
    content = base64.b64encode(file.read_bytes()).decode()
    return element(
        "figure",
        element(
            "img",
            src=f"data:image/png;base64,{content}",
            alt=f"The picture {file.name} that the run drew.",
            class_="kept",
        ),
        element("figcaption", f"{file.name}, as the run drew it"),
    )
