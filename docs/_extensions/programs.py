"""Runs the programs of the pages while the site is built.

A `pycon` block is a session: every output must be the one on the page. A `python` block is a
program that must end without an error. A `py` block is not run. The blocks of one page share their
names, from the first to the last.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_BLOCK = re.compile(r"^```(pycon|python)\n(.*?)^```$", re.M | re.S)
_OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def blocks(text: str) -> list[tuple[int, str, str]]:
    """Return the line, the language and the text of each block that is run."""
    return [
        (text.count("\n", 0, found.start()) + 1, found[1], found[2])
        for found in _BLOCK.finditer(text)
    ]


def failures(text: str, page: str) -> list[str]:
    """Run the blocks of a page, in a folder that is removed, and return what failed."""
    names: dict[str, Any] = {"__name__": "__main__"}
    found: list[str] = []
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for line, language, code in blocks(text):
                where = f"{page}:{line}"
                found += _session(code, names, where) if language == "pycon" else _program(
                    code, names, where
                )  # fmt: skip
        finally:
            os.chdir(before)
    return found


def _session(code: str, names: dict[str, Any], where: str) -> list[str]:
    test = doctest.DocTestParser().get_doctest(code, names, where, where, 0)
    said = io.StringIO()
    runner = doctest.DocTestRunner(verbose=False, optionflags=_OPTIONS)
    runner.run(test, out=said.write, clear_globs=False)
    names.update(test.globs)
    return [said.getvalue()] if runner.failures else []


def _program(code: str, names: dict[str, Any], where: str) -> list[str]:
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(code, where, "exec"), names)
    except Exception:
        return [f"{where}\n{traceback.format_exc()}"]
    return []


def _run(app: Sphinx, docname: str, source: list[str]) -> None:
    from sphinx.util import logging  # the tests of this file do without Sphinx

    if app.builder.format != "html" or docname.startswith("generated/"):
        return
    for failure in failures(source[0], docname):
        logging.getLogger(__name__).warning("a program of this page failed:\n%s", failure)


def setup(app: Sphinx) -> dict[str, bool]:
    """Run the programs of a page when it is read."""
    app.connect("source-read", _run, priority=900)
    return {"parallel_read_safe": True}
