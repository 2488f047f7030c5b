"""Settings for all tests."""

import signal

import pytest
from hypothesis import settings

# The same examples in every run, and no limit that a slow machine could exceed.
settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile("reproducible")


@pytest.fixture(scope="session", autouse=True)
def ctrl_c():
    """Make Ctrl-C raise KeyboardInterrupt; a shell disables it for programs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
