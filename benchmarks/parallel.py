"""Two processes of one thread against one, by signal propagation and by backpropagation.

    python benchmarks/parallel.py --json benchmarks/results/parallel.json
    python benchmarks/parallel.py --quick

Each network learns batches of pictures of CIFAR's size:

- `layers`: the blocks in two processes (`sigprop_snn.parallel.Pipeline`), balanced by their
  measured costs;
- `data`: half of each batch in each process, by the same class;
- `openmp`: one process, in which torch's threads share each layer;
- `threads`: one process, in which two Python threads train a network each. Layers in two threads of
  one process can't be faster than that, because they also wait for each other;
- `ddp`: torch's DistributedDataParallel, backpropagation of the same network, half of each batch in
  each process.

Each is compared with one process of the same method and batch. The methods take turns; a figure is
the median of the turns. Four processes on two cores only show that the weights stay equal.

The simulation's prediction for two processes comes from seconds of the blocks that were measured
while a second process did the same, and from the bandwidth between two processes of this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import itertools
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.block_costs import batch_for, build, optimizers_for
from benchmarks.schedules import Link, Work, simulate
from sigprop_snn.device import keep_freed_memory
from sigprop_snn.files import write_text_atomically
from sigprop_snn.machine import machine
from sigprop_snn.network import Network
from sigprop_snn.parallel import Pipeline
from sigprop_snn.rules import Backpropagation
from sigprop_snn.rules.passes import full_graph

ONE, COPY, LAYERS, BACKWARD, DDP = "one process", "copy", "layers", "backpropagation", "ddp"
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
        warm_up: batches before the first turn.
        width: factor of the networks' own widths.
    """

    batch_size: int = 64
    batches: int = 30
    turns: int = 5
    warm_up: int = 4
    width: float = 1.0


#: What the processes would import one by one; an optimizer imports torch._dynamo.
PRELOADED = ["benchmarks.block_costs", "sigprop_snn.parallel", "torch._dynamo", "numba"]
QUICK = Size(batch_size=32, batches=16, turns=2, warm_up=2)
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
        begun = time.perf_counter()
        for _ in range(self.job.size.batches):
            self.learn()
        together(self.job)
        found: dict[str, Any] = {"seconds": time.perf_counter() - begun}
        blocks = {name: statistics.median(times) for name, times in self.seconds.items()}
        return {**found, "blocks": blocks, "ranks": self.report()}

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


def measure(network: str, size: Size) -> dict[str, Any]:
    """Return the figures of one network."""
    jobs = {
        ONE: Job(network, ONE, 1, size),
        COPY: Job(network, ONE, 1, size),
        LAYERS: Job(network, LAYERS, 2, size),
        DATA: Job(network, DATA, 2, size),
        OPENMP: Job(network, OPENMP, 1, size, threads=2),
        THREADS: Job(network, THREADS, 1, size),
        BACKWARD: Job(network, BACKWARD, 1, size),
        DDP: Job(network, DDP, 2, size),
    }
    if len(build(network, WIDTHS[network] * size.width).blocks) >= 4:
        jobs[FOUR] = Job(network, LAYERS, 4, size)
    turns: dict[str, list[dict[str, Any]]] = {name: [] for name in jobs}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        groups = {}
        for name, job in jobs.items():
            groups[name] = Group(job, Path(folder))
            stack.callback(groups[name].close)
        for _ in range(size.turns):
            for name in (ONE, LAYERS, DATA, OPENMP, THREADS, BACKWARD, DDP):
                turns[name].append(groups[name].ask("turn")[0])
            groups[ONE].start("turn")  # at the same time as its copy
            turns[COPY].append(groups[COPY].ask("turn")[0])
            groups[ONE].answers()
        for _ in range(size.turns):
            if FOUR in groups:
                turns[FOUR].append(groups[FOUR].ask("turn")[0])
        # The copy has learned from as many batches as the pipelines.
        same = {2: LAYERS, 4: FOUR}
        (weights,) = groups[COPY].ask("checksum")
        equal = {
            count: set(groups[name].ask("checksum")) == {weights}
            for count, name in same.items()
            if name in groups
        }
        stages = groups[LAYERS].ask("stages")[0]
        sent = groups[DDP].ask("gradient_bytes")[0]
        link = Link("this machine", max(groups[DDP].ask("bandwidth")), 1e-4)
        found = figures(turns, stages, link, size)
    width = WIDTHS[network] * size.width
    return {"network": network, "width": width, **found, "ddp_sent": sent, "equal_weights": equal}


