"""Timing in one process per library, taking turns.

The processes never run at the same time. The parent asks one after the other for one repeat of a
row, so that other load on the machine disturbs all of them alike.
"""

from __future__ import annotations

import gc
import multiprocessing
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import torch

from benchmarks.common import synchronise
from benchmarks.tasks import PeerCase, Task, make
from sigprop_snn.device import step_memory_mb
from sigprop_snn.training import keep_freed_memory

_TURN = 0.25  # seconds of steps, after one that is not timed


class Row(NamedTuple):
    """One measured row: the fields of `PeerCase`, seconds a step and peak memory."""

    library: str
    rule: str
    network: str
    steps: int
    depth: int
    batch_size: int
    precision: str
    seconds: float
    seconds_spread: float
    peak_memory_mb: float


def measure(
    cases: Sequence[PeerCase],
    repeats: int,
    device: str,
    say: Callable[[str], None],
    *,
    cpu_time: bool = False,
) -> list[Row]:
    """Return every case's median and spread (half the interquartile range) of a step.

    A case is left out, with a message, if its library fails.

    Args:
        cases: the rows to measure.
        repeats: timed steps of each.
        device: "cpu" or "cuda".
        say: gets a line about each row when it is done.
        cpu_time: whether to measure processor time instead of wall-clock time, for a machine that
            other programs use at the same time; for one thread.
    """
    context = multiprocessing.get_context("spawn")
    workers: dict[str, Connection] = {}
    processes = []
    for library in dict.fromkeys(case.library for case in cases):
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, device, cpu_time), daemon=True)
        process.start()
        there.close()  # else the parent would not notice that a worker ended
        workers[library] = here
        processes.append(process)
    rows: list[Row] = []
    # Cases on the same network and length are interleaved.
    for group in _groups(cases):
        seconds: dict[PeerCase, list[float]] = {}
        memory: dict[PeerCase, float] = {}
        for case in group:
            answer = _ask(workers[case.library], ("start", case))
            if isinstance(answer, str):
                say(f"left out: {case.library} {case.rule}: {answer}")
                continue
            memory[case], seconds[case] = answer, []
        for _ in range(repeats):
            for case in list(seconds):
                answer = _ask(workers[case.library], ("time", case))
                if isinstance(answer, str):
                    say(f"left out: {case.library} {case.rule}: {answer}")
                    del seconds[case]
                else:
                    seconds[case].append(answer)
        for case, found in seconds.items():
            quarters = statistics.quantiles(found, n=4) if len(found) > 1 else [0.0, 0.0, 0.0]
            spread = (quarters[2] - quarters[0]) / 2
            rows.append(Row(*case, statistics.median(found), spread, memory[case]))
            say(f"{_name(case)}: {1e3 * rows[-1].seconds:.1f} ms")
        for connection in workers.values():
            _ask(connection, ("forget", None))
    for connection, process in zip(workers.values(), processes, strict=True):
        _ask(connection, ("end", None))
        process.join(10)
    return rows


def _groups(cases: Sequence[PeerCase]) -> Iterator[list[PeerCase]]:
    keys = dict.fromkeys((case.network, case.steps, case.depth) for case in cases)
    for key in keys:
        yield [case for case in cases if (case.network, case.steps, case.depth) == key]


def _name(case: PeerCase) -> str:
    precision = "" if case.precision == "float32" else f" {case.precision}"
    return f"{case.network} depth {case.depth} T={case.steps} {case.library} {case.rule}{precision}"


def _ask(connection: Connection, question: tuple[str, PeerCase | None]) -> Any:
    """Return a worker's answer, or a message that says why there is none."""
    try:
        connection.send(question)
        return connection.recv()
    except (EOFError, OSError) as error:
        return f"its process has ended ({type(error).__name__})"


def _work(connection: Connection, device: str, cpu_time: bool) -> None:
    keep_freed_memory()  # for every library alike
    warnings.filterwarnings("ignore")
    tasks: dict[PeerCase, Task] = {}
    while True:
        question, case = connection.recv()
        if question == "end":
            return
        if question == "start":
            try:
                tasks[case] = make(case, device)
                for _ in range(2):
                    tasks[case].step()
                connection.send(peak_memory(tasks[case], device))
            except Exception as error:  # a peer's failure must not end the run
                tasks.pop(case, None)
                connection.send(f"{type(error).__name__}: {error}")
        elif question == "time":
            connection.send(_seconds(tasks[case], device, cpu_time))
        else:
            tasks.clear()
            gc.collect()
            connection.send(None)


def _seconds(task: Task, device: str, cpu_time: bool) -> float:
    """Return the median time of the steps of one turn, which run without a pause as in training."""
    clock = time.process_time if cpu_time else time.perf_counter
    task.step()
    synchronise(device)
    found: list[float] = []
    while sum(found) < _TURN:
        start = clock()
        task.step()
        synchronise(device)
        found.append(clock() - start)
    return statistics.median(found)


def peak_memory(task: Task, device: str) -> float:
    """Return the MiB that a step allocates beyond parameters, optimizer state and input."""
    gc.collect()
    return step_memory_mb(task.step, torch.device(device))
