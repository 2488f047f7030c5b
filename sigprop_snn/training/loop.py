"""The training loop: from a configuration to a run folder, and on from where a run was left."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from sigprop_snn.config import TrainConfig
from sigprop_snn.data import Data
from sigprop_snn.data.source import derive_seed
from sigprop_snn.errors import RunStoppedError
from sigprop_snn.network import LOSSES, NETWORKS, RULES, Network
from sigprop_snn.neurons import NEURONS
from sigprop_snn.surrogates import SURROGATES
from sigprop_snn.training import randomness
from sigprop_snn.training.evaluation import Evaluation, evaluate, to_device
from sigprop_snn.training.folder import CHECKPOINT, CONFIG, SUMMARY, RunFolder, free_name
from sigprop_snn.training.memory import peak_memory_mb
from sigprop_snn.training.optimizers import LocalOptimizers
from sigprop_snn.training.saved import SavedRun, identity, load_data, read_run
from sigprop_snn.training.state import RunState
from sigprop_snn.training.stopping import Stop, StopAskedError, stop_on_signals
from sigprop_snn.training.tally import line_of, summary_of

_LEARNING, _JUDGING = 1, 2  # streams of draws, besides those of the weights and of the data
FINAL_RATE = 0.02  # share of the learning rate that is left at the last batch


@dataclass(frozen=True)
class Trained:
    """A finished run.

    Attributes:
        config: its configuration, with nothing left open.
        network: the trained network, in evaluation mode.
        data: what it was trained and tested on.
        history: the epochs' records, as in `metrics.jsonl`.
        summary: as in `summary.json`.
        folder: where the run was written.
        epoch: the last epoch that the network has learned from to its end.
        batch: how many batches of the next one it has learned from, where it was stopped there.
    """

    config: TrainConfig
    network: Network
    data: Data
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    folder: RunFolder
    epoch: int
    batch: int = 0


def build_network(config: TrainConfig, shape: tuple[int, ...], classes: int) -> Network:
    """Return the untrained network that a resolved configuration describes.

    The weights follow from the configuration's seed; torch's own random state is left alone.

    Args:
        config: the run.
        shape: shape of one step of one sample.
        classes: C.
    """
    assert config.network is not None  # resolved
    surrogate = SURROGATES[config.surrogate]()
    neuron = partial(NEURONS[config.neuron], surrogate=surrogate)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return NETWORKS[config.network](
            shape,
            classes,
            neuron=neuron,
            rule=RULES[config.rule](),
            loss=LOSSES[config.loss](),
            predict=config.predict,
        )


def train(
    config: TrainConfig, say: Callable[[str], object] = print, *, catch_signals: bool = False
) -> Trained:
    """Train a network and write the run folder.

    Args:
        config: the run; what it leaves open comes from the data set's recipe.
        say: takes the lines that tell how it goes.
        catch_signals: whether SIGINT and SIGTERM save the run and leave; a choice for the whole
            process, so a program makes it.

    Raises:
        SigpropError: if the configuration, the data or the run folder can't be used. Nothing of
            the run is left behind if it fails before its first checkpoint.
        RunStoppedError: if a signal stopped it.
    """
    config = config.resolved()
    data = load_data(config)
    state = fresh_state(config, data)
    stem = f"{config.dataset}-{config.network}-{config.rule}-seed{config.seed}"
    folder = RunFolder.create(config.out or free_name(Path("runs"), stem))
    run = _Run(config, data, state, folder, say)
    with folder.locked():
        say(run.opening())
        try:
            folder.write_json(CONFIG, config.as_json())
            return run.finish(catch_signals=catch_signals)
        except BaseException:
            if not folder.has(CHECKPOINT):
                folder.remove()
            raise


def resume(
    path: Path,
    say: Callable[[str], object] = print,
    *,
    data_root: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] | None = None,
    catch_signals: bool = False,
) -> Trained:
    """Go on with a run from where it was left, however it ended.

    On a CPU, with the same torch and as many threads, it ends in the same weights to the last bit
    as one that was never stopped. A run that is finished is given back as it is.

    Args:
        path: the run folder.
        say: as in `train`.
        data_root: where the data lie now, if not where the run says.
        device: where to compute now, if not where the run says.
        catch_signals: as in `train`.

    Raises:
        SigpropError: if no run lies there, a file of it is damaged or does not fit the others, or
            the data are not those that it began with. Nothing is written then.
        RunStoppedError: if a signal stopped it.
    """
    folder = RunFolder.existing(path)
    with folder.locked():
        saved = read_run(folder)
        config = saved.config_for(data_root, device)
        data = load_data(config)
        saved.check_data(data)
        state = fresh_state(config, data)
        saved.restore(state)
        run = _Run(config, data, state, folder, say)
        say(run.opening())
        say(run.where())
        for note in saved.notes():
            say(note)
        folder.sweep()
        if folder.metrics() != state.history:
            folder.write_metrics(state.history)
        return run.finish(saved, catch_signals=catch_signals)


def judge(network: Network, data: Iterable[tuple[Tensor, Tensor]], seed: int) -> Evaluation:
    """Return how a network does; a noisy one draws the same noise for the same seed.

    The random states are left as they are, so that judging has no part in learning.
    """
    with randomness.seeded(derive_seed(seed, _JUDGING)):
        return evaluate(network, data)


def fresh_state(config: TrainConfig, data: Data) -> RunState:
    """Return the state of a run before its first batch."""
    assert config.learning_rate is not None  # resolved
    network = build_network(config, data.shape, len(data.classes)).to(config.torch_device())
    return RunState(
        network, LocalOptimizers(network, partial(torch.optim.Adam, lr=config.learning_rate))
    )


@dataclass
class _Run:
    """A run that is under way."""

    config: TrainConfig
    data: Data
    state: RunState
    folder: RunFolder
    say: Callable[[str], object]
    saved_at: float = 0.0

    @property
    def device(self) -> torch.device:
        return next(self.state.network.parameters()).device

    @property
    def epochs(self) -> int:
        assert self.config.epochs is not None  # resolved
        return self.config.epochs

    def opening(self) -> str:
        config, data = self.config, self.data
        return (
            f"{config.dataset}: {data.train.samples} training and {data.test.samples} test "
            f"samples, {config.steps} steps; network {config.network}, rule {config.rule}, on "
            f"{self.device}"
        )

    def where(self) -> str:
        if self.over():
            return f"all {len(self.state.history)} epochs are done"
        return (
            f"in epoch {len(self.state.history) + 1} of {self.epochs}, after {self.state.batch} "
            f"of {len(self.data.train)} batches"
        )

    def over(self) -> bool:
        return len(self.state.history) >= self.epochs

    def finish(self, saved: SavedRun | None = None, *, catch_signals: bool) -> Trained:
        """Learn until the run is over, and write the summary."""
        was_over = self.over()
        drawn = randomness.seeded(derive_seed(self.config.seed, _LEARNING))
        with drawn, stop_on_signals(catch_signals) as stop:
            if saved is not None:
                saved.restore_randomness()
            self.saved_at = time.monotonic()
            try:
                while not self.over():
                    self._epoch(stop)
            except StopAskedError:
                assert stop.asked is not None
                self._save()
                raise RunStoppedError(
                    f"stopped {self.where()}; all of it is saved. Go on with: "
                    f"sigprop-snn resume {shlex.quote(str(self.folder.path))}",
                    stop.asked,
                ) from None
        return self._trained(was_over)

    def _epoch(self, stop: Stop) -> None:
        state = self.state
        number = len(state.history) + 1
        self._learn(number, stop)
        tested = judge(state.network, stop.watch(self.data.test), self.config.seed)
        record = state.tally.record(number, tested)
        state.finish_epoch(record)
        # The checkpoint first: what the metrics lack, a resumed run writes from its history.
        self._save()
        self.folder.write_metrics(state.history)
        self.say(line_of(record, self.config))

    def _learn(self, number: int, stop: Stop) -> None:
        """Learn from what is left of an epoch."""
        state, device = self.state, self.device
        self.data.train.set_epoch(number - 1)
        batches = iter(self.data.train)
        with randomness.kept():
            next(islice(batches, state.batch, state.batch), None)  # those that were learned from
        mark = time.perf_counter()
        for inputs, labels in self._shown(stop.watch(batches), number):
            self._set_learning_rate()
            state.network.train()
            inputs, labels = to_device(inputs, device), labels.to(device)
            state.tally.add(state.network.learn(inputs, labels, state.optimizers.step), labels)
            state.batch += 1
            state.tally.seconds += time.perf_counter() - mark
            if time.monotonic() - self.saved_at >= self.config.save_every:
                self._save()
            mark = time.perf_counter()

    def _set_learning_rate(self) -> None:
        assert self.config.learning_rate is not None  # resolved
        batches = len(self.data.train)
        done = (len(self.state.history) * batches + self.state.batch) / (self.epochs * batches)
        self.state.optimizers.set_learning_rate(
            self.config.learning_rate * (1 - (1 - FINAL_RATE) * done)
        )

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
        self.saved_at = time.monotonic()

    def _trained(self, was_over: bool) -> Trained:
        state, data = self.state, self.data
        if was_over and self.folder.has(SUMMARY):
            summary = self.folder.summary()
        else:
            summary = summary_of(
                self.config,
                state.history,
                samples=(data.train.samples, data.test.samples),
                peak_memory_mb=peak_memory_mb(self.device),
            )
            self.folder.write_json(SUMMARY, summary)
        state.network.eval()
        return Trained(
            self.config,
            state.network,
            data,
            state.history,
            summary,
            self.folder,
            epoch=len(state.history),
        )
