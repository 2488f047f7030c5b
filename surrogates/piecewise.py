"""Surrogates with a piecewise linear or constant derivative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sigprop_snn.surrogates.base import Surrogate, as_like, check_shapes, scaled


@dataclass(frozen=True)
class Triangle(Surrogate):
    """Triangle (piecewise linear, Bellec et al. 2018): df(u) = max(0, 1 - |u| / w) / w.

    Args:
        width: w, the distance from the threshold at which the derivative is 0, in units of voltage.
    """

    width: float | Tensor = 1.0

    def __post_init__(self) -> None:
        check_shapes(self)

    def f(self, u: Tensor) -> Tensor:
        """Return the primitive at `u`."""
        x = scaled(1.0 / self.width, u).clamp(min=-1.0, max=1.0)
        return 0.5 + x - 0.5 * x * x.abs()

    def df(self, u: Tensor) -> Tensor:
        """Return its derivative at `u`."""
        x = scaled(1.0 / self.width, u)
        return (1.0 - x.abs()).clamp(min=0.0) / as_like(self.width, u)


@dataclass(frozen=True)
class Rectangle(Surrogate):
    """Rectangle (Wu et al. 2018): df(u) = 1 / w where |u| < w / 2.

    Args:
        width: w, in units of voltage.
    """

    width: float | Tensor = 1.0

    def __post_init__(self) -> None:
        check_shapes(self)

    def f(self, u: Tensor) -> Tensor:
        """Return the primitive at `u`."""
        return (scaled(1.0 / self.width, u) + 0.5).clamp(min=0.0, max=1.0)

    def df(self, u: Tensor) -> Tensor:
        """Return its derivative at `u`."""
        inside = (scaled(1.0 / self.width, u).abs() < 0.5).to(u.dtype)
        return inside / as_like(self.width, u)


@dataclass(frozen=True)
class StraightThrough(Surrogate):
    """Straight-through (Bengio et al. 2013): df(u) = 1 everywhere, f(u) = u + 1/2, unbounded."""

    rises: ClassVar[bool] = False

    def f(self, u: Tensor) -> Tensor:
        """Return the primitive at `u`."""
        return u + 0.5

    def df(self, u: Tensor) -> Tensor:
        """Return its derivative at `u`."""
        return torch.ones_like(u)
