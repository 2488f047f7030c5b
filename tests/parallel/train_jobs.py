"""What the ranks of `test_training.py` do."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from sigprop_snn import parallel, training
from sigprop_snn.command_line import cli
from sigprop_snn.errors import RankLostError, RunStoppedError, SigpropError
from sigprop_snn.parallel.training import Several
from sigprop_snn.processes import launch
from sigprop_snn.training import TrainConfig, load_checkpoint

SETTINGS = {
    "network": "conv",
    "steps": 4,
    "epochs": 2,
    "batch_size": 16,
    "train_samples": 60,
    "test_samples": 30,
    "augment": True,
    "validation": 0.2,
    "device": "cpu",
    "save_every": 0.0,
}
BATCHES = 3  # of an epoch: 48 of 60 samples


def quiet(_):
    """Ignore a line."""


@functools.cache
def warm() -> None:
    """Load the data, the kernels and the modules of a run once for all ranks."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        flags = "--network conv --steps 2 --epochs 1 --train-samples 20 --test-samples 20"
        assert cli.main(["train", "digits", *flags.split(), "--out", f"{folder}/warm"]) == 0


def config(folder: Path, name: str, **changes) -> TrainConfig:
    return TrainConfig("digits", out=folder / name, **(SETTINGS | changes))


def differences(folder: Path, name: str, other: str = "alone") -> list[str]:
    """Return where two checkpoints differ; seconds may."""
    found: list[str] = []

    def walk(first, second, place):
        if isinstance(first, torch.Tensor):
            if not torch.equal(first, second):
                found.append(place)
        elif isinstance(first, dict):
            if set(first) != set(second):
                found.append(f"{place}: {set(first) ^ set(second)}")
            for key in set(first) & set(second) - {"seconds"}:
                walk(first[key], second[key], f"{place}.{key}")
        elif isinstance(first, list | tuple):
            if len(first) != len(second):
                found.append(f"{place}: {len(first)} and {len(second)}")
            for number, (one, two) in enumerate(zip(first, second, strict=False)):
                walk(one, two, f"{place}[{number}]")
        elif first != second:
            found.append(f"{place}: {first} and {second}")

    walk(*(load_checkpoint(folder / each / "checkpoint.pt") for each in (name, other)), "")
    return found


def files(folder: Path, name: str) -> list[str]:
    return sorted(path.name for path in (folder / name).iterdir())


def alone(rank, ranks, folder):
    training.train(config(folder, "alone"), quiet)
    return files(folder, "alone")


def together(rank, ranks, folder):
    name = f"together-{ranks}"
    trained = parallel.train(config(folder, name), quiet, timeout=60)
    assert (trained is not None) == (rank == 0)
    return [differences(folder, name), files(folder, name)] if rank == 0 else None


def data(rank, ranks, folder):
    """Return the results of one process and of replicas, after an epoch."""
    changes = {"epochs": 1, "augment": False, "validation": 0.0}
    if rank == 0:
        one = training.train(config(folder, "data-alone", **changes), quiet)
    dist.barrier()
    trained = parallel.train(
        config(folder, "data", **changes), quiet, stages=(2, 1), replicas=2, timeout=60
    )
    if rank:
        return None
    weights = [each.network.state_dict()["blocks.1.synapse.weight"] for each in (one, trained)]
    return [float((weights[0] - weights[1]).abs().max()), one.history, trained.history]


def after_batches(count: int, act):
    """Call a function in a rank after its part of a number of batches."""
    learn, done = Several.learn, [0]

    def counted(self, *arguments):
        learned = learn(self, *arguments)
        done[0] += 1
        if done[0] == count:
            act()
        return learned

    Several.learn = counted


def killed(rank, ranks, folder):
    """Return what the first rank is told after the last one was killed in the second epoch."""
    if rank == ranks - 1:
        after_batches(BATCHES + 2, lambda: os.kill(os.getpid(), signal.SIGKILL))
    try:
        parallel.train(config(folder, "killed"), quiet, timeout=60)
    except RankLostError as error:
        return [str(error), files(folder, "killed")]


def resumed(rank, ranks, folder):
    parallel.resume(folder / "killed", quiet, timeout=60)
    return [differences(folder, "killed"), files(folder, "killed")] if rank == 0 else None


def stopped(rank, ranks, folder):
    """Return how the first rank ends after the last one got a signal in the first epoch."""
    if rank == ranks - 1:
        after_batches(1, lambda: os.kill(os.getpid(), signal.SIGTERM))
    Several.asked_to_stop.__globals__["_ASKING"] = 0.0
    try:
        parallel.train(config(folder, "stopped", epochs=50), quiet, timeout=60, catch_signals=True)
    except RunStoppedError as error:
        (folder / f"stopped-by-{rank}").write_text(str(int(error.number)))
        return str(error)


