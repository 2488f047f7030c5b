"""Pictures need no matplotlib backend, whatever MPLBACKEND names.

`../test_a_persons_path.py` draws a run and writes its report with a backend that does not exist:
its program imports torch anyway, which takes most of the time of a new process.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sigprop_snn.plots import backend

INLINE = "module://matplotlib_inline.backend_inline"  # a notebook exports this to its commands


def python(code: str, mplbackend: str, *arguments: str) -> list[str]:
    """Run a program and return its output."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"MPLBACKEND": mplbackend},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("name", [INLINE, "nonsense", "", "svg"])
def test_matplotlib_is_imported_and_the_variable_is_kept(name):
    code = (
        "import os, runpy, sys; runpy.run_path(sys.argv[1]); import matplotlib;"
        "print(repr(os.environ['MPLBACKEND']), matplotlib.rcParams['backend'])"
    )
    kept, chosen = python(code, name, backend.__file__)
    assert kept == repr(name)
    if name == "svg":
        assert chosen == "svg"
