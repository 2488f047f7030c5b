"""How a report writes markup, numbers, tables and pictures."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from sigprop_snn.monitors import format_energy
from sigprop_snn.plots.saving import figure_of_picture, rendered
from sigprop_snn.plots.style import new_figure

if TYPE_CHECKING:  # `sigprop_snn.plots` imports matplotlib first
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_VOID = frozenset({"img", "source", "br"})
_MOST_SVG = 200_000  # bytes; a larger picture is smaller and faster to show as a PNG
_DPI = 192
_NARROW = 4.3  # inches; on a phone's width the text then keeps about its size

Draw = Callable[["Axes | None"], object]
"""Draws on an Axes, or on a new figure for None; returns the Axes drawn on."""


# Markup


class Html(str):
    """Text that is markup."""

    __slots__ = ()


def element(name: str, *children: object, **attributes: object) -> Html:
    """Return an element. Attributes, and children that are not `Html`, are escaped.

    Args:
        name: the element's name.
        children: its content, in order.
        attributes: its attributes. A trailing underscore is removed and others become hyphens
            (`class_`, `aria_label`); None leaves the attribute out.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{joined(children)}</{name}>")


def joined(children: Iterable[object]) -> Html:
    """Return several children as one; children that are not `Html` are escaped."""
    return Html("".join(c if isinstance(c, Html) else html.escape(str(c)) for c in children))


# Numbers


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether a value from a file is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def percent(fraction: float) -> str:
    """Return a fraction in percent, with two digits if it is small."""
    digits = 2 if 0 < fraction < 0.1 else 1
    return f"{100 * fraction:.{digits}f} %"


def energy(nanojoules: float) -> str:
    """Return an energy with a unit that gives a short number."""
    return format_energy(nanojoules).replace("uJ", "µJ")


def compact(count: float) -> str:
    """Return a count in three or four digits, with k, M or G."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if count >= size:
            return f"{count / (1e3 if letter == 'k' else size):.3g} {letter}"
    return f"{count:,.0f}"


def duration(seconds: float) -> str:
    """Return a length of time in seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"


def file_size(size: int) -> str:
    """Return the size of a file."""
    for limit, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= limit:
            return f"{size / limit:.3g} {unit}"
    return f"{size} bytes"


# Tables


def name_table(rows: Iterable[tuple[object, object]]) -> Html:
    """Return a table of names and values."""
    made = (element("tr", element("th", name, scope="row"), element("td", v)) for name, v in rows)
    return element("table", element("tbody", *made), class_="plain")


def data_table(
    name: str, head: Sequence[str], rows: Iterable[Sequence[object]], left: int = 1
) -> Html:
    """Return a table that scrolls sideways on a narrow screen.

    Args:
        name: what the table holds, for screen readers.
        head: the names of the columns.
        rows: the cells, row by row; a row named "total" gets a line above.
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
    """Return a table in a box that scrolls sideways, also by keyboard."""
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label=name)


# Pictures


def picture(draw: Draw, alt: str, caption: str, *, narrow_height: float | None = None) -> Html:
    """Return a picture with its caption, drawn once for a wide screen and once for a narrow one.

    Args:
        draw: draws the picture.
        alt: a description, for screen readers.
        caption: what to look at.
        narrow_height: the height for a narrow screen in inches; as for the wide one if not given.
    """
    wide = figure_of_picture(draw(None))  # type: ignore[arg-type]
    narrow = new_figure((_NARROW, narrow_height or float(wide.get_figheight())))
    draw(narrow.add_subplot())
    both = element(
        "picture",
        element("source", media="(max-width: 40rem)", srcset=_data_url(narrow)),
        element("img", src=_data_url(wide), alt=alt, class_="drawn"),
    )
    return element("figure", both, element("figcaption", caption))


def _data_url(figure: Figure) -> str:
    svg = rendered(figure, "svg", _DPI)
    if len(svg) <= _MOST_SVG:
        return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()
    return "data:image/png;base64," + base64.b64encode(rendered(figure, "png", _DPI)).decode()