def shortened(rank, ranks, folder):
    """Resume a stopped run of 50 epochs to an end, in one process."""
    done = load_checkpoint(folder / "stopped" / "checkpoint.pt")["epoch"]
    trained = training.resume(folder / "stopped", quiet, epochs=done + 1)
    return len(trained.history) - done


def stopped_alone(rank, ranks, folder):
    """Stop one process in the first epoch, after its first batch."""
    from sigprop_snn.training.team import Alone

    learn = Alone.learn

    def stopping(self, *arguments):
        learned = learn(self, *arguments)
        if self.run.batch == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return learned

    Alone.learn = stopping
    try:
        training.train(config(folder, "stopped-alone"), quiet, catch_signals=True)
    except RunStoppedError as error:
        return str(error)


def continued(rank, ranks, folder):
    parallel.resume(folder / "stopped-alone", quiet, timeout=60)
    return differences(folder, "stopped-alone") if rank == 0 else None


def failing(rank, ranks, folder):
    """Return what the ranks say of an error in the last one."""

    def fail():
        raise OSError("no memory left")

    if rank == ranks - 1:
        after_batches(2, fail)
    try:
        parallel.train(config(folder, "failing"), quiet, timeout=60)
    except (OSError, RankLostError) as error:
        (folder / f"failing-{rank}").write_text(f"{type(error).__name__}: {error}")
    return None


def refusals(rank, ranks, folder):
    found = {}

    def refuse(name, act):
        try:
            act()
        except SigpropError as error:
            found[name] = str(error)

    def train(name, **changes):
        settings = {key: changes.pop(key) for key in ("stages", "replicas") if key in changes}
        parallel.train(config(folder, name, **changes), quiet, timeout=60, **settings)

    refuse("seed", lambda: train("seed", seed=rank))
    refuse("rows", lambda: train("rows", replicas=2, train_samples=17, validation=0.0))
    refuse("update", lambda: train("update", update="every-2"))
    refuse("rule", lambda: train("rule", rule="backpropagation"))
    found["folders"] = sorted(path.name for path in folder.iterdir() if path.is_dir())
    return found


class Forked:
    """A process as `subprocess.Popen` starts it, as a fork, which need not import torch."""

    def __init__(self, command, env, stdout, start_new_session):
        assert command[:3] == [sys.executable, "-m", "sigprop_snn"] and start_new_session
        self.returncode = None
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.environ.update(env)
                with contextlib.redirect_stdout(io.StringIO() if stdout else sys.stdout):
                    code = cli.main(command[3:])
            finally:
                sys.stdout.flush()
                os._exit(code)

    def poll(self):
        if self.returncode is None:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if done else None
        return self.returncode

    def wait(self):
        while self.poll() is None:
            time.sleep(0.02)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)


def launched(rank, ranks, folder):
    """Begin a run in two processes of torchrun, and finish it in two of `--processes`.

    All are forks; torch would take most of the time of new processes.
    """
    words = {
        "network": "conv", "steps": 4, "batch_size": 16, "train_samples": 40, "test_samples": 20,
        "device": "cpu", "schedule": "constant",
    }  # fmt: skip
    training.train(TrainConfig("digits", epochs=2, out=folder / "launched-alone", **words), quiet)
    flags = [text for key, value in words.items() for text in (f"--{key}", str(value))]
    flags = [flag.replace("_", "-") for flag in flags]
    begun = ["train", "digits", *flags, "--epochs", "1", "--out", str(folder / "launched")]
    torchrun = LaunchConfig(
        1, 1, 2, run_id="launched", rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        start_method="fork", monitor_interval=0.05,
    )  # fmt: skip
    assert elastic_launch(torchrun, cli.main)(begun) == {0: 0, 1: 0}
    launch.subprocess.Popen = Forked
    with (folder / "said").open("w") as said, contextlib.redirect_stdout(said):
        finished = ["--epochs", "2", "--processes", "2", "--stages", "1,2"]
        code = cli.main(["resume", str(folder / "launched"), *finished])
    found = [load_checkpoint(folder / each / "checkpoint.pt") for each in LAUNCHED]
    different = [
        name
        for name, value in found[0]["network"].items()
        if not torch.equal(value, found[1]["network"][name])
    ]
    figures = [path.name for path in (folder / "launched" / "figures").iterdir()]
    return [code, different, figures, (folder / "said").read_text()]


LAUNCHED = ("launched-alone", "launched")
launched.joins = False  # its own processes do
