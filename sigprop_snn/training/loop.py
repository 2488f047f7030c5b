"""The training loop: `train` starts a run, `resume` continues one."""

from __future__ import annotations

import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor

from sigprop_snn.arguments import instance, refused
from sigprop_snn.data import Batches
from sigprop_snn.data.source import derive_seed
from sigprop_snn.device import (
    fast_convolutions,
    named_memory_errors,
    peak_memory_mb,
    sent,
    to_device,
)
from sigprop_snn.errors import RunStoppedError
from sigprop_snn.monitors import HealthCheck
from sigprop_snn.network import Learned, Stage
from sigprop_snn.settings.train_config import TrainConfig
from sigprop_snn.training import randomness
from sigprop_snn.training.building import warn_of_ignored
from sigprop_snn.training.evaluation import Evaluation, judge
from sigprop_snn.training.folder import CHECKPOINT, CONFIG, SUMMARY, RunFolder, free_name
from sigprop_snn.training.graph_choice import graph_note
from sigprop_snn.training.metrics import epoch_line, run_summary
from sigprop_snn.training.own_data import config_for, data_of, given_data, lacks_test_data
from sigprop_snn.training.progress import Progress, waiting
from sigprop_snn.training.result import Trained
from sigprop_snn.training.run import (
    TrainingRun,
    load_weights,
    patience_note,
    precision,
    rounding_note,
    schedule_note,
)
from sigprop_snn.training.stopping import Stop, StopAskedError, stop_on_signals
from sigprop_snn.training.team import END, GO_ON, SAVE, STOP, Alone, MakeTeam, Team
from sigprop_snn.training.tensorboard import open_tensorboard, require_tensorboard, scalars

LEARNING = 1  # number of the stream of random numbers; evaluation has another


Say = Callable[[str], object]
"""Receives lines of text about the progress."""

Log = Callable[[dict[str, float]], object]
"""Receives numbers by name, such as `wandb.log`."""


@dataclass(frozen=True)
class Listeners:
    """Who hears of a run.

    Attributes:
        say: receives lines of text.
        on_epoch: receives the numbers of each epoch, or None.
        on_batch: receives the numbers of each batch, or None.

    Raises:
        SigpropError: if one is no function.
    """

    say: Say
    on_epoch: Log | None = None
    on_batch: Log | None = None

    def __post_init__(self) -> None:
        if not callable(self.say):
            raise refused("say", self.say, "a function of one line of text, such as print")
        for name in ("on_epoch", "on_batch"):
            log = getattr(self, name)
            if log is not None and not callable(log):
                raise refused(name, log, "a function of a dict of numbers, such as wandb.log")


def train(
    config: TrainConfig,
    say: Say = print,
    *,
    data: Any = None,
    on_epoch: Log | None = None,
    on_batch: Log | None = None,
    catch_signals: bool = False,
    team: MakeTeam = Alone,
) -> Trained:
    """Train a network and write the run folder.

    Runs in several threads take turns, because torch has one random generator for all threads.

    Args:
        config: the settings; the data set and the rule give the defaults of those that are None.
            With `data`, its `dataset` is a name of your choice.
        say: receives lines of text about the progress.
        data: your own data: a `Data`; or batches to learn from, pairs (inputs `[T, B, ...]`, labels
            `[B]`) in a list, a `DataLoader` or another iterable that can be read again and again;
            or a tuple (train, test) or (train, test, validation) of these. Batches are read once
            before the run, to count samples and classes; see `Data.from_loaders`.
        on_epoch: receives the numbers of each epoch by name, such as "epoch", "accuracy/test",
            "accuracy/block1" and "loss/block1"; for example `wandb.log`.
        on_batch: receives the numbers of each batch: "epoch", "batch", "accuracy/batch",
            "learning_rate/block1" and "loss/block1". On a GPU each call waits for the batch.
        catch_signals: whether SIGINT, SIGTERM and SIGHUP save the run and stop it. This changes the
            signal handlers of the process.
        team: makes the processes that learn together; see `sigprop_snn.parallel.train`.

    Raises:
        SigpropError: if the configuration, the data or the run folder can't be used, or memory runs
            out. If this happens before the first checkpoint, the run folder is deleted.
        RunStoppedError: if a signal stopped the run.
    """
    instance("config", config, TrainConfig, "a TrainConfig")
    listeners = Listeners(say, on_epoch, on_batch)
    if not callable(team):
        raise refused("team", team, "a function that makes a team of a TrainingRun")
    with randomness.turn(say), named_memory_errors():
        given = None
        if data is not None:
            with waiting(say, "reading the data once, to count samples and classes"):
                given = data_of(data, config.dataset, config.seed)
                config = config_for(config, given)
        elif config.own_data:
            given_data(config, data)
        config = config.resolved()
        if config.tensorboard:
            require_tensorboard()
        with waiting(say, f"reading {config.dataset} and building the network"):
            run = TrainingRun.new(config, given)
        warn_of_ignored(config, run.network)
        origin = None
        if config.init_from is not None:
            origin = load_weights(run.network, config.init_from)
        stem = f"{config.dataset}-{config.network}-{config.rule}-seed{config.seed}"
        folder = RunFolder.create(config.out or free_name(Path("runs"), stem))
        with folder.locked():
            say(run.description())
            if lacks_test_data(data):
                say("no test data were given: the run is tested on its training samples")
            note = graph_note(run) if team is Alone else None
            if note is not None:
                say(note)
            if origin is not None:
                say(origin)
            try:
                folder.write_json(CONFIG, config.as_json())
                return _finish(run, folder, listeners, team, catch_signals=catch_signals)
            except BaseException:
                if not folder.has(CHECKPOINT):
                    folder.remove()
                raise


