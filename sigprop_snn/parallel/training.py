"""Training runs of several processes: the first one leads and writes the run folder."""

from __future__ import annotations

import os
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import partial
from types import TracebackType
from typing import Any, TypeVar

import torch.distributed as dist
from torch import Tensor
from torch.distributed import distributed_c10d

from sigprop_snn.arguments import instance, positive, whole
from sigprop_snn.data.source import derive_seed
from sigprop_snn.device import named_memory_errors
from sigprop_snn.errors import RunStoppedError, SigpropError
from sigprop_snn.network import Learned
from sigprop_snn.parallel.agreement import check_agreement, check_started, gathered
from sigprop_snn.parallel.failure import tell
from sigprop_snn.parallel.pipeline import Pipeline, too_few_rows
from sigprop_snn.parallel.stages import Stages
from sigprop_snn.parallel.state import on_cpu
from sigprop_snn.settings.config_file import config_of, settings_of
from sigprop_snn.settings.train_config import TrainConfig
from sigprop_snn.training import learning, loop, randomness
from sigprop_snn.training.metrics import EpochMetrics
from sigprop_snn.training.own_data import config_for, data_of, given_data
from sigprop_snn.training.result import Trained
from sigprop_snn.training.run import TrainingRun
from sigprop_snn.training.stopping import Stop, stop_on_signals
from sigprop_snn.training.team import END, SAVE, STOP

T = TypeVar("T")

_STOP_KEY = "sigprop_snn/stop"
_ASKING = 0.5  # seconds between two looks for a request to stop another process
_WHAT = "the start of the run"


def train(
    config: TrainConfig,
    say: loop.Say = print,
    *,
    stages: Stages = "auto",
    replicas: int = 1,
    timeout: float = 1800.0,
    data: Any = None,
    on_epoch: learning.Log | None = None,
    catch_signals: bool = False,
) -> Trained | None:
    """Train a network in several processes; each calls this function with the same arguments.

    The first process writes the run folder and returns the result; the others return None. The
    folder's files are those of `sigprop_snn.training.train`: one process, or another number of
    processes, can resume the run. With one replica, weights and results equal those of one process
    bit by bit.

    Args:
        config: as in `sigprop_snn.training.train`.
        say: receives the lines of the first process.
        stages: as in `Pipeline`.
        replicas: as in `Pipeline`. Each batch is split over them.
        timeout: as in `Pipeline`; a test of the network must be shorter.
        data: as in `sigprop_snn.training.train`.
        on_epoch: receives the numbers of each epoch in the first process.
        catch_signals: whether SIGINT, SIGTERM and SIGHUP to any process save the run and stop all.

    Raises:
        SigpropError: as `sigprop_snn.training.train` and `Pipeline`; if a batch can't be split.
        RankLostError: if a process is lost.
        RunStoppedError: if a signal stopped the run.
    """
    instance("config", config, TrainConfig, "a TrainConfig")
    make = partial(Several, **_settings(stages, replicas, timeout))
    with _telling():
        if data is None:
            given = config.resolved() if not config.own_data else config
        else:
            given = config_for(config, data_of(data, config.dataset, config.seed)).resolved()
        facts = {name: value for name, value in given.as_json().items() if name != "data_root"}
        check_agreement({f"the setting {name}": value for name, value in facts.items()}, timeout)
        if dist.get_rank() == 0:
            return loop.train(
                config, say, data=data, on_epoch=on_epoch, catch_signals=catch_signals, team=make
            )
        _follow(make, timeout, data, catch_signals=catch_signals, config=given)
    return None


