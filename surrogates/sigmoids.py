"""Surrogates that rise like a sigmoid: fast sigmoid, arctangent, logistic sigmoid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from sigprop_snn.surrogates.base import Surrogate


@dataclass(frozen=True)
class FastSigmoid(Surrogate):
    """f(u) = (1 + k u / (1 + k |u|)) / 2, the softsign scaled to rise from 0 to 1.

    Its derivative is k / 2 times SuperSpike's 1 / (1 + k |u|)^2 (Zenke and Ganguli 2018).

    Args:
        slope: k, in units of 1 / voltage.
    """

    slope: float = 4.0

    def f(self, u: Tensor) -> Tensor:
        """Return the primitive at `u`."""
        scaled = self.slope * u
        return 0.5 + 0.5 * scaled / (1.0 + scaled.abs())

    def df(self, u: Tensor) -> Tensor:
        """Return its derivative at `u`."""
        return 0.5 * self.slope / (1.0 + (self.slope * u).abs()).square()


@dataclass(frozen=True)
class Arctan(Surrogate):
    """f(u) = 1/2 + arctan(pi alpha u / 2) / pi (Fang et al. 2021).

    Args:
        alpha: twice the slope at the threshold, in units of 1 / voltage.
    """

    alpha: float = 4.0

    def f(self, u: Tensor) -> Tensor:
        """Return the primitive at `u`."""
        return 0.5 + torch.atan(0.5 * math.pi * self.alpha * u) / math.pi

    def df(self, u: Tensor) -> Tensor:
        """Return its derivative at `u`."""
        return 0.5 * self.alpha / (1.0 + (0.5 * math.pi * self.alpha * u).square())


@dataclass(frozen=True)
class Sigmoid(Surrogate):
    """f(u) = 1 / (1 + exp(-k u)), the logistic sigmoid.

    Args:
        slope: k, four times the slope at the threshold, in units of 1 / voltage.
    """

    slope: float = 4.0

    def f(self, u: Tensor) -> Tensor:
        """Return the primitive at `u`."""
        return torch.sigmoid(self.slope * u)

    def df(self, u: Tensor) -> Tensor:
        """Return its derivative at `u`."""
        rise = torch.sigmoid(self.slope * u)
        return self.slope * rise * (1.0 - rise)
