"""A run that is under way: its epochs, its batches, and what it writes on the way."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from tqdm import tqdm

from sigprop_snn.config import TrainConfig
from sigprop_snn.data import Data
from sigprop_snn.data.source import derive_seed
from sigprop_snn.device import to_device
from sigprop_snn.errors import RunStoppedError
from sigprop_snn.monitors import HealthCheck
from sigprop_snn.network import Learned, Network, Stage, learn_in_parts
from sigprop_snn.training import randomness
from sigprop_snn.training.board import TensorBoard, board_of
from sigprop_snn.training.evaluation import Evaluation, evaluate
from sigprop_snn.training.folder import SUMMARY, RunFolder
from sigprop_snn.training.memory import peak_memory_mb
from sigprop_snn.training.saved import SavedRun, identity
from sigprop_snn.training.state import RunState
from sigprop_snn.training.stopping import Stop, StopAskedError, stop_on_signals
from sigprop_snn.training.tally import line_of, summary_of
from sigprop_snn.training.trained import Trained

_LEARNING, _JUDGING = 1, 2  # streams of draws, besides those of the weights and of the data


def judge(
    network: Network,
    batches: Iterable[tuple[Tensor, Tensor]],
    seed: int,
    watch: Callable[[Stage, Tensor], object] | None = None,
) -> Evaluation:
    """Return how a network does; a noisy one draws the same noise for the same seed.

    The random states are left as they are, so that judging has no part in learning.
    """
    with randomness.seeded(derive_seed(seed, _JUDGING)):
        return evaluate(network, batches, watch)


@dataclass
class Run:
    """A run that is under way.

    Attributes:
        config: its configuration, with nothing left open.
        data: what it learns.
        state: where it stands.
        folder: where it is written.
        say: takes the lines that tell how it goes.
    """

    config: TrainConfig
    data: Data
    state: RunState
    folder: RunFolder
    say: Callable[[str], object]
    _saved_at: float = 0.0

    def __post_init__(self) -> None:
        self._health = HealthCheck(
            self.state.network,
            classes=self.data.classes,
            labels=self.data.train.labels,
            say=self.say,
        )

    @property
    def epochs(self) -> int:
        """How many epochs it has, unless it stops early."""
        assert self.config.epochs is not None  # resolved
        return self.config.epochs

    def opening(self) -> str:
        """Return the line that says what is trained."""
        config, data = self.config, self.data
        held = f", {data.validation.samples} validation" if data.validation is not None else ""
        return (
            f"{config.dataset}: {data.train.samples} training{held} and {data.test.samples} test "
            f"samples, {config.steps} steps; network {config.network}, rule {config.rule}, on "
            f"{self._device}"
        )

    def where(self) -> str:
        """Return how far it has come."""
        if self.over():
            return f"it is finished, after {len(self.state.history)} epochs"
        return (
            f"in epoch {len(self.state.history) + 1} of {self.epochs}, after {self.state.batch} "
            f"of {len(self.data.train)} batches"
        )

    def over(self) -> bool:
        """Return whether there is nothing left to learn."""
        done = len(self.state.history)
        return done >= self.epochs or self.state.stale(self.config.patience)

    def finish(self, saved: SavedRun | None = None, *, catch_signals: bool) -> Trained:
        """Learn until the run is over, and write the summary.

        Args:
            saved: what the state was restored from, if it was.
            catch_signals: whether SIGINT and SIGTERM save the run and leave.

        Raises:
            RunStoppedError: if a signal stopped it.
        """
        was_over = self.over()
        with randomness.seeded(derive_seed(self.config.seed, _LEARNING)):
            if saved is not None:
                saved.restore_randomness()
            if not was_over:
                self._learn(catch_signals=catch_signals)
        return self._trained(was_over)

    @property
    def _device(self) -> torch.device:
        return next(self.state.network.parameters()).device

    def _learn(self, *, catch_signals: bool) -> None:
        self._saved_at = time.monotonic()
        done = len(self.state.history)
        board_there = board_of(self.folder.path, self.config.tensorboard, done)
        with board_there as board, stop_on_signals(catch_signals) as stop:
            try:
                while not self.over():
                    self._epoch(stop, board)
            except StopAskedError:
                assert stop.asked is not None
                self._save()
                raise RunStoppedError(
                    f"stopped {self.where()}; all of it is saved. Go on with: "
                    f"sigprop-snn resume {shlex.quote(str(self.folder.path))}",
                    stop.asked,
                ) from None

    def _epoch(self, stop: Stop, board: TensorBoard | None) -> None:
        """Learn what is left of an epoch, judge it, and save."""
        state, config, held = self.state, self.config, self.data.validation
        number = len(state.history) + 1
        self._batches(number, stop)
        chosen_by = (
            self._judged(stop.watch(held)) if (held is not None and config.chooses_epoch) else None
        )
        tested = self._judged(stop.watch(self.data.test), self._health.watch)
        record = state.tally.record(number, tested, chosen_by)
        state.finish_epoch(record)
        # The board before the checkpoint and the metrics behind it: a resumed run withdraws what
        # the board has too much, and writes from its history what the metrics lack.
        if board is not None:
            board.add(record)
        self._save()
        self.folder.write_metrics(state.history)
        self.say(line_of(record, self.epochs))
        self._health.report()

    def _batches(self, number: int, stop: Stop) -> None:
        """Learn from what is left of an epoch's batches."""
        state, device = self.state, self._device
        self.data.train.set_epoch(number - 1)
        batches = iter(self.data.train)
        with randomness.kept():
            next(islice(batches, state.batch, state.batch), None)  # those that were learned from
        mark = time.perf_counter()
        for inputs, labels in self._shown(stop.watch(batches), number):
            state.network.train()
            inputs, labels = to_device(inputs, device), labels.to(device)
            state.tally.add(self._learned(inputs, labels), labels)
            state.schedules.step()
            state.batch += 1
            state.tally.seconds += time.perf_counter() - mark
            if time.monotonic() - self._saved_at >= self.config.save_every:
                self._save()
            mark = time.perf_counter()

    def _learned(self, inputs: Tensor, labels: Tensor) -> Learned:
        network, update = self.state.network, self.state.optimizers.step
        every = self.config.update_every
        with self._precision():
            if every is None:
                return network.learn(inputs, labels, update)
            return learn_in_parts(network, inputs, labels, update, every)

    def _precision(self) -> AbstractContextManager[object]:
        if self.config.precision == "float32":
            return nullcontext()
        return torch.autocast(self._device.type, torch.bfloat16)

    def _judged(
        self,
        batches: Iterable[tuple[Tensor, Tensor]],
        watch: Callable[[Stage, Tensor], object] | None = None,
    ) -> Evaluation:
        with self._precision():
            return judge(self.state.network, batches, self.config.seed, watch)

    def _shown(
        self, batches: Iterable[tuple[Tensor, Tensor]], number: int
    ) -> Iterable[tuple[Tensor, Tensor]]:
        """Show a bar on a terminal; elsewhere the epoch's line is enough."""
        bar: Iterable[tuple[Tensor, Tensor]] = tqdm(
            batches,
            desc=f"epoch {number}/{self.epochs}",
            unit="batch",
            total=len(self.data.train),
            initial=self.state.batch,
            leave=False,
            disable=not sys.stderr.isatty(),
        )
        return bar

    def _save(self) -> None:
        self.folder.save_checkpoint(identity(self.config, self.data) | self.state.as_dict())
        self._saved_at = time.monotonic()

    def _trained(self, was_over: bool) -> Trained:
        state, data = self.state, self.data
        epoch = state.choose_epoch()
        if state.best is not None:
            self.say(
                f"chosen: epoch {epoch} of the {len(state.history)} that were learned, with "
                f"validation accuracy {state.best.accuracy:.4f}"
            )
        if was_over and self.folder.has(SUMMARY):
            summary = self.folder.summary()
        else:
            summary = summary_of(
                self.config,
                state.history,
                epoch,
                samples=(data.train.samples, data.test.samples),
                peak_memory_mb=peak_memory_mb(self._device),
            )
            self.folder.write_json(SUMMARY, summary)
        state.network.eval()
        return Trained(self.config, state.network, data, state.history, summary, self.folder, epoch)
