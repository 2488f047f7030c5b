"""The processes of `parallel.py`: groups that learn by one method each, and take turns."""

from __future__ import annotations

import copy
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from benchmarks.block_costs import batch_for, build, optimizers_for
from sigprop_snn.device import keep_freed_memory
from sigprop_snn.network import Network
from sigprop_snn.parallel import Pipeline
from sigprop_snn.rules import Backpropagation
from sigprop_snn.rules.passes import full_graph

ONE, TWO, LAYERS, BACKWARD, DDP = (
    "one process",
    "two independent",
    "layers",
    "backpropagation",
    "ddp",
)
DATA, FOUR, OPENMP, THREADS = "data", "four processes", "openmp", "threads"
WIDTHS = {"mlp": 1.0, "conv": 1.0, "vgg8": 0.16}
"""Of the networks. At 0.16 the costs of VGG8's blocks can be cut into nearly equal halves."""

STEPS = 4
SLOTS = 2
_MESSAGE = 1 << 22  # bytes, to measure the bandwidth
_PATIENCE = 600.0  # seconds that the parent waits for an answer


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        batch_size: samples of a batch.
        batches: of one turn.
        turns: of each method.
        warm_up: batches before the first turn, in which the memory of a process grows.
        width: factor of the networks' own widths.
    """

    batch_size: int = 64
    batches: int = 30
    turns: int = 5
    warm_up: int = 16
    width: float = 1.0


#: What the processes would import one by one; an optimizer imports torch._dynamo.
PRELOADED = ["benchmarks.block_costs", "sigprop_snn.parallel", "torch._dynamo", "numba"]
QUICK = Size(batch_size=32, batches=32, turns=2, warm_up=8)
DRY = Size(batch_size=4, batches=3, turns=1, warm_up=1, width=0.05)


@dataclass(frozen=True)
class Job:
    """What a group of processes does.

    Attributes:
        network: "mlp", "conv" or "vgg8".
        method: one of the names above.
        processes: how many.
        size: how much.
        threads: of torch in each process.
    """

    network: str
    method: str
    processes: int
    size: Size
    threads: int = 1


class Learner:
    """One process's part of a job.

    Args:
        job: the job.
        rank: of this process.
    """

    def __init__(self, job: Job, rank: int) -> None:
        self.job, self.rank = job, rank
        self.pipeline: Pipeline | None = None
        rule = Backpropagation() if job.method in (BACKWARD, DDP) else None
        self.network = build(job.network, WIDTHS[job.network] * job.size.width, rule)
        self.inputs, self.labels = batch_for(job.size.batch_size, STEPS)
        self.seconds: dict[str, list[float]] = {}
        self.learn = self._learner()
        for _ in range(job.size.warm_up):
            self.learn()
        self.seconds.clear()
        self.report()

    def _learner(self) -> Callable[[], None]:
        method, network = self.job.method, self.network
        if method in (LAYERS, DATA):
            return self._pipeline()
        if method == THREADS:
            return self._threads()
        if method in (ONE, OPENMP):
            return self._one_process()
        if method == BACKWARD:
            return _backward(network, Graph(network), self.inputs, self.labels)
        share = slice(self.rank, None, self.job.processes)
        model = nn.parallel.DistributedDataParallel(Graph(network))
        return _backward(network, model, self.inputs[:, share], self.labels[share])

    def _one_process(self) -> Callable[[], None]:
        optimizers = optimizers_for(self.network)
        before = 0.0

        def update(name: str) -> None:
            nonlocal before
            optimizers.step(name)
            now = time.perf_counter()
            self.seconds.setdefault(name, []).append(now - before)
            before = now

        def learn() -> None:
            nonlocal before
            before = time.perf_counter()
            self.network.learn(self.inputs, self.labels, update)

        return learn

    def _pipeline(self) -> Callable[[], None]:
        optimizers = optimizers_for(self.network)
        replicas = self.job.processes if self.job.method == DATA else 1
        self.pipeline = pipeline = Pipeline(self.network, replicas=replicas, slots=SLOTS)
        inputs, labels = pipeline.shard(self.inputs if pipeline.is_first else None, self.labels)

        def learn() -> None:
            pipeline.learn(inputs, labels, optimizers.step)

        return learn

    def _threads(self) -> Callable[[], None]:
        networks = [self.network, copy.deepcopy(self.network)]
        learners = [(each, optimizers_for(each)) for each in networks]

        def learn_alone(place: int) -> None:
            torch.set_num_threads(1)  # a setting of each thread
            network, optimizers = learners[place]
            network.learn(self.inputs, self.labels, optimizers.step)

        def learn() -> None:
            threads = [threading.Thread(target=learn_alone, args=(place,)) for place in (0, 1)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        return learn

    def turn(self) -> dict[str, Any]:
        """Learn from the batches of a turn, together with the other processes."""
        self.seconds.clear()
        together(self.job)
        begun, cpu = time.perf_counter(), time.process_time()
        for _ in range(self.job.size.batches):
            self.learn()
        cpu = time.process_time() - cpu
        together(self.job)
        seconds = time.perf_counter() - begun
        blocks = {name: statistics.median(times) for name, times in self.seconds.items()}
        return {"seconds": seconds, "cpu": cpu, "blocks": blocks, "ranks": self.report()}

    def report(self) -> list[dict[str, Any]]:
        """Return the work of every rank since the last report."""
        if self.pipeline is None:
            return []
        return [{**asdict(each), "idle": each.idle} for each in self.pipeline.report().ranks]

    def checksum(self) -> int:
        """Return a number that tells weights from others."""
        if self.pipeline is not None:
            self.pipeline.collect()
        found = 0
        for weight in self.network.parameters():
            found = zlib.crc32(weight.detach().contiguous().numpy().tobytes(), found)
        return found

    def gradient_bytes(self) -> float:
        """Return what each process sends of the gradients of a batch, by a ring."""
        count = 4 * sum(p.numel() for p in self.network.parameters() if p.requires_grad)
        return 2 * count * (self.job.processes - 1) / self.job.processes

    def bandwidth(self) -> float:
        """Return the bytes a second from the first process to the second."""
        message = torch.zeros(_MESSAGE, dtype=torch.uint8)
        found = 0.0
        for _ in range(5):
            together(self.job)
            begun = time.perf_counter()
            if self.rank == 0:
                dist.send(message, 1)
            else:
                dist.recv(message, 0)
            found = max(found, _MESSAGE / (time.perf_counter() - begun))
        return found

    def stages(self) -> list[int]:
        """Return the number of blocks of every stage."""
        return [] if self.pipeline is None else [len(names) for names in self.pipeline.stages]

    def close(self) -> None:
        """End the messages between the processes."""
        if self.pipeline is not None:
            self.pipeline.close()


class Graph(nn.Module):
    """The scores of a network, with the graph of all blocks and steps.

    Args:
        network: the network; its signal does not learn.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        network.signal.requires_grad_(False)
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the scores `[B, C]` for inputs `[T, B, ...]`."""
        assert self.network.readout is not None
        scores: Tensor = self.network.readout(full_graph(self.network, inputs))
        return scores


def _backward(
    network: Network, model: nn.Module, inputs: Tensor, labels: Tensor
) -> Callable[[], None]:
    weights = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(weights, 1e-3, fused=True)
    readout = network.readout
    assert readout is not None

    def learn() -> None:
        optimizer.zero_grad()
        readout.loss(model(inputs), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return learn


def together(job: Job) -> None:
    """Wait until all processes of a job are here."""
    if job.processes > 1:
        dist.barrier()


def _work(connection: Connection, job: Job, rank: int, store: str) -> None:
    """Answer the parent's questions, in a process of its own."""
    torch.set_num_threads(job.threads)
    keep_freed_memory()
    if job.processes > 1:
        dist.init_process_group(
            "gloo", init_method=f"file://{store}", rank=rank, world_size=job.processes
        )
    learner = Learner(job, rank)
    connection.send("ready")
    while (question := connection.recv()) != "end":
        connection.send(getattr(learner, question)())
    learner.close()
    if job.processes > 1:
        dist.destroy_process_group()
    connection.send(None)


