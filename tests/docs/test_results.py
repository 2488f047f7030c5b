"""Figures of the documents are those of the files of results.

A comment before a table or a paragraph names the file:

    <!-- results: benchmarks/results/depth_h100.json -->

Each number with a decimal point in this table is a value of the file, as it is, in per cent or in
thousandths. After `, ratios of KEY` a number may also be the ratio of two values of KEY, from rows
of the same network and number of steps.

The same holds for a row of a table that links to a file of results; ratios are those of seconds.

A table that has such numbers but no file says why:

    <!-- no file: trials that chose the recipe -->
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for path in [ROOT / "README.md", ROOT / "benchmarks/README.md", *(ROOT / "docs").rglob("*.md")]
    if not {"_build", "generated"} & set(path.relative_to(ROOT).parts)
)
MARK = re.compile(
    r"<!-- results: (?P<file>\S+?)(?:, ratios of (?P<key>\w+))? -->\s*\n(?P<shown>.+?)(?:\n\n|\Z)",
    re.S,
)
MARKED = [
    pytest.param(found["file"], found["key"], found["shown"], id=f"{path.name}-{number}")
    for path in DOCUMENTS
    for number, found in enumerate(MARK.finditer(path.read_text(encoding="utf-8")), start=1)
]
TABLE = re.compile(
    r"^(?:<!-- (?P<mark>results|no file): \S.*? -->\s*\n)?(?P<rows>(?: *\|.*(?:\n|\Z))+)", re.M
)
LINK = re.compile(r"\]\((?:\S*/)?(results/[\w.]+\.(?:json|jsonl|csv))\)")
LINKED = [
    pytest.param(f"benchmarks/{link[1]}", line, id=f"{path.name}-{number}")
    for path in DOCUMENTS
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
    if line.startswith("|") and (link := LINK.search(line))
]


def without_a_file(text: str) -> list[str]:
    """Return the rows of tables that have figures, but neither a file nor a reason."""
    return [
        row
        for table in TABLE.finditer(text)
        if table["mark"] is None
        for row in table["rows"].splitlines()
        if figures(row) and not LINK.search(row)
    ]


def rows_of(path: Path) -> list:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".csv":
        return list(csv.DictReader(text.splitlines()))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    found = json.loads(text)
    return found if isinstance(found, list) else found.get("rows", [found])


def numbers(value: object) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from numbers(part)
    elif isinstance(value, str):
        if re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", value):
            yield float(value)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def ratios(rows: list[dict], key: str) -> Iterator[float]:
    for one, other in permutations([row for row in rows if key in row], 2):
        if all(one.get(name) == other.get(name) for name in ("network", "steps")):
            yield float(one[key]) / float(other[key])


def figures(shown: str) -> list[str]:
    """Return the numbers with a decimal point of a table, outside code and links."""
    return re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", re.sub(r"`[^`]*`|\]\([^)]*\)", "", shown))


def holds(values: list[float], figure: str) -> bool:
    digits = len(figure.split(".")[1])
    # Half a unit of the last digit, and a little for halves that were rounded either way.
    near = 0.5 * 10**-digits + 1e-9
    return any(abs(factor * v - float(figure)) <= near for v in values for factor in (1, 100, 1000))


def test_documents_name_their_results():
    assert len(MARKED) >= 8
    assert len(LINKED) >= 7


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_table_of_figures_names_its_file_or_says_why_it_has_none(document):
    assert without_a_file(document.read_text(encoding="utf-8")) == []


def test_a_table_of_figures_without_a_file_is_found():
    table = "| a | 2.5 |\n|---|---|\n| b | 3 |\n"
    assert without_a_file(f"As text: 1.5\n\n{table}") == ["| a | 2.5 |"]
    assert without_a_file(f"<!-- no file: -->\n\n{table}") == ["| a | 2.5 |"]
    assert without_a_file(f"<!-- no file: trials -->\n\n{table}\n{table}") == ["| a | 2.5 |"]
    assert without_a_file("| a | 2.5 | [file](results/a.json) |\n") == []


@pytest.mark.parametrize(("file", "key", "shown"), MARKED)
def test_each_figure_is_in_the_file_of_results(file, key, shown):
    rows = rows_of(ROOT / file)
    values = list(numbers(rows)) + (list(ratios(rows, key)) if key else [])
    found = figures(shown)
    assert found
    assert [figure for figure in found if not holds(values, figure)] == []


@pytest.mark.parametrize(("file", "line"), LINKED)
def test_a_row_that_links_to_a_file_of_results_holds_its_figures(file, line):
    rows = rows_of(ROOT / file)
    values = [*numbers(rows), *ratios(rows, "seconds")]
    found = figures(line)
    assert found
    assert [figure for figure in found if not holds(values, figure)] == []


def test_a_figure_that_the_file_does_not_hold_is_found():
    assert holds([0.5092, 0.0337], "50.9") and holds([0.5092, 0.0337], "33.7")
    assert not holds([0.5092, 0.0337], "50.8")
    assert figures("| `1.25` | [2.5](a1.5) | 3.50 (4.75 to 5.25) | v1.2.3 |") == [
        "2.5", "3.50", "4.75", "5.25"
    ]  # fmt: skip
