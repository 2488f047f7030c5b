"""Each test of the room starts and ends without figures of pyplot."""

from __future__ import annotations

import sys

import pytest


def close_figures():
    """Close what pyplot holds, and do not import it."""
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(autouse=True)
def closed():
    close_figures()
    yield
    close_figures()
