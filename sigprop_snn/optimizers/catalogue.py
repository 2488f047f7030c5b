"""The optimizers that a run can name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from sigprop_snn.arguments import one_of

MakeOptimizer = Callable[[Iterable[nn.Parameter]], Optimizer]
"""Makes an optimizer for some parameters, such as `partial(torch.optim.Adam, lr=1e-3)`."""


def sgd_momentum(parameters: Iterable[nn.Parameter], **settings: Any) -> Optimizer:
    """Stochastic gradient descent with a momentum of 0.9."""
    return torch.optim.SGD(parameters, momentum=0.9, **settings)


def _fused(make: Callable[..., Optimizer]) -> Callable[..., Optimizer]:
    """Return a maker of optimizers with one kernel a step, where torch has one: the same numbers.

    On a CPU, torch's default takes about ten times as long for Adam.
    """

    @functools.wraps(make)
    def made(parameters: Iterable[nn.Parameter], **settings: Any) -> Optimizer:
        parameters = list(parameters)
        takes = all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for p in parameters)
        return make(parameters, **({"fused": True} if takes else {}), **settings)

    return made


OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": _fused(torch.optim.Adam),
    "adamw": _fused(torch.optim.AdamW),
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "adamax": torch.optim.Adamax,
    "adagrad": torch.optim.Adagrad,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
    "sgd-momentum": sgd_momentum,
}


def optimizer_of(name: str, rate: float, weight_decay: float | None = None) -> MakeOptimizer:
    """Return a function that makes the named optimizer.

    Args:
        name: a name in `OPTIMIZERS`.
        rate: learning rate.
        weight_decay: weight decay; None takes torch's default for this optimizer.

    Raises:
        UnknownNameError: if `OPTIMIZERS` has no such name.
    """
    one_of("optimizer", name, OPTIMIZERS)
    decay = {} if weight_decay is None else {"weight_decay": weight_decay}
    return partial(OPTIMIZERS[name], lr=rate, **decay)
