"""What every surrogate is: a smooth primitive, its derivative, and the spike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor


class Surrogate(ABC):
    """A smooth stand-in for the spike's step function.

    A new one gives `f` and `df`; `spike` follows from them. Signal propagation attaches its loss
    to the primitive `f`, before the spike (Kohan et al., arXiv 2204.01723, section on spiking
    networks); baselines that go through the spike use `df` in its place (Neftci et al. 2019).

    `u` is always the membrane voltage minus the threshold, in units of voltage.
    """

    @abstractmethod
    def f(self, u: Tensor) -> Tensor:
        """Return the smooth primitive at `u`, same shape and dtype, rising from 0 to 1."""

    @abstractmethod
    def df(self, u: Tensor) -> Tensor:
        """Return the derivative of `f` at `u`, same shape and dtype."""

    def spike(self, u: Tensor) -> Tensor:
        """Return 1 where `u` > 0 and 0 elsewhere, in `u`'s dtype, with `df` as its gradient."""
        spike: Tensor = _Spike.apply(u, self)
        return spike


class _Spike(torch.autograd.Function):
    """Heaviside forward, the surrogate's derivative backward."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, surrogate: Surrogate) -> Tensor:
        ctx.save_for_backward(u)
        ctx.surrogate = surrogate
        return (u > 0).to(u.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (u,) = ctx.saved_tensors
        return grads[0] * ctx.surrogate.df(u), None
