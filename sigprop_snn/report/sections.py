"""The sections of a report. Each returns its content, or None if there is nothing to show."""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from sigprop_snn import plots
from sigprop_snn.errors import SigpropError
from sigprop_snn.figures import CURVES, RASTER, VOLTAGE, draw_voltages
from sigprop_snn.monitors import Cost, LayerCost, Limits
from sigprop_snn.report.measure import Confusion, RunData
from sigprop_snn.report.style import (
    Html,
    data_table,
    element,
    energy,
    file_size,
    is_number,
    joined,
    name_table,
    percent,
    picture,
    scrolling,
)

_MOST_CLASSES = 20  # the confusion matrix of more classes is a picture
_MOST_MISTAKES = 6
_PROBLEMS = {
    "not finite": "Not finite",
    "dead": "Dead neurons",
    "saturated": "Saturated",
    "exploding": "Exploding",
    "silent": "Silent output",
    "no gain": "No gain",
    "mean input": "Mean input",
    "absent labels": "Absent labels",
}
_LARGEST_PNG = 3 << 20  # bytes of a stored picture that is put into the page


def health(run: RunData) -> Html:
    """List the problems of the network, or say that there are none, and what can't be read."""
    notes = [element("p", note, class_="note") for note in run.contents.notes]
    if run.measured is None:
        why = (
            "The network could not be run again, so the results that need it are missing: "
            f"{run.missing}"
        )
        return joined([element("p", why, class_="note"), *notes])
    findings = run.measured.findings
    if not findings:
        text = (
            f" Over {run.measured.examined:,} test samples, no layer has more than "
            f"{percent(Limits().dead)} dead neurons{_most_dead(run)}, none is saturated or "
            "exploding, no output is silent, and nothing is NaN. Every class occurs in training."
        )
        return joined(
            [element("p", element("strong", "No problem found."), text, class_="well"), *notes]
        )
    items = (
        element(
            "li",
            element("strong", _PROBLEMS.get(finding.problem, finding.problem)),
            f" {finding.text}",
        )
        for finding in findings
    )
    return joined([element("ul", *items, class_="findings"), *notes])


def _most_dead(run: RunData) -> str:
    """Return the largest recorded share of dead neurons, in brackets, if it is above zero."""
    recorded = run.contents.summary.get("layers", [])
    layers = [each for each in recorded if is_number(each.get("dead_fraction"))]
    worst = max(layers, key=lambda each: each["dead_fraction"], default=None)
    if worst is None or not worst["dead_fraction"]:
        return ""
    return f" (the most after training: {percent(worst['dead_fraction'])}, in {worst['name']})"


def learning(run: RunData) -> Html | None:
    """Show accuracy and loss over the epochs, of the network and of every layer."""
    history = run.contents.history
    if not history:
        return None
    curves = _try_picture(
        lambda: picture(
            lambda ax: plots.learning_curves(history, ax=ax),
            f"Accuracy, loss and spike rate of every layer over {len(history)} epochs.",
            "Each layer learns from a local loss and is tested alone. A layer that "
            "stays below the layer before it adds little.",
            narrow_height=8.5,
        ),
        run.contents.path / "figures" / CURVES,
    )
    rows = [
        (
            record.get("epoch", place + 1),
            _cell(record.get("test_accuracy"), ".2f", 100),
            _cell(record.get("train_accuracy"), ".2f", 100),
            _cell(record.get("loss"), ".4f"),
            _cell(record.get("seconds"), ".1f"),
        )
        for place, record in enumerate(history)
    ]
    head = ("epoch", "test accuracy (%)", "training accuracy (%)", "loss", "seconds")
    table = data_table("Epochs", head, rows)
    return joined([curves, element("details", element("summary", "Every epoch"), table)])


def depth(run: RunData) -> Html | None:
    """Show what every block adds to the one below it."""
    if run.measured is None:
        return None
    found = run.measured.depth
    if isinstance(found, str):
        return element("p", f"The blocks could not be compared: {found}", class_="note")
    text = (
        f"How {run.measured.examined:,} test samples are classified at every block: by the nearest "
        "context, and by a linear probe on the spikes, which is fitted on training samples. A "
        "block with a lower accuracy than the block below it adds nothing."
    )
    terms = (
        "Likeness of the contexts: their mean cosine; at 1 they are all alike. Rank: how many "
        "directions the contexts fill, at most the number of classes less one. Mean input: the "
        "share of the weight gradient along the mean input, before centring; above 100 % the rest "
        "works against it."
    )
    rows = [
        (
            block.name,
            _cell(block.context_accuracy, ".1f", 100),
            _cell(block.probe_accuracy, ".1f", 100),
            _cell(block.spike_rate, ".1f", 100),
            _cell(block.context_cosine, ".2f"),
            _cell(block.context_rank, ".1f"),
            _cell(block.mean_input_share, ".0f", 100),
        )
        for block in found
    ]
    head = (
        "block", "nearest context (%)", "probe (%)", "spike rate (%)", "likeness", "rank",
        "mean input (%)",
    )  # fmt: skip
    table = data_table("Depth", head, rows)
    return joined([element("p", text), table, element("p", terms, class_="under")])


