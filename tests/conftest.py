"""Settings for all tests, and small networks that several rooms use."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import settings
from torch import nn

from sigprop_snn.network import (
    Block,
    DotProductLoss,
    Network,
    ProjectedContext,
    Readout,
    RunningNorm,
    RunningScale,
)
from sigprop_snn.neurons import LIF
from sigprop_snn.report.style import element
from sigprop_snn.surrogates import Surrogate

# One thread, also in the processes that tests start: tensors are small here, several test processes
# share the cores, and OpenMP's threads wait in busy loops.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

# The same examples in every run, and no limit that a slow machine could exceed.
settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile("reproducible")


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


@pytest.fixture
def no_figures(monkeypatch):
    """Draw nothing after a training: figures take longer than the small runs of tests."""
    monkeypatch.setattr("sigprop_snn.figures.draw_run", lambda *_, **__: [])


@pytest.fixture
def no_pictures(monkeypatch):
    """Leave the pictures out of reports: they take most of a report's time."""
    monkeypatch.setattr("sigprop_snn.report.sections._try_picture", lambda *_: element("figure"))


CLASSES = 4


@pytest.fixture
def dense() -> Callable[..., Network]:
    """Makes `[T, B, 6]` -> 10 -> 8 -> 7 -> 4 classes, in float64."""

    def make(rule=None, *, seed: int = 0, surrogate: Surrogate | None = None, **settings):
        torch.manual_seed(seed)
        sizes = (6, 10, 8, 7)
        blocks = [
            Block(nn.Linear(a, b), LIF(0.8, surrogate=surrogate), norm=RunningScale(b, 2.0))
            for a, b in pairwise(sizes)
        ]
        readout = settings.pop("readout", Readout(7, CLASSES))
        return Network(
            ProjectedContext(CLASSES, (10,), gain=2.0), blocks, readout, rule=rule, **settings
        ).double()

    return make


@pytest.fixture
def pictures() -> Callable[..., Network]:
    """Makes `[T, B, 2, 8, 8]` -> 4 maps -> pool -> 5 maps -> 4 classes, in float64."""

    def make(rule=None, *, seed: int = 0, surrogate: Surrogate | None = None, **settings):
        torch.manual_seed(seed)
        blocks = [
            Block(
                nn.Conv2d(2, 4, 3, padding=1),
                LIF(0.8, surrogate=surrogate),
                norm=RunningNorm(4),
                pool=nn.AvgPool2d(2),
            ),
            Block(
                nn.Conv2d(4, 5, 3, padding=1), LIF(0.7, surrogate=surrogate), norm=RunningNorm(5)
            ),
        ]
        return Network(
            ProjectedContext(CLASSES, (4, 8, 8)),
            blocks,
            Readout(80, CLASSES),
            rule=rule,
            loss=DotProductLoss(grid=2),
            **settings,
        ).double()

    return make


@pytest.fixture
def batch() -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """Makes inputs `[T, B, *shape]`, each class around its own mean, and labels `[B]`."""

    def make(shape: tuple[int, ...] = (6,), *, steps: int = 5, rows: int = 8, seed: int = 1):
        made = torch.Generator().manual_seed(seed)
        labels = torch.arange(rows) % CLASSES
        means = torch.randn(CLASSES, *shape, dtype=torch.float64, generator=made)
        noise = torch.randn(steps, rows, *shape, dtype=torch.float64, generator=made)
        return 2 * means[labels] + noise, labels

    return make
