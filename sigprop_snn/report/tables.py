"""Tables of a report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sigprop_snn.monitors import Cost, LayerCost
from sigprop_snn.report.html import Html, element
from sigprop_snn.report.measure import Confusion
from sigprop_snn.report.numbers import energy, percent


def pairs(rows: Iterable[tuple[object, object]]) -> Html:
    """Return a table of names and values."""
    made = (element("tr", element("th", name, scope="row"), element("td", v)) for name, v in rows)
    return element("table", element("tbody", *made), class_="plain")


def listing(
    name: str, head: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1
) -> Html:
    """Return a table that scrolls by itself where the screen is narrow.

    Args:
        name: what the table holds, for those who don't see it.
        head: the names of the columns.
        rows: the cells, row by row; a last row named "total" stands apart.
        left: how many columns hold text; the others hold numbers.
    """
    kinds = [None if place < left else "number" for place in range(len(head))]
    top = (
        element("th", cell, scope="col", class_=kind)
        for cell, kind in zip(head, kinds, strict=True)
    )
    body = (
        element(
            "tr",
            element("th", row[0], scope="row"),
            *(
                element("td", cell, class_=kind)
                for cell, kind in zip(row[1:], kinds[1:], strict=True)
            ),
            class_="total" if row[0] == "total" else None,
        )
        for row in rows
    )
    table = element("table", element("thead", element("tr", *top)), element("tbody", *body))
    return scrolling(name, table)


def scrolling(name: str, table: Html) -> Html:
    """Return a table in a place that scrolls sideways, by keyboard too."""
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label=name)


def cost_table(cost: Cost) -> Html:
    """Return what each layer costs for a sample."""
    most = max(layer.energy for layer in cost.layers) or 1.0
    return listing(
        "Cost by layer",
        (
            "layer", "share of energy", "energy", "spikes", "rate", "additions", "MACs",
            "updates", "neurons",
        ),
        (_cost_row(layer, most) for layer in (*cost.layers, cost.total)),
        left=2,
    )  # fmt: skip


def confusion_table(confusion: Confusion, classes: Sequence[str]) -> Html:
    """Return the counts, each cell as deep as its share of the true class."""
    counts, ties = confusion.counts.tolist(), confusion.ties.tolist()
    tied = any(ties)
    heads = [*classes, "tie"] if tied else list(classes)
    rows = []
    for true, row in enumerate(counts):
        every = max(sum(row) + ties[true], 1)
        cells = [_shaded(count, count / every) for count in row]
        if tied:
            cells.append(_shaded(ties[true], ties[true] / every))
        rows.append(element("tr", element("th", classes[true], scope="row"), *cells))
    corner = element("td", "true \\ predicted", class_="corner")
    table = element(
        "table",
        element("thead", element("tr", corner, *(element("th", h, scope="col") for h in heads))),
        element("tbody", *rows),
        class_="confusion",
    )
    return scrolling("Confusion matrix: rows are true classes, columns predicted ones", table)


def mistakes(confusion: Confusion, classes: Sequence[str], most: int = 6) -> Html | None:
    """Return the pairs of classes that are mixed up most often, or None if there are none."""
    wrong = confusion.counts.clone().fill_diagonal_(0)
    order = wrong.flatten().argsort(descending=True, stable=True)[:most].tolist()
    totals = (confusion.counts.sum(1) + confusion.ties).tolist()
    rows = []
    for place in order:
        true, taken = divmod(place, len(classes))
        count = int(wrong[true, taken])
        if count:
            rows.append((classes[true], classes[taken], count, percent(count / totals[true])))
    if not rows:
        return None
    return listing("Most frequent mistakes", ("class", "taken for", "times", "share"), rows, left=2)


def _cost_row(layer: LayerCost, most: float) -> tuple[object, ...]:
    total, readout = layer.name == "total", layer.name == "readout"
    bar: object = ""
    if not total:
        bar = element("span", class_="bar", style=f"width:{100 * layer.energy / most:.1f}%")
    return (
        layer.name,
        bar,
        energy(layer.energy),
        "–" if readout else f"{layer.spikes:,.1f}",
        "–" if readout else percent(layer.spike_rate),
        f"{layer.additions:,.0f}",
        f"{layer.macs:,.0f}",
        f"{layer.updates:,.0f}",
        f"{layer.neurons:,}",
    )


def _shaded(count: int, share: float) -> Html:
    # The root lets rare errors be seen beside a strong diagonal.
    depth = 0.72 * share**0.5
    shade = f"background:rgba(var(--shade),{depth:.2f})" if count else None
    return element("td", f"{count:,}" if count else "", style=shade)