class Group:
    """The processes of one job; they wait while others have their turn.

    Args:
        job: the job.
        folder: for the file by which they find each other.
    """

    def __init__(self, job: Job, folder: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        self.job = job
        self._connections: list[Connection] = []
        self._processes = []
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            store = file.name
        for rank in range(job.processes):
            here, there = context.Pipe()
            process = context.Process(target=_work, args=(there, job, rank, store), daemon=True)
            process.start()
            there.close()
            self._connections.append(here)
            self._processes.append(process)
        self.answers()

    def start(self, question: str) -> None:
        """Ask all processes."""
        for connection in self._connections:
            connection.send(question)

    def ask(self, question: str) -> list[Any]:
        """Ask all processes and return their answers."""
        self.start(question)
        return self.answers()

    def close(self) -> None:
        """End the processes."""
        self.ask("end")
        for process in self._processes:
            process.join(30)

    def answers(self) -> list[Any]:
        """Return the answers of all processes.

        Raises:
            RuntimeError: if one does not answer in time.
        """
        for connection in self._connections:
            if not connection.poll(_PATIENCE):
                raise RuntimeError(f"no answer within {_PATIENCE:g} s: {self.job}")
        return [connection.recv() for connection in self._connections]


def take_turn(*groups: Group) -> list[dict[str, Any]]:
    """Let groups learn from the batches of a turn, all at the same time.

    Returns:
        For each group the answer of its first process; "cpu" has the processor seconds of all its
        processes, and "others" the share of the machine's processor time that other programs took.
    """
    begun, busy = time.perf_counter(), busy_seconds()
    for group in groups:
        group.start("turn")
    answers = [group.answers() for group in groups]
    total = (time.perf_counter() - begun) * (os.cpu_count() or 1)
    busy = busy_seconds() - busy
    cpu = [[each["cpu"] for each in answer] for answer in answers]
    others = max(0.0, busy - sum(map(sum, cpu))) / total
    return [
        {**answer[0], "cpu": each, "others": others}
        for answer, each in zip(answers, cpu, strict=True)
    ]


def busy_seconds() -> float:
    """Return the seconds that all processors were busy since the machine's start.

    Where Linux does not tell, it is 0.
    """
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
    except OSError:
        return 0.0
    user, nice, system, _, _, *interrupts = map(int, first.split()[1:9])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
