"""How the learning rate moves from the first batch to the last, by torch's own schedulers."""

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

from sigprop_snn.training.optimizers import LocalOptimizers

FINAL_RATE = 0.02
"""Share of the learning rate that is left at the end of the schedules that don't reach zero."""

MakeSchedule = Callable[[Optimizer, int], LRScheduler]
"""Makes a scheduler of an optimizer and the number of batches in the whole run."""


def linear(optimizer: Optimizer, batches: int) -> LRScheduler:
    """Falls by the same amount every batch, to 2 % (LambdaLR)."""
    return LambdaLR(optimizer, lambda batch: 1 - (1 - FINAL_RATE) * (batch / batches))


def cosine(optimizer: Optimizer, batches: int) -> LRScheduler:
    """Falls along half a cosine, to zero (CosineAnnealingLR)."""
    return CosineAnnealingLR(optimizer, batches)


def constant(optimizer: Optimizer, batches: int) -> LRScheduler:
    """Stays as it is (LambdaLR)."""
    return LambdaLR(optimizer, lambda _: 1.0)


def step(optimizer: Optimizer, batches: int) -> LRScheduler:
    """Falls to a tenth after each third of the run (StepLR)."""
    return StepLR(optimizer, max(1, -(-batches // 3)), gamma=0.1)


def exponential(optimizer: Optimizer, batches: int) -> LRScheduler:
    """Falls by the same factor every batch, to 2 % (ExponentialLR)."""
    return ExponentialLR(optimizer, FINAL_RATE ** (1 / batches))


def one_cycle(optimizer: Optimizer, batches: int) -> LRScheduler:
    """Rises from 4 % over three tenths of the run, then falls to nothing (OneCycleLR)."""
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
    """Moves the learning rate of every layer's optimizer, batch by batch.

    Args:
        optimizers: the optimizers; each layer falls from its own learning rate.
        make: makes the scheduler of one of them.
        batches: how many batches the whole run has.
    """

    def __init__(self, optimizers: LocalOptimizers, make: MakeSchedule, batches: int) -> None:
        self.by_layer = {
            name: make(optimizer, batches) for name, optimizer in optimizers.by_layer.items()
        }

    def step(self) -> None:
        """Set the learning rates for the next batch."""
        for scheduler in self.by_layer.values():
            scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        """Return every scheduler's state, by layer."""
        return {name: scheduler.state_dict() for name, scheduler in self.by_layer.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` returned."""
        for name, scheduler in self.by_layer.items():
            scheduler.load_state_dict(state[name])
