"""Sigmoids: their derivative is positive everywhere."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sigprop_snn.surrogates.base import Surrogate, as_like, check_shapes, scaled


@dataclass(frozen=True)
class FastSigmoid(Surrogate):
    """Fast sigmoid (SuperSpike, Zenke and Ganguli 2018): f(u) = (1 + k u / (1 + k |u|)) / 2.

    Its derivative is k / 2 times SuperSpike's 1 / (1 + k |u|)^2.

    Args:
        slope: k, in units of 1 / voltage.
    """

    slope: float | Tensor = 4.0

    def __post_init__(self) -> None:
        check_shapes(self)

    def f(self, u: Tensor) -> Tensor:
        """Return the primitive at `u`."""
        x = scaled(self.slope, u)
        return 0.5 + 0.5 * (x / (1.0 + x.abs()))

    def df(self, u: Tensor) -> Tensor:
        """Return its derivative at `u`."""
        return 0.5 * as_like(self.slope, u) / (1.0 + scaled(self.slope, u).abs()).square()


@dataclass(frozen=True)
class Arctan(Surrogate):
    """Arctangent (Fang et al. 2021): f(u) = 1/2 + arctan(pi alpha u / 2) / pi.

    Args:
        alpha: twice the slope at the threshold, in units of 1 / voltage.
    """

    alpha: float | Tensor = 4.0

    def __post_init__(self) -> None:
        check_shapes(self)

    def f(self, u: Tensor) -> Tensor:
        """Return the primitive at `u`."""
        return 0.5 + torch.atan(scaled(0.5 * math.pi * self.alpha, u)) / math.pi

    def df(self, u: Tensor) -> Tensor:
        """Return its derivative at `u`."""
        x = scaled(0.5 * math.pi * self.alpha, u)
        return 0.5 * as_like(self.alpha, u) / (1.0 + x.square())


@dataclass(frozen=True)
class Sigmoid(Surrogate):
    """Logistic sigmoid: f(u) = 1 / (1 + exp(-k u)).

    Args:
        slope: k, four times the slope at the threshold, in units of 1 / voltage.
    """

    slope: float | Tensor = 4.0

    def __post_init__(self) -> None:
        check_shapes(self)

    def f(self, u: Tensor) -> Tensor:
        """Return the primitive at `u`."""
        return torch.sigmoid(scaled(self.slope, u))

    def df(self, u: Tensor) -> Tensor:
        """Return its derivative at `u`."""
        # Not 1 - sigmoid(x), which rounds to 0 in the upper tail.
        x = scaled(self.slope, u)
        return as_like(self.slope, u) * torch.sigmoid(x) * torch.sigmoid(-x)


@dataclass(frozen=True)
class Tanh(Surrogate):
    """Hyperbolic tangent: f(u) = (1 + tanh(k u)) / 2, a logistic sigmoid of slope 2 k.

    Args:
        slope: k, twice the slope at the threshold, in units of 1 / voltage.
    """

    slope: float | Tensor = 2.0

    def __post_init__(self) -> None:
        check_shapes(self)

    def f(self, u: Tensor) -> Tensor:
        """Return the primitive at `u`."""
        return 0.5 + 0.5 * torch.tanh(scaled(self.slope, u))

    def df(self, u: Tensor) -> Tensor:
        """Return its derivative at `u`."""
        x = 2.0 * scaled(self.slope, u)
        return 2.0 * as_like(self.slope, u) * torch.sigmoid(x) * torch.sigmoid(-x)


@dataclass(frozen=True)
class Exponential(Surrogate):
    """Exponential (SLAYER, Shrestha and Orchard 2018): df(u) = k exp(-k |u|) / 2.

    Args:
        slope: k, twice the slope at the threshold, in units of 1 / voltage.
    """

    slope: float | Tensor = 2.0

    def __post_init__(self) -> None:
        check_shapes(self)

    def f(self, u: Tensor) -> Tensor:
        """Return the primitive at `u`."""
        x = scaled(self.slope, u)
        # Each side computes with 0 where the other side is taken, so that neither overflows.
        below = 0.5 * torch.exp(torch.where(x < 0, x, 0.0))
        above = 1.0 - 0.5 * torch.exp(-torch.where(x < 0, 0.0, x))
        return torch.where(x < 0, below, above)

    def df(self, u: Tensor) -> Tensor:
        """Return its derivative at `u`."""
        return 0.5 * as_like(self.slope, u) * torch.exp(-scaled(self.slope, u).abs())