def resume(
    path: str | os.PathLike[str],
    say: loop.Say = print,
    *,
    stages: Stages = "auto",
    replicas: int = 1,
    timeout: float = 1800.0,
    epochs: int | None = None,
    data: Any = None,
    data_root: str | os.PathLike[str] | None = None,
    device: str | None = None,
    on_epoch: learning.Log | None = None,
    catch_signals: bool = False,
) -> Trained | None:
    """Continue a run in several processes, as many as you like; each calls this function.

    Only the first process needs the run folder.

    Args:
        path: as in `sigprop_snn.training.resume`.
        say: as in `train`.
        stages: as in `train`.
        replicas: as in `train`.
        timeout: as in `train`.
        epochs: as in `sigprop_snn.training.resume`.
        data: as in `sigprop_snn.training.resume`.
        data_root: as in `sigprop_snn.training.resume`, for each process.
        device: as in `sigprop_snn.training.resume`, for each process.
        on_epoch: as in `train`.
        catch_signals: as in `train`.

    Raises:
        SigpropError: as `sigprop_snn.training.resume` and `train`.
        RankLostError: if a process is lost.
        RunStoppedError: if a signal stopped the run.
    """
    make = partial(Several, **_settings(stages, replicas, timeout))
    with _telling():
        if dist.get_rank() == 0:
            return loop.resume(
                path, say, epochs=epochs, data=data, data_root=data_root, device=device,
                on_epoch=on_epoch, catch_signals=catch_signals, team=make,
            )  # fmt: skip
        here = {"data_root": data_root, "device": device}
        own = {name: str(value) for name, value in here.items() if value is not None}
        _follow(make, timeout, data, catch_signals=catch_signals, own=own)
    return None


