"""The learning-rate schedules that a run can name, and one schedule for each layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LRScheduler,
    OneCycleLR,
    StepLR,
)

from sigprop_snn.arguments import function, instance, whole
from sigprop_snn.optimizers.local_optimizers import LocalOptimizers, check_layers

MakeSchedule = Callable[[Optimizer, int], LRScheduler]
"""Makes a scheduler for an optimizer; the number is that of the batches in the whole run."""

FINAL_RATE = 0.02
"""Fraction of the learning rate at the end of the schedules that do not reach zero."""


def linear(optimizer: Optimizer, batches: int) -> LRScheduler:
    """Falls by the same amount in every batch, to 2 % (LambdaLR)."""
    return LambdaLR(optimizer, lambda batch: 1 - (1 - FINAL_RATE) * (batch / batches))


def cosine(optimizer: Optimizer, batches: int) -> LRScheduler:
    """Falls along half a cosine, to zero (CosineAnnealingLR)."""
    return CosineAnnealingLR(optimizer, batches)


def constant(optimizer: Optimizer, batches: int) -> LRScheduler:
    """Does not change (LambdaLR)."""
    return LambdaLR(optimizer, lambda _: 1.0)


def step(optimizer: Optimizer, batches: int) -> LRScheduler:
    """Falls to a tenth after each third of the run (StepLR)."""
    return StepLR(optimizer, max(1, -(-batches // 3)), gamma=0.1)


def exponential(optimizer: Optimizer, batches: int) -> LRScheduler:
    """Falls by the same factor in every batch, to 2 % (ExponentialLR)."""
    return ExponentialLR(optimizer, FINAL_RATE ** (1 / batches))


def one_cycle(optimizer: Optimizer, batches: int) -> LRScheduler:
    """Rises from 4 % during 30 % of the run, then falls to zero (OneCycleLR)."""
    rates = [group["lr"] for group in optimizer.param_groups]
    return OneCycleLR(optimizer, rates, total_steps=batches + 1, cycle_momentum=False)


SCHEDULES: dict[str, MakeSchedule] = {
    "linear": linear,
    "cosine": cosine,
    "constant": constant,
    "step": step,
    "exponential": exponential,
    "one-cycle": one_cycle,
}


class LocalSchedules:
    """One learning-rate schedule for each layer's optimizer.

    Attributes:
        by_layer: the schedulers of torch by layer name.

    A schedule of torch for all layers at once needs no such class: `StepLR(optimizers, 10)`.

    Args:
        optimizers: the optimizers; each schedule starts from the learning rate of its layer.
        make: makes the scheduler of an optimizer.
        batches: number of batches in the whole run.
    """

    def __init__(self, optimizers: LocalOptimizers, make: MakeSchedule, batches: int) -> None:
        instance("optimizers", optimizers, LocalOptimizers, "LocalOptimizers")
        function("make", make, "a function of an optimizer and a number of batches")
        batches = whole("batches", batches)
        self.by_layer = {
            name: make(optimizer, batches) for name, optimizer in optimizers.by_layer.items()
        }

    def step(self) -> None:
        """Set the learning rates for the next batch."""
        for scheduler in self.by_layer.values():
            scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the states of the schedulers by layer name."""
        return {name: scheduler.state_dict() for name, scheduler in self.by_layer.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned.

        Raises:
            SigpropError: if it has other layers.
        """
        check_layers(state, self.by_layer)
        for name, scheduler in self.by_layer.items():
            scheduler.load_state_dict(state[name])
