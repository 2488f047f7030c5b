"""The page of a report: its head, and its sections in their order."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable
from importlib import resources
from string import Template

from sigprop_snn.report import head
from sigprop_snn.report.gather import Gathered
from sigprop_snn.report.html import Html, element, joined
from sigprop_snn.report.sections import (
    configuration,
    confusion,
    files,
    health,
    learning,
    sample,
    voltages,
)
from sigprop_snn.report.sections import cost as cost_section

_SECTIONS: dict[str, Callable[[Gathered], Html | None]] = {
    "Health": health,
    "Learning": learning,
    "One sample": sample,
    "Voltages": voltages,
    "Confusion": confusion,
    "Cost": cost_section,
    "Configuration": configuration,
    "Files": files,
}


def page(run: Gathered) -> str:
    """Return the whole page of a run."""
    made = {title: make(run) for title, make in _SECTIONS.items()}
    shown = {title: inside for title, inside in made.items() if inside is not None}
    body = joined(
        [
            element(
                "header",
                element("h1", head.title(run)),
                element("p", head.subtitle(run), class_="under"),
                head.tiles(run),
            ),
            _navigation(shown),
            element("main", *(_section(title, inside) for title, inside in shown.items())),
            element("footer", element("p", head.closing())),
        ]
    )
    return Template(_part("page.html")).substitute(
        title=html.escape(head.title(run)), style=_part("style.css"), body=body
    )


def _navigation(titles: Iterable[str]) -> Html:
    links = (element("li", element("a", title, href=f"#{_id(title)}")) for title in titles)
    return element("nav", element("ul", *links), aria_label="Sections")


def _section(title: str, inside: Html) -> Html:
    name = _id(title)
    heading = element("h2", title, id=f"{name}-title")
    return element("section", heading, inside, id=name, aria_labelledby=f"{name}-title")


def _id(title: str) -> str:
    return title.lower().replace(" ", "-")


def _part(name: str) -> str:
    """Return a file of this package."""
    return (resources.files("sigprop_snn.report") / name).read_text(encoding="utf-8")