class Several:
    """The processes that learn together; a `Team` for the training loop.

    Args:
        run: the run.
        stages: as in `Pipeline`.
        replicas: as in `Pipeline`.
        timeout: as in `Pipeline`.

    Raises:
        SigpropError: as `Pipeline`; if a batch can't be split, or the run updates within a sample.
    """

    def __init__(self, run: TrainingRun, *, stages: Stages, replicas: int, timeout: float) -> None:
        self.run, self.timeout = run, timeout
        self.leads = dist.get_rank() == 0
        if self.leads:
            gathered(on_cpu(run.checkpoint()), _WHAT, timeout)
        _check_batches(run, replicas)
        self.pipeline = Pipeline(run.network, stages, replicas=replicas, timeout=timeout)
        if self.pipeline.replica:  # the first replica has the sums of a resumed epoch
            run.metrics = EpochMetrics()
        self._asked_at = time.monotonic()

    def __enter__(self) -> Several:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, RunStoppedError):
            self.pipeline.close()
        else:
            tell(dist.get_rank(), error)

    def part(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return this replica's rows of a batch."""
        shard, of_shard = self.pipeline.shard(inputs, labels)
        assert shard is not None
        return shard, of_shard

    def learn(self, inputs: Tensor | None, labels: Tensor) -> Learned:
        """Let this process's layers learn from its rows."""
        return self.pipeline.learn(inputs, labels, self.run.optimizers)

    def tell(self, number: int) -> int:
        """Tell the others how to go on after a batch."""
        return self.pipeline.share(number)

    def asked_to_stop(self) -> int | None:
        """Return the signal that asked another process to stop, or none. It looks rarely."""
        if time.monotonic() - self._asked_at < _ASKING:
            return None
        self._asked_at = time.monotonic()
        with suppress(Exception):
            store = distributed_c10d._get_default_store()
            if store.check([_STOP_KEY]):
                return int(store.get(_STOP_KEY))
        return None

    def collect(self) -> EpochMetrics:
        """Bring the weights, optimizers and results of all processes into each one."""
        run, pipeline = self.run, self.pipeline
        run.metrics.settle()
        pipeline.collect(run.optimizers)
        mine = (pipeline.is_first, pipeline.is_last, pipeline.layers, asdict(run.metrics))
        found = gathered(mine, "a collection", self.timeout)
        if not pipeline.layers:  # before the first batch
            return run.metrics
        names = [name for name, _ in run.network.named_layers()]
        loss = {
            name: sum(of["loss"].get(name, 0.0) for *_, layers, of in found if name in layers)
            for name in names
            if any(name in of["loss"] for *_, of in found)
        }
        return EpochMetrics(
            samples=sum(of["samples"] for first, *_, of in found if first),
            right=sum(of["right"] for _, last, _, of in found if last),
            loss=loss,
            seconds=found[0][-1]["seconds"],
        )

    def spread(self, value: T) -> T:
        """Return the leading process's value."""
        shared: T = gathered(value if self.leads else None, "a test", self.timeout)[0]
        return shared


def _settings(stages: Stages, replicas: int, timeout: float) -> dict[str, Any]:
    check_started()
    return {
        "stages": stages,
        "replicas": whole("replicas", replicas),
        "timeout": positive("timeout", timeout),
    }


def _check_batches(run: TrainingRun, replicas: int) -> None:
    """Check that the run's batches can be learned from together.

    Raises:
        SigpropError: if the last batch has fewer rows than there are replicas, or the run updates
            within a sample.
    """
    size, samples = run.config.batch_size, run.data.train.samples
    assert size is not None  # resolved
    smallest = min(size, samples % size or size)
    if smallest < replicas:
        raise too_few_rows(smallest, replicas)
    if run.config.update_every is not None:
        raise SigpropError(
            f"update is {run.config.update!r}; expected 'sample' for a run of several processes"
        )


def _follow(
    make: Any,
    timeout: float,
    data: Any,
    *,
    catch_signals: bool,
    config: TrainConfig | None = None,
    own: dict[str, str] | None = None,
) -> None:
    """Learn in a process that does not lead.

    Args:
        make: makes the team.
        timeout: seconds after which a process that does not answer is lost.
        data: the run's data, if they come from outside.
        catch_signals: whether signals save the run and stop it.
        config: the configuration; the leading process's if not given.
        own: settings of this process alone.
    """
    start = gathered(None, _WHAT, timeout)[0]
    if config is None:
        settings = settings_of({**start["config"], **(own or {})}, "the leading process")
        config = config_of(settings, "the leading process").resolved()
    with randomness.turn(lambda _: None), named_memory_errors():
        given = (
            data_of(data, config.dataset, config.seed)
            if data is not None
            else given_data(config, None)
        )
        run = TrainingRun.new(config, given)
        run.restore(start, "of the leading process")
        with (
            randomness.seeded(derive_seed(config.seed, loop.LEARNING)),
            stop_on_signals(catch_signals) as stop,
            make(run) as team,
        ):
            randomness.restore(start["random"])
            while not run.is_over():
                if not _follow_epoch(run, team, stop):
                    raise RunStoppedError("stopped", stop.asked or signal.SIGTERM)


def _follow_epoch(run: TrainingRun, team: Several, stop: Stop) -> bool:
    """Learn from the rest of an epoch; return whether the run goes on."""
    for inputs, labels in _batches(run, team):
        run.network.train()
        shard, of_shard = team.pipeline.shard(inputs, labels)
        of_shard = of_shard.to(run.device)
        with learning.autocast(run):
            learned = team.learn(None if shard is None else shard.to(run.device), of_shard)
        run.metrics.add(learned, of_shard)
        run.schedules.step()
        run.batch += 1
        _pass_on(stop)
        told = team.tell(0)
        if told in (SAVE, STOP):
            team.collect()
        if told == STOP:
            return False
        if told == END:
            break
    team.collect()
    record = team.spread(None)
    if record is None:  # stopped while it was tested
        team.collect()
        return False
    run.finish_epoch(record)
    return True


def _batches(run: TrainingRun, team: Several) -> Iterator[tuple[Tensor | None, Tensor]]:
    """Yield the rest of an epoch's batches; only the first stage reads the inputs."""
    number = len(run.history) + 1
    if team.pipeline.is_first:
        yield from learning.batches_of(run, number)
        return
    run.data.train.set_epoch(number - 1)
    for place, labels in enumerate(run.data.train.each_labels()):
        if place >= run.batch:
            yield None, labels


def _pass_on(stop: Stop) -> None:
    """Tell the leading process of a signal that this process got."""
    if stop.asked is not None:
        with suppress(Exception):
            distributed_c10d._get_default_store().set(_STOP_KEY, str(int(stop.asked)))


@contextmanager
def _telling() -> Iterator[None]:
    """Tell the other processes of an error, and silence torch's warning of other layers' rates."""
    with warnings.catch_warnings():
        # Each process has the schedules of all layers, but the optimizers of its own layers step.
        warnings.filterwarnings("ignore", message=".*lr_scheduler.step.*")
        try:
            yield
        except RunStoppedError:
            raise
        except BaseException as error:
            tell(dist.get_rank(), error)
            raise
