"""The training loop: `train` starts a run, `resume` continues one."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sigprop_snn.arguments import instance, refused
from sigprop_snn.data.source import derive_seed
from sigprop_snn.device import (
    fast_convolutions,
    named_memory_errors,
    peak_memory_mb,
)
from sigprop_snn.errors import RunStoppedError
from sigprop_snn.monitors import HealthCheck
from sigprop_snn.settings.train_config import TrainConfig
from sigprop_snn.training import randomness
from sigprop_snn.training.building import warn_of_ignored
from sigprop_snn.training.folder import CHECKPOINT, CONFIG, SUMMARY, RunFolder, free_name
from sigprop_snn.training.graph_choice import graph_note
from sigprop_snn.training.learning import Learning, Log
from sigprop_snn.training.metrics import epoch_line, run_summary
from sigprop_snn.training.own_data import config_for, data_of, given_data, lacks_test_data
from sigprop_snn.training.progress import Progress, waiting
from sigprop_snn.training.result import Trained
from sigprop_snn.training.run import (
    TrainingRun,
    load_weights,
    patience_note,
    rounding_note,
    schedule_note,
)
from sigprop_snn.training.stopping import StopAskedError, stop_on_signals
from sigprop_snn.training.team import Alone, MakeTeam, Team
from sigprop_snn.training.tensorboard import open_tensorboard, require_tensorboard, scalars

LEARNING = 1  # number of the stream of random numbers; evaluation has another


Say = Callable[[str], object]
"""Receives lines of text about the progress."""


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
