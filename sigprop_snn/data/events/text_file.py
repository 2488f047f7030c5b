"""Recordings as text: one event a line, in columns."""

from __future__ import annotations

import io
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sigprop_snn.data.events.recording import EventFileError

_NAMES = {
    "x": "x", "y": "y",
    "t": "t", "ts": "t", "time": "t", "timestamp": "t", "timestamps": "t",
    "p": "p", "pol": "p", "polarity": "p",
}  # fmt: skip
_COMMENT = re.compile(r"^\s*[#%]+")
_UNIT = re.compile(r"[_ ]*([\[(].*|us$)|[^a-z]")  # such as "t [us]", "t_us"
_HEAD = 4096  # bytes
_LINES = 100  # comments and the heading are in the first lines


def is_table(file: Path) -> bool:
    """Return whether a text file starts with numbers, or with names, of four columns or more.

    A file that can't be read counts as a table, so that reading it gives the error.
    """
    try:
        with file.open("rb") as stream:
            head = stream.read(_HEAD).decode("utf-8-sig", "replace")
    except OSError:
        return True
    lines = [line for line in head.split("\n") if line.strip()]
    lines = [line for line in lines if not _COMMENT.match(line)] or lines
    if not lines:
        return True
    if _is_size(lines[0]):
        lines = lines[1:] or lines
    cells = _cells(lines[0])
    return len(cells) >= len("xytp") and (
        all(_is_number(cell) for cell in cells) or _order(cells) is not None
    )


def read_text(file: Path) -> tuple[NDArray[np.float64], str | None]:
    """Return the numbers of a text file, `[events, columns]`, and the order of the columns.

    Commas, semicolons, tabs or spaces separate the columns. A first line of names gives the order,
    also as a comment; then only the columns x, y, t and p are returned. A first line with the width
    and the height of the sensor is left out.

    Raises:
        EventFileError: if a line of names lacks one of x, y, t and p.
        ValueError: if the content is no table of numbers.
    """
    text = file.read_bytes().removeprefix(b"\xef\xbb\xbf").decode("ascii", "replace")
    lines = text.split("\n", _LINES)[:_LINES]
    at, heading = 0, None
    while at < len(lines) and (_COMMENT.match(lines[at]) or not lines[at].strip()):
        if _order(_cells(_COMMENT.sub("", lines[at]))) is not None:
            heading = _cells(_COMMENT.sub("", lines[at]))
        at += 1
    first = lines[at] if at < len(lines) else ""
    if _is_size(first) and at + 1 < len(lines):
        at, first = at + 1, lines[at + 1]
    if first.strip() and not all(_is_number(cell) for cell in _cells(first)):
        heading, at = _cells(first), at + 1
        first = lines[at] if at < len(lines) else ""
        if _order(heading) is None:
            fault = f"has the columns {', '.join(heading)[:80]}"
            raise EventFileError(file, fault, "columns named x, y, t and p")
    body = io.StringIO(text.replace("True", "1").replace("False", "0"))
    with warnings.catch_warnings():
        # Of an empty table, which the caller refuses.
        warnings.filterwarnings("ignore", message="loadtxt: input contained no data")
        numbers = np.loadtxt(
            body,
            delimiter=next((mark for mark in ",;\t" if mark in first), None),
            skiprows=at,
            usecols=None if heading is None else [places(heading)[name] for name in "xytp"],
            ndmin=2,
        )
    return numbers, None if heading is None else "xytp"


def places(heading: list[str]) -> dict[str, int]:
    """Return the number of the column of each of x, y, t and p that a line names."""
    named = [_NAMES.get(_UNIT.sub("", cell.lower())) for cell in heading]
    return {name: number for number, name in enumerate(named) if name is not None}


def _order(heading: list[str]) -> dict[str, int] | None:
    found = places(heading)
    return found if len(found) == 4 else None


def _cells(line: str) -> list[str]:
    mark: Any = next((mark for mark in ",;\t" if mark in line), None)
    return [cell.strip() for cell in line.split(mark)]


def _is_size(line: str) -> bool:
    """Return whether a line is the width and the height of a sensor, as in E2VID's files."""
    cells = _cells(line)
    return len(cells) == 2 and all(cell.isdecimal() for cell in cells)


def _is_number(cell: str) -> bool:
    if cell in ("True", "False"):
        return True
    try:
        float(cell)
    except ValueError:
        return False
    return True
