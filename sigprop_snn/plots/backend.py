"""Imports matplotlib with any value of the environment variable MPLBACKEND.

The pictures are drawn on Agg canvases and use no backend. But matplotlib refuses to be imported
while MPLBACKEND names a backend that is not installed. Notebooks export such a name to the commands
that they start, which may run in another environment. The package imports this module first.
"""

from __future__ import annotations

import contextlib
import os
import sys


def _import_matplotlib() -> None:
    name = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if name is not None:
            os.environ["MPLBACKEND"] = name
    if name:
        # As matplotlib does. Without a valid name it chooses a backend when pyplot is used.
        with contextlib.suppress(ValueError):
            matplotlib.rcParams["backend"] = name


if "matplotlib" not in sys.modules:
    _import_matplotlib()
