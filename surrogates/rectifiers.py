"""Rectifiers, the usual activations of rate neurons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sigprop_snn.surrogates.base import Surrogate, as_like, check_shapes, scaled


@dataclass(frozen=True)
class Relu(Surrogate):
    """Rectifier: f(u) = max(0, u), df(u) = 1 where u > 0, unbounded."""

    rises: ClassVar[bool] = False

    def f(self, u: Tensor) -> Tensor:
        """Return the primitive at `u`."""
        return torch.relu(u)  # its derivative at 0 is 0 in each version of torch

    def df(self, u: Tensor) -> Tensor:
        """Return its derivative at `u`."""
        return (u > 0).to(u.dtype)


@dataclass(frozen=True)
class LeakyRelu(Surrogate):
    """Leaky rectifier: f(u) = u where u > 0, slope * u elsewhere, unbounded.

    Args:
        slope: slope below the threshold.
    """

    rises: ClassVar[bool] = False

    slope: float | Tensor = 0.01

    def __post_init__(self) -> None:
        check_shapes(self)

    def f(self, u: Tensor) -> Tensor:
        """Return the primitive at `u`."""
        return torch.where(u > 0, u, scaled(self.slope, u))

    def df(self, u: Tensor) -> Tensor:
        """Return its derivative at `u`."""
        below = torch.zeros_like(u) + as_like(self.slope, u)
        return torch.where(u > 0, torch.ones_like(u), below)