def _cell(value: object, form: str, factor: float = 1) -> str:
    return f"{factor * value:{form}}" if is_number(value) else "–"


def sample(run: RunData) -> Html | None:
    """Show how one test sample passes through the network."""
    measured, trained = run.measured, run.trained
    if measured is None or trained is None:
        return _stored_pictures(run.contents.path, (RASTER, VOLTAGE))
    classes, observed = trained.data.classes, measured.observed
    true = classes[measured.label]
    predicted = "a tie" if measured.predicted is None else classes[measured.predicted]
    raster = _try_picture(
        lambda: picture(
            lambda ax: plots.network_raster(
                observed.layers(),
                classes=classes,
                label=measured.label,
                winner=measured.predicted,
                ax=ax,
            ),
            f"Spikes of every layer over time for a sample of class {true}, predicted {predicted}.",
            f"The first test sample, of class {true}, from the input to the output. The network "
            f"predicts {predicted}.",
        )
    )
    traces = _try_picture(
        lambda: picture(
            lambda ax: draw_voltages(trained.network, observed, ax=ax),
            "Membrane voltage over time of a few neurons of the first block.",
            "Neurons of the first block that spike for this sample, from the busiest to the "
            "quietest. The voltage is that before the reset.",
        )
    )
    return joined([raster, traces])


def voltages(run: RunData) -> Html | None:
    """Show the distribution of the membrane voltages."""
    measured = run.measured
    if measured is None:
        return None
    layers = {name: (bins.edges, bins.counts) for name, bins in measured.voltages.items()}
    return _try_picture(
        lambda: picture(
            lambda ax: plots.voltage_histogram(layers, ax=ax),
            "Histogram of the membrane voltages of every block, relative to the threshold.",
            f"All neurons and steps of {measured.examined:,} test samples. Voltages to the right "
            "of the threshold make spikes.",
        )
    )


def confusion(run: RunData) -> Html | None:
    """Show which classes the network confuses."""
    if run.measured is None or run.trained is None:
        return None
    found, classes = run.measured.confusion, run.trained.data.classes
    ties = int(found.ties.sum())
    text = f"{percent(found.accuracy)} of {found.samples:,} test samples are right."
    if ties:
        text += f" {ties:,} have a tie for the highest score, which counts as wrong."
    if len(classes) <= _MOST_CLASSES:
        matrix = _confusion_table(found, classes)
    else:
        matrix = _try_picture(
            lambda: picture(
                lambda ax: plots.confusion(found.counts, classes, ax=ax),
                "Confusion matrix: rows are true classes, columns predicted classes.",
                "The colour shows the fraction of the true class.",
                narrow_height=4.2,
            )
        )
    wrong = _mistakes(found, classes)
    beside = [element("div", element("h3", "Most frequent mistakes"), wrong)] if wrong else []
    return joined(
        [element("p", text), element("div", element("div", matrix), *beside, class_="columns")]
    )


def _confusion_table(confusion: Confusion, classes: Sequence[str]) -> Html:
    """Return the counts; the shade of a cell shows the fraction of the true class."""
    counts, ties = confusion.counts.tolist(), confusion.ties.tolist()
    tied = any(ties)
    rows = []
    for name, row, tie in zip(classes, counts, ties, strict=True):
        samples = max(sum(row) + tie, 1)
        cells = [_shaded(count, count / samples) for count in ([*row, tie] if tied else row)]
        rows.append(element("tr", element("th", name, scope="row"), *cells))
    corner = element("td", "true \\ predicted", class_="corner")
    heads = (element("th", name, scope="col") for name in (*classes, *["tie"] * tied))
    table = element(
        "table",
        element("thead", element("tr", corner, *heads)),
        element("tbody", *rows),
        class_="confusion",
    )
    return scrolling("Confusion matrix: rows are true classes, columns predicted classes", table)


def _shaded(count: int, fraction: float) -> Html:
    # The root makes rare errors visible next to a strong diagonal.
    depth = 0.72 * fraction**0.5
    shade = f"background:rgba(var(--shade),{depth:.2f})" if count else None
    return element("td", f"{count:,}" if count else "", style=shade)


