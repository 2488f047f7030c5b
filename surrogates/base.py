"""What every surrogate is: a smooth primitive, its derivative, and the spike."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError


class Surrogate(ABC):
    """A smooth stand-in for the spike's step function.

    A new one gives `f` and `df`; `spike` follows from them. Signal propagation attaches its loss
    to the primitive `f`, before the spike (Kohan et al., arXiv 2204.01723, section on spiking
    networks); baselines that go through the spike use `df` in its place (Neftci et al. 2019).

    `u` is always the membrane voltage minus the threshold, in units of voltage. A shape parameter
    is a number or a tensor, one for each neuron where it broadcasts. An `nn.Parameter` learns: the
    neuron that takes the surrogate lists it among its parameters, and the surrogate rule's
    gradient reaches it through `f`. No gradient reaches it through `spike`.
    """

    #: Whether `f` rises from 0 to 1 without ever falling.
    rises: ClassVar[bool] = True

    @abstractmethod
    def f(self, u: Tensor) -> Tensor:
        """Return the smooth primitive at `u`, same shape and dtype."""

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


def scaled(shape: float | Tensor, u: Tensor) -> Tensor:
    """Return shape * u in `u`'s dtype, kept finite where half precision would overflow."""
    limit = torch.finfo(u.dtype).max / 8
    return (as_like(shape, u) * u).clamp(min=-limit, max=limit)


def as_like(shape: float | Tensor, u: Tensor) -> float | Tensor:
    """Return a shape parameter in the dtype and on the device of `u`."""
    return shape.to(u) if isinstance(shape, Tensor) else shape


def check_positive(surrogate: object) -> None:
    """Check that every shape parameter of a surrogate is positive.

    Raises:
        SigpropError: naming the first that is not.
    """
    for name, value in vars(surrogate).items():
        if not bool((torch.as_tensor(value) > 0).all()):
            raise SigpropError(
                f"{name} of {type(surrogate).__name__} is {value}; expected a positive number"
            )
