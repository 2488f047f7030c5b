"""Pictures need no matplotlib backend, whatever MPLBACKEND names."""

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


def test_training_and_programs_draw_with_an_unknown_backend_and_import_no_pyplot(tmp_path):
    code = (
        "import sys; from sigprop_snn.cli import main;"
        "code = main(['train', 'digits', '--epochs', '1', '--train-samples', '60',"
        " '--test-samples', '20', '--steps', '3', '--out', sys.argv[1]]);"
        "code = code or main(['report', sys.argv[1]]);"
        "from sigprop_snn import plots; plots.raster([[1]]);"
        "print('pyplot imported' if 'matplotlib.pyplot' in sys.modules else ''); sys.exit(code)"
    )
    words = python(code, "nonsense", str(tmp_path / "run"))
    figures = {path.name for path in (tmp_path / "run" / "figures").iterdir()}
    assert figures == {"raster.png", "voltage.png", "curves.png"}
    assert (tmp_path / "run" / "report.html").exists()
    assert "pyplot" not in words
