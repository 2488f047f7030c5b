"""Who learns from a run's batches: this process alone, or several together."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Protocol, TypeVar

from torch import Tensor

from sigprop_snn.network import Learned, learn_in_parts
from sigprop_snn.training.graph_choice import Learner
from sigprop_snn.training.metrics import EpochMetrics
from sigprop_snn.training.run import TrainingRun

GO_ON, SAVE, STOP, END = range(4)
"""What the leading process tells the others after a batch; `END` comes after an epoch's last."""

T = TypeVar("T")


class Team(Protocol):
    """The processes that learn from a run's batches. One of them leads and writes the run folder.

    At the end of a `with` block the processes part.
    """

    def __enter__(self) -> Team:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End; after an error the others are told."""

    def part(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return this process's rows of a batch."""

    def learn(self, inputs: Tensor, labels: Tensor) -> Learned:
        """Let this process's layers learn from its rows."""

    def tell(self, number: int) -> int:
        """Tell the others how to go on after a batch; return the number that counts."""

    def asked_to_stop(self) -> int | None:
        """Return the signal that asked another process to stop, or none."""

    def collect(self) -> EpochMetrics:
        """Bring the weights, optimizers and results of all processes into this one."""

    def spread(self, value: T) -> T:
        """Return the leading process's value."""


MakeTeam = Callable[[TrainingRun], Team]
"""Makes the team of a run, before its first batch."""


class Alone:
    """This process, which learns alone.

    Args:
        run: the run.
    """

    def __init__(self, run: TrainingRun) -> None:
        self.run = run
        self._learner = Learner(run)

    def __enter__(self) -> Alone:
        return self

    def __exit__(self, *_: object) -> None:
        """End, and free the memory of a graph."""
        del self._learner

    def part(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the whole batch."""
        return inputs, labels

    def learn(self, inputs: Tensor, labels: Tensor) -> Learned:
        """Learn from a batch."""
        run, every = self.run, self.run.config.update_every
        if every is None:
            return self._learner.learn(inputs, labels)
        return learn_in_parts(run.network, inputs, labels, run.optimizers, every)

    def tell(self, number: int) -> int:
        """Return the number."""
        return number

    def asked_to_stop(self) -> int | None:
        """Return none."""
        return None

    def collect(self) -> EpochMetrics:
        """Return the results of the epoch so far."""
        return self.run.metrics

    def spread(self, value: T) -> T:
        """Return the value."""
        return value
