"""The base class of all surrogates: a smooth primitive, its derivative, and the spike."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError


class Surrogate(ABC):
    """A smooth function that replaces the step function of the spike.

    A new surrogate defines `f` and `df`. Signal propagation computes its loss from the primitive
    `f`, before the spike (Kohan et al., arXiv 2204.01723, section on spiking networks). Baselines
    that differentiate through the spike use `df` as its derivative (Neftci et al. 2019).

    `u` is the membrane voltage minus the threshold, `neuron.above(voltage)`. A shape parameter is
    a number, or a tensor that broadcasts against `u`, such as one value for each neuron. An
    `nn.Parameter` learns: it becomes a parameter of the neuron, and the gradient of the surrogate
    rule reaches it through `f`. No gradient reaches it through `spike`.
    """

    #: Whether `f` rises from 0 to 1 and never falls.
    rises: ClassVar[bool] = True

    @abstractmethod
    def f(self, u: Tensor) -> Tensor:
        """Return the smooth primitive at `u`, in its shape and dtype."""

    @abstractmethod
    def df(self, u: Tensor) -> Tensor:
        """Return the derivative of `f` at `u`, in its shape and dtype."""

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
    """Return shape * u in the dtype of `u`, clipped where half precision would overflow."""
    limit = torch.finfo(u.dtype).max / 8
    return (as_like(shape, u) * u).clamp(min=-limit, max=limit)


def as_like(value: float | Tensor, like: Tensor) -> float | Tensor:
    """Return a number as it is, and a tensor in the dtype and on the device of `like`."""
    return value.to(like) if isinstance(value, Tensor) else value


def check_shapes(surrogate: object) -> None:
    """Check that each shape parameter is positive and finite, and keep numbers as floats.

    Raises:
        SigpropError: that names the first one that is not.
    """
    for name, value in vars(surrogate).items():
        if not _is_positive(value):
            raise SigpropError(
                f"{name} of {type(surrogate).__name__} is {value!r}; expected a positive number "
                "or a tensor of positive numbers"
            )
        if not isinstance(value, Tensor):  # numpy's float32 would round what follows
            object.__setattr__(surrogate, name, float(value))  # the dataclass is frozen


def _is_positive(value: object) -> bool:
    if isinstance(value, Tensor):
        return bool((value > 0).all()) and bool(value.isfinite().all())
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return 0 < float(value) < math.inf