def resume(
    path: str | os.PathLike[str],
    say: Say = print,
    *,
    epochs: int | None = None,
    data: Any = None,
    data_root: str | os.PathLike[str] | None = None,
    device: str | None = None,
    on_epoch: Log | None = None,
    on_batch: Log | None = None,
    catch_signals: bool = False,
    team: MakeTeam = Alone,
) -> Trained:
    """Continue a run that was stopped or killed, or a finished run to more epochs.

    On a CPU, with the same version of torch and the same number of threads, the weights at the end
    equal those of an uninterrupted run bit by bit. A finished run is returned as it is.

    With another number of epochs, the learning rate continues as in a run that had this number from
    the start. Under a schedule that falls, it rises when a finished run goes on. Under "constant"
    the weights equal those of an uninterrupted run of that many epochs bit by bit.

    Args:
        path: the run folder.
        say: as in `train`.
        epochs: the number of epochs of the whole run, if not that of the run.
        data: as in `train`, for a run that was trained on data from outside.
        data_root: the folder that holds the data sets now, if not that of the run.
        device: the device to compute on now, if not that of the run.
        on_epoch: as in `train`.
        on_batch: as in `train`.
        catch_signals: as in `train`.
        team: as in `train`.

    Raises:
        SigpropError: if the folder holds no run, a file is damaged or does not fit the others, the
            data are others than those of the run, or `epochs` is below what the run has learned.
            Nothing is written then.
        RunStoppedError: if a signal stopped the run.
    """
    listeners = Listeners(say, on_epoch, on_batch)
    if not callable(team):
        raise refused("team", team, "a function that makes a team of a TrainingRun")
    folder = RunFolder.existing(path)
    with randomness.turn(say), named_memory_errors(), folder.locked():
        config, checkpoint = folder.load(data_root=data_root, device=device, epochs=epochs)
        if config.tensorboard:
            require_tensorboard()
        with waiting(say, f"reading {config.dataset} and building the network"):
            run = TrainingRun.new(config, given_data(config, data))
        notes = [graph_note(run)] if team is Alone and not run.is_over() else []
        if checkpoint is not None:
            run.restore(checkpoint, str(folder.path / CHECKPOINT))
            notes.append(rounding_note(checkpoint))
            notes.append(patience_note(run) if run.is_over() else schedule_note(config, checkpoint))
        say(run.description())
        say(run.position() if run.is_over() else f"continues {run.position()}")
        for note in notes:
            if note is not None:
                say(note)
        folder.remove_partial_files()
        if epochs is not None and not run.is_over():
            stored = replace(folder.config(), epochs=epochs)
            folder.write_json(CONFIG, stored.resolved().as_json())
        if not run.is_over():
            folder.remove_summary()
        if folder.metrics() != run.history:
            folder.write_metrics(run.history)
        return _finish(run, folder, listeners, team, catch_signals=catch_signals)


def _finish(
    run: TrainingRun,
    folder: RunFolder,
    listeners: Listeners,
    team: MakeTeam,
    *,
    catch_signals: bool,
) -> Trained:
    """Learn until the run is over, and write the summary."""
    was_over = run.is_over()
    with randomness.seeded(derive_seed(run.config.seed, LEARNING)):
        if run.random_states is not None:
            randomness.restore(run.random_states)
        with team(run) as together, fast_convolutions(run.device):
            if not was_over:
                _learn(run, folder, listeners, together, catch_signals=catch_signals)
    epoch = run.choose_epoch()
    if run.best is not None:
        listeners.say(
            f"kept: epoch {epoch} of {len(run.history)}, with validation accuracy "
            f"{100 * run.best.accuracy:.2f} %"
        )
    if was_over and folder.has(SUMMARY):
        summary = folder.summary()
    else:
        summary = run_summary(
            run.config,
            run.history,
            epoch,
            samples=(run.data.train.samples, run.data.test.samples),
            peak_memory_mb=peak_memory_mb(run.device),
        )
        folder.write_json(SUMMARY, summary)
    return Trained(run.config, run.network.eval(), run.data, run.history, summary, folder, epoch)


def _learn(
    run: TrainingRun,
    folder: RunFolder,
    listeners: Listeners,
    team: Team,
    *,
    catch_signals: bool,
) -> None:
    """Learn epoch by epoch until the run is over or a signal stops it."""
    opened = open_tensorboard(folder.path, run.config.tensorboard, len(run.history))
    with (
        opened as board,
        Progress(run, listeners.say) as progress,
        stop_on_signals(catch_signals) as stop,
    ):
        health = HealthCheck(
            run.network, classes=run.data.classes, labels=run.data.train.labels, say=progress.say
        )
        learning = Learning(run, folder, stop, progress, listeners.on_batch, team)
        try:
            while not run.is_over():
                record = learning.epoch(health)
                # This order survives a kill at any place: a resumed run drops TensorBoard records
                # that the checkpoint lacks, and rewrites lines that the metrics lack.
                if board is not None:
                    board.add(record)
                folder.save_checkpoint(run.checkpoint())
                folder.write_metrics(run.history)
                progress.say(epoch_line(record, run.epochs))
                health.report()
                if listeners.on_epoch is not None:
                    listeners.on_epoch({"epoch": record["epoch"], **scalars(record)})
        except StopAskedError:
            assert stop.asked is not None
            folder.save_checkpoint(run.checkpoint(team.collect()))
            raise RunStoppedError(
                f"stopped {run.position()}; everything is saved. To continue: "
                f"sigprop-snn resume {shlex.quote(str(folder.path))}",
                stop.asked,
            ) from None


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
