"""Small networks and batches that several rooms use, and settings that need torch."""

from __future__ import annotations

import os
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
from sigprop_snn.surrogates import Surrogate

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

# The same examples in every run, and no limit that a slow machine could exceed.
settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile("reproducible")

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