def _mistakes(confusion: Confusion, classes: Sequence[str]) -> Html | None:
    """Return the pairs of classes that are confused most often, or None if there are none."""
    wrong = confusion.counts.clone().fill_diagonal_(0)
    order = wrong.flatten().argsort(descending=True, stable=True)[:_MOST_MISTAKES].tolist()
    totals = (confusion.counts.sum(1) + confusion.ties).tolist()
    rows = []
    for true, predicted in (divmod(place, len(classes)) for place in order):
        count = int(wrong[true, predicted])
        if count:
            fraction = percent(count / totals[true])
            rows.append((classes[true], classes[predicted], count, fraction))
    if not rows:
        return None
    head = ("class", "predicted as", "times", "of the class")
    return data_table("Most frequent mistakes", head, rows, left=2)


def cost(run: RunData) -> Html | None:
    """Show spikes, operations and energy of every layer."""
    if run.measured is None:
        return None
    found = run.measured.cost
    if not isinstance(found, Cost):
        return element("p", f"The operations could not be counted: {found}", class_="note")
    total = found.total
    fraction = total.energy / found.dense_energy if found.dense_energy else 0.0
    text = (
        f"Inference on one sample of {found.steps} steps, averaged over {found.samples:,} test "
        f"samples. One pass of graded values through the same weights would take "
        f"{total.connections:,} multiply-accumulates; the spiking network needs "
        f"{percent(fraction)} of that energy by this estimate."
    )
    terms = (
        "Additions: a weight added because a spike arrived. MACs: multiply-accumulates for graded "
        "input; a constant current is multiplied once per sample. Updates: steps of the membranes. "
        f"Energy: {found.model.about}."
    )
    largest = max(layer.energy for layer in found.layers) or 1.0
    table = data_table(
        "Cost by layer",
        (
            "layer", "share of energy", "energy", "spikes", "rate", "additions", "MACs",
            "updates", "neurons",
        ),
        (_cost_row(layer, largest) for layer in (*found.layers, total)),
        left=2,
    )  # fmt: skip
    return joined([element("p", text), table, element("p", terms, class_="under")])


def _cost_row(layer: LayerCost, largest: float) -> tuple[object, ...]:
    bar: object = ""
    if layer.name != "total":
        bar = element("span", class_="bar", style=f"width:{100 * layer.energy / largest:.1f}%")
    spikes, rate = f"{layer.spikes:,.1f}", percent(layer.spike_rate)
    if layer.name == "readout":
        spikes = rate = "–"
    return (
        layer.name,
        bar,
        energy(layer.energy),
        spikes,
        rate,
        f"{layer.additions:,.0f}",
        f"{layer.macs:,.0f}",
        f"{layer.updates:,.0f}",
        f"{layer.neurons:,}",
    )


def configuration(run: RunData) -> Html | None:
    """Show the settings of the run."""
    if not run.contents.config:
        return None
    rows = [(name, _setting(value)) for name, value in run.contents.config.items()]
    table = scrolling("Configuration", name_table(rows))
    if run.contents.config.get("own_data"):
        return joined([element("p", "The data came from outside, through data= in Python."), table])
    file = shlex.quote(str(run.contents.path / "config.json"))
    again = element("code", f"sigprop-snn train --config {file} --out runs/again")
    return joined([element("p", "To repeat the run: ", again), table])


def _setting(value: object) -> str:
    if value is None:
        return "not set"
    return value if isinstance(value, str) else json.dumps(value)


def files(run: RunData) -> Html:
    """List the files of the run."""
    rows = [(file.name, file.about, file_size(file.size)) for file in run.contents.files]
    folder = element("p", "In ", element("code", str(run.contents.path)), ".")
    return joined([folder, data_table("Files", ("file", "content", "size"), rows, left=2)])


def _try_picture(draw: Callable[[], Html], stored: Path | None = None) -> Html:
    """Return a picture; or the reason why it can't be drawn, with the stored picture if any."""
    try:
        return draw()
    except SigpropError as error:
        note = element("p", f"This picture can't be drawn: {error}", class_="note")
        kept = _stored_picture(stored) if stored is not None else None
        return joined([note, kept]) if kept is not None else note


def _stored_pictures(folder: Path, names: tuple[str, ...]) -> Html | None:
    """Return the pictures that the run itself has written."""
    found = [_stored_picture(folder / "figures" / name) for name in names]
    present = [picture for picture in found if picture is not None]
    return joined(present) if present else None


def _stored_picture(file: Path) -> Html | None:
    if not file.is_file() or file.stat().st_size > _LARGEST_PNG:
        return None
    content = base64.b64encode(file.read_bytes()).decode()
    return element(
        "figure",
        element(
            "img",
            src=f"data:image/png;base64,{content}",
            alt=f"The picture {file.name} from the run folder.",
            class_="kept",
        ),
        element("figcaption", f"{file.name}, as written by the run"),
    )
