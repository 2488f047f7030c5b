"""Settings for all tests."""

from __future__ import annotations

import os
import signal

import pytest

# One thread, also in the processes that tests start: tensors are small here, several test processes
# share the cores, and OpenMP's threads wait in busy loops.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure(config):
    """Import torch in the processes that run tests: the one that deals them out starts sooner."""
    if config.getoption("dist", "no") == "no" or hasattr(config, "workerinput"):
        config.pluginmanager.import_plugin("small_networks")


@pytest.fixture(scope="session", autouse=True)
def signals():
    """Let SIGINT and SIGHUP do what they do in a terminal.

    A shell disables the first for programs in the background, and nohup the second.
    """
    defaults = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in defaults.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session", autouse=True)
def not_flushed():
    """Leave written files to the system: no power fails here, and runs would wait for the disk."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def no_figures(monkeypatch):
    """Draw nothing after a training: figures take longer than the small runs of tests."""
    monkeypatch.setattr("sigprop_snn.figures.draw_run", lambda *_, **__: [])


@pytest.fixture
def no_pictures(monkeypatch):
    """Leave the pictures out of reports: they take most of a report's time."""
    from sigprop_snn.report.style import element

    monkeypatch.setattr("sigprop_snn.report.sections._try_picture", lambda *_: element("figure"))
