"""Markup in which every value is escaped unless it is markup already."""

from __future__ import annotations

import html
from collections.abc import Iterable

_VOID = frozenset({"img", "source", "br"})


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def element(name: str, *children: object, **attributes: object) -> Html:
    """Return an element; children that are no `Html` are escaped, and so is every attribute.

    Args:
        name: the element's name.
        children: its content, in order.
        attributes: a trailing underscore falls away and others become hyphens (`class_`,
            `aria_label`); None leaves the attribute out.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{joined(children)}</{name}>")


def joined(children: Iterable[object]) -> Html:
    """Return several children as one, what is no `Html` escaped."""
    return Html("".join(c if isinstance(c, Html) else html.escape(str(c)) for c in children))
