"""Small networks and batches in float64."""

import pytest
import torch
from torch import nn

from sigprop_snn.network import Block, Network, ProjectedContext, Readout, RunningScale
from sigprop_snn.neurons import LIF

CLASSES = 3


@pytest.fixture
def network():
    """Makes `[T, B, 5]` -> 7 -> 6 -> 3 classes."""

    def make(*, readout=True, **settings):
        torch.manual_seed(0)
        blocks = [
            Block(nn.Linear(5, 7), LIF(0.8), norm=RunningScale(7, 1.5)),
            Block(nn.Linear(7, 6), LIF(0.7, threshold=0.6), norm=RunningScale(6, 1.2)),
        ]
        end = Readout(6, CLASSES, beta=0.6) if readout else None
        return Network(ProjectedContext(CLASSES, (7,)), blocks, end, **settings).double()

    return make


@pytest.fixture
def batch():
    """Inputs `[6, 9, 5]` with a mean for each class, and labels `[9]`."""
    made = torch.Generator().manual_seed(3)
    labels = torch.arange(9) % CLASSES
    means = torch.randn(CLASSES, 5, dtype=torch.float64, generator=made)
    return 2 * means[labels] + torch.randn(6, 9, 5, dtype=torch.float64, generator=made), labels
