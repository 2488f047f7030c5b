"""The training loop: `train` starts a run, `resume` continues one."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from sigprop_snn.arguments import instance, refused
from sigprop_snn.config import TrainConfig
from sigprop_snn.data.source import derive_seed
from sigprop_snn.device import peak_memory_mb, to_device
from sigprop_snn.errors import RunStoppedError
from sigprop_snn.monitors import HealthCheck
from sigprop_snn.network import Learned, Stage, learn_in_parts
from sigprop_snn.training import randomness
from sigprop_snn.training.evaluation import Evaluation, judge
from sigprop_snn.training.folder import CHECKPOINT, CONFIG, SUMMARY, RunFolder, free_name
from sigprop_snn.training.metrics import epoch_line, run_summary
from sigprop_snn.training.result import Trained
from sigprop_snn.training.run import TrainingRun, rounding_note, warn_of_ignored
from sigprop_snn.training.stopping import Stop, StopAskedError, stop_on_signals
from sigprop_snn.training.tensorboard import open_tensorboard, require_tensorboard

_LEARNING = 1  # number of the stream of random numbers; evaluation has another


def train(
    config: TrainConfig, say: Callable[[str], object] = print, *, catch_signals: bool = False
) -> Trained:
    """Train a network and write the run folder.

    Args:
        config: the settings; the data set and the rule give the defaults of those that are None.
        say: receives lines of text about the progress.
        catch_signals: whether SIGINT and SIGTERM save the run and stop it. This changes the signal
            handlers of the process.

    Raises:
        SigpropError: if the configuration, the data or the run folder can't be used. If this
            happens before the first checkpoint, the run folder is deleted.
        RunStoppedError: if a signal stopped the run.
    """
    instance("config", config, TrainConfig, "a TrainConfig")
    _check_say(say)
    config = config.resolved()
    if config.tensorboard:
        require_tensorboard()
    run = TrainingRun.new(config)
    warn_of_ignored(config, run.network)
    stem = f"{config.dataset}-{config.network}-{config.rule}-seed{config.seed}"
    folder = RunFolder.create(config.out or free_name(Path("runs"), stem))
    with folder.locked():
        say(run.description())
        try:
            folder.write_json(CONFIG, config.as_json())
            return _finish(run, folder, say, catch_signals=catch_signals)
        except BaseException:
            if not folder.has(CHECKPOINT):
                folder.remove()
            raise


def resume(
    path: Path | str,
    say: Callable[[str], object] = print,
    *,
    data_root: Path | str | None = None,
    device: str | None = None,
    catch_signals: bool = False,
) -> Trained:
    """Continue a run that was stopped or killed.

    On a CPU, with the same version of torch and the same number of threads, the weights at the end
    equal those of an uninterrupted run bit by bit. A finished run is returned as it is.

    Args:
        path: the run folder.
        say: as in `train`.
        data_root: the folder that holds the data sets now, if not that of the run.
        device: the device to compute on now, if not that of the run.
        catch_signals: as in `train`.

    Raises:
        SigpropError: if the folder holds no run, a file is damaged or does not fit the others, or
            the data are others than those of the run. Nothing is written then.
        RunStoppedError: if a signal stopped the run.
    """
    _check_say(say)
    folder = RunFolder.existing(path)
    with folder.locked():
        config, checkpoint = folder.load(data_root=data_root, device=device)
        if config.tensorboard:
            require_tensorboard()
        run = TrainingRun.new(config)
        note = None
        if checkpoint is not None:
            run.restore(checkpoint, str(folder.path / CHECKPOINT))
            note = rounding_note(checkpoint)
        say(run.description())
        say(run.position() if run.is_over() else f"continues {run.position()}")
        if note is not None:
            say(note)
        folder.remove_partial_files()
        if folder.metrics() != run.history:
            folder.write_metrics(run.history)
        return _finish(run, folder, say, catch_signals=catch_signals)


def _check_say(say: object) -> None:
    if not callable(say):
        raise refused("say", say, "a function of one line of text, such as print")


def _finish(
    run: TrainingRun, folder: RunFolder, say: Callable[[str], object], *, catch_signals: bool
) -> Trained:
    """Learn until the run is over, and write the summary."""
    was_over = run.is_over()
    with randomness.seeded(derive_seed(run.config.seed, _LEARNING)):
        if run.random_states is not None:
            randomness.restore(run.random_states)
        if not was_over:
            _learn(run, folder, say, catch_signals=catch_signals)
    epoch = run.choose_epoch()
    if run.best is not None:
        say(
            f"kept: epoch {epoch} of {len(run.history)}, with validation accuracy "
            f"{run.best.accuracy:.4f}"
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
    run: TrainingRun, folder: RunFolder, say: Callable[[str], object], *, catch_signals: bool
) -> None:
    """Learn epoch by epoch until the run is over or a signal stops it."""
    health = HealthCheck(
        run.network, classes=run.data.classes, labels=run.data.train.labels, say=say
    )
    opened = open_tensorboard(folder.path, run.config.tensorboard, len(run.history))
    with opened as board, stop_on_signals(catch_signals) as stop:
        try:
            while not run.is_over():
                record = _learn_epoch(run, folder, stop, health)
                # This order survives a kill at any place: a resumed run drops TensorBoard records
                # that the checkpoint lacks, and rewrites lines that the metrics lack.
                if board is not None:
                    board.add(record)
                folder.save_checkpoint(run.checkpoint())
                folder.write_metrics(run.history)
                say(epoch_line(record, run.epochs))
                health.report()
        except StopAskedError:
            assert stop.asked is not None
            folder.save_checkpoint(run.checkpoint())
            raise RunStoppedError(
                f"stopped {run.position()}; everything is saved. To continue: "
                f"sigprop-snn resume {shlex.quote(str(folder.path))}",
                stop.asked,
            ) from None


def _learn_epoch(
    run: TrainingRun, folder: RunFolder, stop: Stop, health: HealthCheck
) -> dict[str, Any]:
    """Learn from the rest of the current epoch, evaluate the network, and return the record."""
    number, data = len(run.history) + 1, run.data
    _learn_batches(run, folder, stop, number)
    validated = None
    if data.validation is not None and run.config.chooses_epoch:
        validated = _judge(run, stop.watch(data.validation))
    tested = _judge(run, stop.watch(data.test), health.watch)
    record = run.metrics.record(number, tested, validated)
    run.finish_epoch(record)
    return record


def _learn_batches(run: TrainingRun, folder: RunFolder, stop: Stop, number: int) -> None:
    """Learn from the rest of an epoch's batches, and save from time to time."""
    run.data.train.set_epoch(number - 1)
    batches = iter(run.data.train)
    with randomness.kept():
        next(islice(batches, run.batch, run.batch), None)  # skips those that were learned from
    mark = time.perf_counter()
    for inputs, labels in _with_progress_bar(stop.watch(batches), run, number):
        run.network.train()
        inputs, labels = to_device(inputs, run.device), labels.to(run.device)
        run.metrics.add(_learn_batch(run, inputs, labels), labels)
        run.schedules.step()
        run.batch += 1
        run.metrics.seconds += time.perf_counter() - mark
        if folder.seconds_since_checkpoint() >= run.config.save_every:
            folder.save_checkpoint(run.checkpoint())
        mark = time.perf_counter()


def _learn_batch(run: TrainingRun, inputs: Tensor, labels: Tensor) -> Learned:
    every = run.config.update_every
    with _autocast(run):
        if every is None:
            return run.network.learn(inputs, labels, run.optimizers)
        return learn_in_parts(run.network, inputs, labels, run.optimizers, every)


def _judge(
    run: TrainingRun,
    batches: Iterable[tuple[Tensor, Tensor]],
    watch: Callable[[Stage, Tensor], object] | None = None,
) -> Evaluation:
    with _autocast(run):
        return judge(run.network, batches, run.config.seed, watch)


def _autocast(run: TrainingRun) -> AbstractContextManager[object]:
    if run.config.precision == "float32":
        return nullcontext()
    return torch.autocast(run.device.type, torch.bfloat16)


def _with_progress_bar(
    batches: Iterable[tuple[Tensor, Tensor]], run: TrainingRun, number: int
) -> Iterable[tuple[Tensor, Tensor]]:
    bar: Iterable[tuple[Tensor, Tensor]] = tqdm(
        batches,
        desc=f"epoch {number}/{run.epochs}",
        unit="batch",
        total=len(run.data.train),
        initial=run.batch,
        leave=False,
        disable=not sys.stderr.isatty(),
    )
    return bar