def figures(
    turns: dict[str, list[dict[str, Any]]], stages: Sequence[int], link: Link, size: Size
) -> dict[str, Any]:
    """Return the figures of some turns.

    Args:
        turns: by method.
        stages: the number of blocks of each stage.
        link: between two processes.
        size: how much was measured.
    """
    seconds = {name: [turn["seconds"] for turn in found] for name, found in turns.items()}
    medians = {name: statistics.median(found) / size.batches for name, found in seconds.items()}

    def ratio(slow: str, fast: str) -> float:
        return statistics.median(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True))

    def of_ranks(method: str, field: str) -> list[float]:
        ranks = zip(*(turn["ranks"] for turn in turns[method]), strict=True)
        return [statistics.median(each[field] for each in rank) for rank in ranks]

    sent = of_ranks(LAYERS, "sent_bytes")[0] / size.batches
    blocks = [list(turn["blocks"].values()) for turn in turns[COPY]]
    costs = [statistics.median(each) for each in zip(*blocks, strict=True)]
    expected = predicted(costs, stages, sent, link, size.batches)
    return {
        "seconds": medians,
        "stages": list(stages),
        "speed_up": ratio(ONE, LAYERS),
        "data_speed_up": ratio(ONE, DATA),
        "openmp_speed_up": ratio(ONE, OPENMP),
        "threads_speed_up": 2 * ratio(ONE, THREADS),  # two networks learn in a turn
        "ddp_speed_up": ratio(BACKWARD, DDP),
        "backpropagation_over_ours": ratio(BACKWARD, ONE),
        "ddp_over_layers": ratio(DDP, LAYERS),
        "idle": of_ranks(LAYERS, "idle"),
        "data_idle": of_ranks(DATA, "idle"),
        "sent": sent,
        "bandwidth": link.bandwidth,
        "predicted_seconds": expected / size.batches,
        "predicted_over_measured": expected / size.batches / medians[LAYERS],
    }


def predicted(
    costs: Sequence[float], stages: Sequence[int], sent: float, link: Link, batches: int
) -> float:
    """Return the seconds that the simulation gives for the batches of a turn.

    Args:
        costs: seconds of each block, and of the readout.
        stages: the number of blocks of each stage.
        sent: bytes of a message.
        link: between two processes.
        batches: number of batches.
    """
    seconds = [*costs[:-2], costs[-2] + costs[-1]]
    ends = list(itertools.accumulate(stages))
    work = [
        Work(each, sent if block + 1 in ends[:-1] else 0.0, (block - 1,) if block else ())
        for block, each in enumerate(seconds)
    ]
    groups = [list(range(end - size, end)) for size, end in zip(stages, ends, strict=True)]
    return simulate(work, groups, batches, link, buffers=SLOTS).seconds


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the figures as text."""
    lines = [
        f"{'ms a batch':>50}{'speed-up':>16}",
        f"{'network':8}{'stages':>8}{'one':>10}{'layers':>8}{'bptt':>8}{'ddp':>8}{'layers':>9}{'data':>7}"
        f"{'openmp':>8}{'threads':>8}{'ddp':>6}{'idle':>12}{'predicted':>11}{'MB: layers':>12}"
        f"{'ddp':>8}  equal weights",
    ]
    for row in rows:
        ms = {name: 1e3 * each for name, each in row["seconds"].items()}
        idle = " ".join(f"{each:.0%}" for each in row["idle"])
        equal = ", ".join(
            f"{count} processes: {'yes' if same else 'NO'}"
            for count, same in row["equal_weights"].items()
        )
        lines.append(
            f"{row['network']:8}{'+'.join(map(str, row['stages'])):>8}"
            f"{ms[ONE]:10.1f}{ms[LAYERS]:8.1f}{ms[BACKWARD]:8.1f}{ms[DDP]:8.1f}"
            f"{row['speed_up']:9.2f}{row['data_speed_up']:7.2f}{row['openmp_speed_up']:8.2f}{row['threads_speed_up']:8.2f}"
            f"{row['ddp_speed_up']:6.2f}{idle:>12}"
            f"{row['predicted_over_measured']:11.2f}{row['sent'] / 1e6:12.2f}"
            f"{row['ddp_sent'] / 1e6:8.2f}  {equal}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure the networks, print the table, and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", default="mlp,conv,vgg8", help="some of mlp, conv and vgg8")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller batches")
    parser.add_argument("--dry", action="store_true", help="toy sizes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # in the processes
    torch.set_num_threads(1)
    size = DRY if given.dry else QUICK if given.quick else Size()
    rows = []
    for network in given.networks.split(","):
        rows.append(measure(network, size))
        print(f"{network}: {rows[-1]['speed_up']:.2f} times as fast", flush=True)
    print(f"\n{os.cpu_count()} cores, batches of {size.batch_size}, T = {STEPS}\n{table(rows)}")
    if given.json is not None:
        found = {"machine": machine(), "size": asdict(size), "rows": rows}
        write_text_atomically(given.json, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
