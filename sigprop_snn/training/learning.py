"""Learning from the batches of an epoch, and testing after it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from typing import Any

from torch import Tensor

from sigprop_snn.data import Batches
from sigprop_snn.device import sent, to_device
from sigprop_snn.monitors import HealthCheck
from sigprop_snn.network import Learned, Stage
from sigprop_snn.training import randomness
from sigprop_snn.training.evaluation import Evaluation, judge
from sigprop_snn.training.folder import RunFolder
from sigprop_snn.training.progress import Progress
from sigprop_snn.training.run import TrainingRun, precision
from sigprop_snn.training.stopping import Stop, StopAskedError
from sigprop_snn.training.team import END, GO_ON, SAVE, STOP, Alone, Team

Log = Callable[[dict[str, float]], object]
"""Receives numbers by name, such as `wandb.log`."""


@dataclass(frozen=True)
class Learning:
    """Learning from the batches of a run.

    Attributes:
        run: the run.
        folder: its folder.
        stop: a request to stop.
        progress: the progress bar.
        on_batch: receives the numbers of each batch, or None.
        team: the processes that learn together.
    """

    run: TrainingRun
    folder: RunFolder
    stop: Stop
    progress: Progress
    on_batch: Log | None
    team: Team

    def epoch(self, health: HealthCheck) -> dict[str, Any]:
        """Learn from the rest of the current epoch, test the network, and return the record."""
        run, data = self.run, self.run.data
        number = len(run.history) + 1
        self._learn_batches(number)
        metrics, validated = self.team.collect(), None
        try:
            if data.validation is not None and run.config.chooses_epoch:
                validated = self._judge(data.validation, "validating")
            tested = self._judge(data.test, "testing", health.watch)
        except StopAskedError:
            self.team.spread(None)
            raise
        record = self.team.spread(metrics.record(number, tested, validated))
        run.finish_epoch(record)
        return record

    def _learn_batches(self, number: int) -> None:
        """Learn from the rest of an epoch's batches, and save from time to time."""
        run = self.run
        batches = batches_of(run, number, self._fed(run.data.train))
        if isinstance(self.team, Alone):  # others would wait for a batch that does not come
            batches = self.stop.watch(batches)
        batches = self.progress.learning(batches)
        mark = time.perf_counter()
        for inputs, labels in batches:
            run.network.train()
            inputs, labels = self.team.part(inputs, labels)
            inputs, labels = to_device(inputs, run.device), sent(labels, run.device)
            compiling = self.progress.first("preparing kernels; the first run compiles them")
            with compiling, autocast(run):
                learned = self.team.learn(inputs, labels)
            run.metrics.add(learned, labels)
            self.progress.learned(learned)
            if self.on_batch is not None:
                self.on_batch(_numbers_of(run, number, learned, len(labels)))
            run.schedules.step()
            run.batch += 1
            run.metrics.seconds += time.perf_counter() - mark
            told = self.team.tell(self._next())
            if told == STOP:
                raise StopAskedError
            if told == SAVE:
                self.folder.save_checkpoint(run.checkpoint(self.team.collect()))
            mark = time.perf_counter()
        mark = time.perf_counter()
        run.metrics.settle()  # waits for a GPU
        run.metrics.seconds += time.perf_counter() - mark

    def _fed(self, batches: Batches) -> Batches:
        """Return batches for the run's device; those of several processes stay on the CPU."""
        return self.run.fed(batches) if isinstance(self.team, Alone) else batches

    def _next(self) -> int:
        """Return how the run goes on after a batch."""
        if self.stop.asked is None:
            asked = self.team.asked_to_stop()
            self.stop.asked = None if asked is None else signal.Signals(asked)
        if self.stop.asked is not None:
            return STOP
        if self.run.batch == len(self.run.data.train):
            return END
        due = self.folder.seconds_since_checkpoint() >= self.run.config.save_every
        return SAVE if due else GO_ON

    def _judge(
        self,
        batches: Batches,
        what: str,
        watch: Callable[[Stage, Tensor], object] | None = None,
    ) -> Evaluation:
        watched = self.progress.testing(self.stop.watch(self._fed(batches)), what)
        with autocast(self.run), self.progress.first(f"{what} on {batches.samples:,} samples"):
            return judge(self.run.network, watched, self.run.config.seed, watch)


def batches_of(
    run: TrainingRun, number: int, train: Batches | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Return the batches of an epoch that the network has not learned from.

    Args:
        run: the run.
        number: the epoch, from 1.
        train: the batches of its training samples in another form; see `TrainingRun.fed`.
    """
    train = run.data.train if train is None else train
    train.set_epoch(number - 1)
    batches = iter(train)
    with randomness.kept():
        next(islice(batches, run.batch, run.batch), None)  # skips those that were learned from
    return batches


def _numbers_of(run: TrainingRun, number: int, learned: Learned, samples: int) -> dict[str, float]:
    """Return the numbers of a batch by name."""
    rates = {
        f"learning_rate/{name}": optimizer.param_groups[0]["lr"]
        for name, optimizer in run.optimizers.by_layer.items()
    }
    losses = {
        f"loss/{layer.name}": layer.loss for layer in learned.layers if layer.loss is not None
    }
    return {
        "epoch": number,
        "batch": run.batch + 1,
        "accuracy/batch": learned.correct / samples,
        **rates,
        **losses,
    }


def autocast(run: TrainingRun) -> AbstractContextManager[object]:
    """Return the context of a run's precision."""
    return precision(run.config, run.device)
