"""Processes of one command: how they are started on this machine, and find each other."""

# The command line imports this file: torch is imported where a process joins the others.

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from sigprop_snn.arguments import positive, whole
from sigprop_snn.errors import SigpropError

_STORE = "SIGPROP_STORE"
_GRACE = 20.0  # seconds for the other processes to end after one has failed
_LOOK = 0.05
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PARENT_DIES = 1  # PR_SET_PDEATHSIG of Linux


@dataclass(frozen=True)
class Processes:
    """Several processes that train together.

    Attributes:
        processes: number of processes on this machine; torchrun starts them on several machines.
        parallel: what they share: the layers, the data (each batch is split), or both, such as 2x2
            for 2 stages of layers and 2 replicas.
        stages: the number of blocks of each stage of layers; auto measures the blocks.
        timeout: seconds after which a process that does not answer ends the run.
    """

    processes: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    parallel: Annotated[
        str | None,
        tyro.conf.arg(metavar="{layers,data,SxR}", help_behavior_hint="(default: layers)"),
    ] = None
    stages: Annotated[str, tyro.conf.arg(metavar="{auto,N,N,...}")] = "auto"
    timeout: Annotated[float, tyro.conf.arg(metavar="SECONDS")] = 1800.0

    def settings(self) -> dict[str, Any]:
        """Return the arguments of `sigprop_snn.parallel.train`.

        Raises:
            SigpropError: if the flags do not fit each other.
        """
        whole("processes", self.processes)
        count = int(os.environ["WORLD_SIZE"]) if is_rank() else self.processes
        timeout = positive("timeout", self.timeout)
        if self.processes == 1 and "RANK" not in os.environ:
            for flag, value, usual in (
                ("parallel", self.parallel, None), ("stages", self.stages, "auto")
            ):  # fmt: skip
                if value != usual:
                    raise SigpropError(
                        f"--{flag} is {value!r} for one process; expected --processes 2 or more"
                    )
        return {**layout(self.parallel, self.stages, count), "timeout": timeout}


def is_rank() -> bool:
    """Return whether this process is one of several, started by `launch` or torchrun."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def rank() -> int:
    """Return this process's rank; 0 for a process alone."""
    return int(os.environ["RANK"]) if is_rank() else 0


def layout(parallel: str | None, stages: str, processes: int) -> dict[str, Any]:
    """Return the arguments `stages` and `replicas` of a pipeline.

    Args:
        parallel: "layers", "data", or numbers of stages and replicas, such as "2x2"; layers if
            not given.
        stages: "auto", or the number of blocks of each stage, such as "3,2,3".
        processes: number of processes.

    Raises:
        SigpropError: if one can't be read, or the processes are too few or too many.
    """
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", parallel or "layers")
    if found is not None:
        count, replicas = int(found[1]), int(found[2])
    elif parallel in (None, "layers"):
        count, replicas = processes, 1
    elif parallel == "data":
        count, replicas = 1, processes
    else:
        raise SigpropError(
            f"--parallel is {parallel!r}; expected layers, data, or stages and replicas such as 2x2"
        )
    if count * replicas != processes:
        raise SigpropError(
            f"--parallel is {parallel!r} for {processes} process{'es' * (processes != 1)}; "
            f"expected {count * replicas}"
        )
    if stages == "auto":
        return {"stages": "auto", "replicas": replicas}
    if re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", stages) is None:
        raise SigpropError(
            f"--stages is {stages!r}; expected auto, or the number of blocks of each stage, such "
            "as 3,2,3"
        )
    return {"stages": [int(size) for size in stages.split(",")], "replicas": replicas}


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run the command line in several processes on this machine, and return the exit code.

    Signals to this process are passed on. After one process has failed, the others have a short
    time to end.

    Args:
        processes: number of processes.
        arguments: the words after `sigprop-snn`.
    """
    whole("processes", processes)
    threads = max(1, (os.cpu_count() or 1) // processes)
    with tempfile.TemporaryDirectory() as folder:
        common = {
            "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
            _STORE: str(Path(folder) / "store"),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
            # The message of a lost process says what torch's own lines say.
            "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "FATAL"),
        }
        children: list[subprocess.Popen[bytes]] = []
        with _passing_on(children):
            for number in range(processes):
                own = common | {"RANK": str(number), "LOCAL_RANK": str(number)}
                children.append(_started(arguments, own, shown=number == 0))
            return _watched(children)


@contextlib.contextmanager
def joined(device: str) -> Iterator[None]:
    """Join the other processes in the `with` block.

    Args:
        device: the device to compute on; "auto" is a GPU if there is one.

    Raises:
        SigpropError: if the processes can't find each other.
    """
    import torch
    import torch.distributed as dist

    on_gpu = device.partition(":")[0] in ("auto", "cuda") and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
        # One GPU can't be two ranks of NCCL.
        on_gpu = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) <= torch.cuda.device_count()
    backend = "nccl" if on_gpu else "gloo"
    size = int(os.environ["WORLD_SIZE"])
    try:
        place = f"file://{os.environ[_STORE]}" if _STORE in os.environ else "env://"
        dist.init_process_group(backend, place, rank=rank(), world_size=size)
    except (RuntimeError, ValueError) as error:
        raise SigpropError(
            f"rank {rank()} of {size} can't join the others ({str(error).splitlines()[0]}); "
            "expected torchrun, or --processes"
        ) from error
    yield
    dist.destroy_process_group()


def _started(
    arguments: Sequence[str], environment: Mapping[str, str], *, shown: bool
) -> subprocess.Popen[bytes]:
    """Start one process; it gets no Ctrl-C of the terminal, because that is passed on."""
    return subprocess.Popen(
        [sys.executable, "-m", "sigprop_snn", *arguments],
        env={**os.environ, **environment},
        stdout=None if shown else subprocess.DEVNULL,
        start_new_session=True,
    )


def end_with_parent() -> None:
    """Ask the system to end this process as by SIGTERM when its parent ends, where it can."""
    if _STORE in os.environ and sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PARENT_DIES, int(signal.SIGTERM))


@contextlib.contextmanager
def _passing_on(children: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Pass signals on to the children in the `with` block."""

    def pass_on(number: int, _: object) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    before = {number: signal.getsignal(number) for number in _SIGNALS}
    before = {number: was for number, was in before.items() if was != signal.SIG_IGN}
    for number in before:
        signal.signal(number, pass_on)
    try:
        yield
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
        for number, was in before.items():
            signal.signal(number, was)


def _watched(children: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait for the processes; return the exit code of the first that failed, or 0."""
    failed: tuple[int, int] | None = None
    until = float("inf")
    while any(child.poll() is None for child in children) and time.monotonic() < until:
        time.sleep(_LOOK)
        failed = failed or _failure(children)
        if failed is not None and until == float("inf"):
            until = time.monotonic() + _GRACE
    failed = failed or _failure(children)
    hanging = [number for number, child in enumerate(children) if child.poll() is None]
    if hanging:
        print(
            f"sigprop-snn: rank {', '.join(map(str, hanging))} does not end; it is killed",
            file=sys.stderr,
        )
    if failed is None:
        return 0
    number, code = failed
    if code < 0:
        name = signal.Signals(-code).name
        print(f"sigprop-snn: rank {number} was ended by {name}", file=sys.stderr)
        return 1
    return code


def _failure(children: Sequence[subprocess.Popen[bytes]]) -> tuple[int, int] | None:
    """Return rank and exit code of a process that has failed, or none."""
    for number, child in enumerate(children):
        code = child.poll()
        if code:
            return number, code
    return None
