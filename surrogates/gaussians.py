"""Surrogates with a Gaussian derivative, or a sum of Gaussians."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sigprop_snn.surrogates.base import Surrogate, as_like, check_shapes, scaled


@dataclass(frozen=True)
class Gaussian(Surrogate):
    """Gaussian: df(u) is the normal density with deviation sigma, f(u) its integral.

    Args:
        sigma: standard deviation, in units of voltage.
    """

    sigma: float | Tensor = 0.4

    def __post_init__(self) -> None:
        check_shapes(self)

    def f(self, u: Tensor) -> Tensor:
        """Return the primitive at `u`."""
        return _integral(u, self.sigma)

    def df(self, u: Tensor) -> Tensor:
        """Return its derivative at `u`."""
        return _density(u, self.sigma)


@dataclass(frozen=True)
class Erf(Surrogate):
    """Error function: f(u) = (1 + erf(alpha u)) / 2, a Gaussian of sigma = 1 / (alpha sqrt 2).

    Args:
        alpha: steepness, in units of 1 / voltage.
    """

    alpha: float | Tensor = 2.0

    def __post_init__(self) -> None:
        check_shapes(self)

    def f(self, u: Tensor) -> Tensor:
        """Return the primitive at `u`."""
        return 0.5 + 0.5 * torch.erf(scaled(self.alpha, u))

    def df(self, u: Tensor) -> Tensor:
        """Return its derivative at `u`."""
        peak = as_like(self.alpha, u) / math.sqrt(math.pi)
        return peak * torch.exp(-scaled(self.alpha, u).square())


@dataclass(frozen=True)
class MultiGaussian(Surrogate):
    """Multi-Gaussian with a dip on either side (Yin, Corradi and Bohte 2021).

    df(u) = (1 + h) N(u; 0, sigma) - h N(u; sigma, s sigma) - h N(u; -sigma, s sigma). f falls
    where df is negative: f starts at 0, rises above its last value, and ends at 1 - h.

    Args:
        sigma: standard deviation of the peak, in units of voltage.
        height: h, the weight of each dip.
        spread: s, the width of the dips divided by that of the peak.
    """

    rises: ClassVar[bool] = False

    sigma: float | Tensor = 0.5
    height: float | Tensor = 0.15
    spread: float | Tensor = 6.0

    def __post_init__(self) -> None:
        check_shapes(self)

    def f(self, u: Tensor) -> Tensor:
        """Return the primitive at `u`."""
        height, sigma = as_like(self.height, u), as_like(self.sigma, u)
        wide = self.spread * self.sigma
        dips = _integral(u - sigma, wide) + _integral(u + sigma, wide)
        return (1.0 + height) * _integral(u, self.sigma) - height * dips

    def df(self, u: Tensor) -> Tensor:
        """Return its derivative at `u`."""
        height, sigma = as_like(self.height, u), as_like(self.sigma, u)
        wide = self.spread * self.sigma
        dips = _density(u - sigma, wide) + _density(u + sigma, wide)
        return (1.0 + height) * _density(u, self.sigma) - height * dips


def _integral(u: Tensor, sigma: float | Tensor) -> Tensor:
    return 0.5 + 0.5 * torch.erf(scaled(math.sqrt(0.5) / sigma, u))


def _density(u: Tensor, sigma: float | Tensor) -> Tensor:
    peak = as_like(math.sqrt(0.5 / math.pi) / sigma, u)
    return peak * torch.exp(-scaled(math.sqrt(0.5) / sigma, u).square())
