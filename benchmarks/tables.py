"""What the tables of accuracy share: the loop, the rows, and the command line.

A case is one run: a rule on a data set with a seed. Cases that a file of rows holds are not
repeated. Several processes (`--jobs`) take the cases one by one; on a GPU they share it. On a GPU
of CUDA a step is one CUDA graph; a rule whose step can't be one runs without it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.cases import Data, Stored, TableCase, cached, chosen, drawn
from benchmarks.common import OutOfTimeError, device_name
from benchmarks.pictures import say
from sigprop_snn.data import DATASETS
from sigprop_snn.device import keep_freed_memory
from sigprop_snn.errors import SigpropError
from sigprop_snn.files import write_text_atomically
from sigprop_snn.network import Network
from sigprop_snn.training import GraphedStep, LocalOptimizers, evaluate

UNCAPTURED = 4  # steps until the graph is captured


class Benchmark(NamedTuple):
    """A table: its cases, their network, and how rows are shown.

    Attributes:
        about: text for `--help`.
        datasets: names of the data sets.
        rules: names of the rules.
        case: makes a case of the arguments, a data set, a rule and a seed.
        build: makes the network of a case for the shape of a sample and a number of classes.
        table: returns rows as a table.
        add: adds the arguments of this table to the parser.
        eager: rules whose step is never a CUDA graph.
        shifted: data sets whose training samples are shifted by default.
    """

    about: str
    datasets: Sequence[str]
    rules: Sequence[str]
    case: Callable[[argparse.Namespace, str, str, int], TableCase]
    build: Callable[[Any, tuple[int, ...], int], Network]
    table: Callable[[Sequence[dict[str, Any]]], str]
    add: Callable[[argparse.ArgumentParser], object]
    eager: Sequence[str] = ()
    shifted: Sequence[str] = ()


class NotCapturedError(Exception):
    """The step of a rule can't be a CUDA graph."""


class ConstantsOnDevice(TorchDispatchMode):
    """Keeps constants that a step moves to the device: a graph can't wait for the CPU.

    Some rules compute small constants on the CPU at every step, such as an impulse response. The
    steps before the capture move each of them once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[Any, ...], Tensor] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation, or return a copy of the constant that it moved before."""
        kwargs = kwargs or {}
        device = kwargs.get("device")
        moves = func is torch.ops.aten._to_copy.default and args[0].device.type == "cpu"
        if not moves or device is None or torch.device(device).type == "cpu":
            return func(*args, **kwargs)
        values = args[0].detach()
        key = (str(values.tolist()), values.dtype, str(kwargs))
        if key not in self.kept:
            self.kept[key] = func(*args, **kwargs)
        return self.kept[key].clone()


def learner(
    network: Network, optimizers: LocalOptimizers, *, graphed: bool
) -> Callable[[Tensor, Tensor], object]:
    """Return a function that learns from a batch; as a CUDA graph if asked.

    The function raises NotCapturedError if the step can't be a graph.
    """
    if not graphed:
        return partial(network.learn, update=optimizers.step)
    step, constants, calls = GraphedStep(network, optimizers), ConstantsOnDevice(), 0

    def learn(inputs: Tensor, labels: Tensor) -> object:
        nonlocal calls
        calls += 1
        if calls > UNCAPTURED:
            return step(inputs, labels)
        try:
            with constants:
                return step(inputs, labels)
        except (RuntimeError, SigpropError) as error:
            raise NotCapturedError(str(error).strip().split("\n")[0]) from error

    return learn


def train(
    case: TableCase, network: Network, data: Data, *, graphed: bool, deadline: float
) -> dict[str, Any]:
    """Train and evaluate the network of a case; return its row.

    Args:
        case: the case.
        network: its network.
        data: its samples, on the device.
        graphed: whether a step is a CUDA graph.
        deadline: when to give up, by `time.time`.

    Raises:
        OutOfTimeError: if the deadline passes before the last batch.
        NotCapturedError: if the step can't be a graph.
    """
    device = data.train.x.device
    on_gpu = device.type == "cuda"
    network.to(device)
    # A graph reads the rates at every step.
    rate, of_readout = (torch.tensor(case.rate, device=device) for _ in range(2))
    adam = partial(torch.optim.Adam, fused=True, capturable=on_gpu)
    readout = network.readout if network.local_parameters().get("readout") else None
    single = {} if readout is None else {"readout": partial(adam, lr=of_readout)}
    optimizers = LocalOptimizers(network, partial(adam, lr=rate), single)
    learn = learner(network, optimizers, graphed=graphed)
    random = torch.Generator().manual_seed(case.seed)
    batches = case.epochs * (len(data.train.y) // case.batch_size)
    if not batches:
        raise SystemExit(f"{len(data.train.y)} samples are no batch of {case.batch_size}")
    started, done = time.perf_counter(), 0
    network.train()
    for _ in range(case.epochs):
        for inputs, labels in data.train.epoch(case.steps, case.batch_size, random):
            if time.time() > deadline:
                raise OutOfTimeError
            rate.fill_(case.rate * (1 - done / batches))
            if readout is not None:
                of_readout.copy_(rate * readout.rate)
            learn(inputs, labels)
            done += 1
    if on_gpu:
        torch.cuda.synchronize(device)
    seconds = time.perf_counter() - started
    found = evaluate(network, data.held_out.batches(case.steps))
    return {
        **asdict(case),
        "accuracy": found.accuracy,
        "block_accuracies": [layer.accuracy for layer in found.layers],
        "spike_rates": [layer.spike_rate for layer in found.layers],
        "learned_from": len(data.train.y),
        "evaluated_on": len(data.held_out.y),
        "seconds": seconds,
        "graphed": graphed,
        "device": device_name(device),
        "torch": torch.__version__,
    }


def key(row: dict[str, Any]) -> str:
    """Return what tells one run from others: the values of a case."""
    return json.dumps({n: row[n] for n in sorted(row) if n not in RESULTS})


# What a run measures; all else in a row says which run it is.
RESULTS = {
    "accuracy", "block_accuracies", "spike_rates", "learned_from", "evaluated_on", "seconds",
    "graphed", "device", "torch", "differs", "silent", "moved", "cosines", "updates",
}  # fmt: skip


def load_rows(*paths: Path) -> list[dict[str, Any]]:
    """Return the rows of all files that exist, each run once."""
    rows = [row for path in paths if path.exists() for row in json.loads(path.read_text("utf-8"))]
    return list({key(row): row for row in rows}.values())


def save_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows, one to a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(row) for row in rows)
    write_text_atomically(path, f"[\n{lines}\n]\n")


def title(case: TableCase) -> str:
    """Return the words for a case."""
    return f"{case.dataset}, {case.rule}, seed {case.seed}"


def arguments(benchmark: Benchmark, given: Sequence[str]) -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=benchmark.about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--datasets", nargs="+", default=list(benchmark.datasets), choices=benchmark.datasets)
    add("--rules", nargs="+", default=list(benchmark.rules), choices=benchmark.rules)
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--epochs", type=int, default=20)
    add("--batch-size", type=int, default=128)
    add("--rate", type=float, default=2e-3, help="Adam's at the start; it falls to zero")
    add("--augment", nargs="*", default=list(benchmark.shifted), help="data sets to shift")
    add("--train-samples", type=int)
    add("--test-samples", type=int)
    add("--validation", type=float, default=0.0, help="fraction of the training samples")
    add("--device", default="cpu")
    add("--data", type=Path, default=Path("data"), help="folder of the data sets")
    add("--cache", type=Path, help="folder that keeps the data sets as tensors")
    add("--jobs", type=int, default=1, help="processes that take the cases")
    add("--eager", nargs="*", default=[], help="rules without a CUDA graph")
    add("--minutes", type=float, default=float("inf"), help="after which runs are given up")
    add("--json", type=Path, help="file of the rows")
    add("--merge", type=Path, nargs="+", help="only join these files of rows into --json")
    add("--dry", action="store_true", help="a few drawn samples, one epoch, on the CPU")
    add("--claims", type=Path, help=argparse.SUPPRESS)  # of a process among --jobs
    add("--deadline", type=float, help=argparse.SUPPRESS)
    benchmark.add(parser)
    args = parser.parse_args(given)
    if args.json is None:
        parser.error("--json is missing; it is the file of the rows")
    if args.dry:
        args.epochs, args.seeds, args.batch_size, args.device = 1, args.seeds[:1], 4, "cpu"
    return args


def main(benchmark: Benchmark, script: str, given: Sequence[str] | None = None) -> None:
    """Run every case that the file of rows does not hold, and print the table.

    Args:
        benchmark: the table.
        script: path of the script, for further processes.
        given: arguments of the command line; those of this process if none.
    """
    given = sys.argv[1:] if given is None else given
    args = arguments(benchmark, given)
    if args.merge:
        save_rows(args.json, load_rows(args.json, *args.merge))
    elif args.jobs > 1:
        run_jobs(benchmark, args, script, given)
    else:
        try:
            run_cases(benchmark, args)
        except NotCapturedError as error:
            start_anew(script, again(given, args.eager, str(error)))
        except Exception:
            if args.claims is None:
                raise
            traceback.print_exc()
            start_anew(script, given)
    if args.claims is None:
        print(benchmark.table(load_rows(args.json)), flush=True)


def start_anew(script: str, given: Sequence[str]) -> NoReturn:
    """Replace this process by a new one: a failure may leave CUDA in a bad state."""
    os.execv(sys.executable, [sys.executable, script, *given])


def again(given: Sequence[str], eager: Sequence[str], rule: str) -> list[str]:
    """Return the arguments with one more rule that is not captured; the last option wins."""
    return [*given, "--eager", *eager, rule]


def cases_of(benchmark: Benchmark, args: argparse.Namespace) -> list[TableCase]:
    """Return all cases: every rule on every data set with the first seed, then with the next."""
    return [
        benchmark.case(args, dataset, rule, seed)
        for seed in args.seeds
        for dataset in args.datasets
        for rule in args.rules
    ]


def run_cases(benchmark: Benchmark, args: argparse.Namespace) -> None:
    """Run the cases that the file of rows does not hold and that no other process has taken.

    Raises:
        NotCapturedError: with the name of a rule whose step can't be a graph.
    """
    keep_freed_memory()
    device = torch.device(args.device)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    deadline = args.deadline or time.time() + 60 * args.minutes
    rows = load_rows(args.json)
    done = {key(row) for row in rows}
    sets: dict[tuple[str, Path, int], Stored] = {}
    for number, case in enumerate(cases_of(benchmark, args)):
        if key(asdict(case)) in done or not taken(args.claims, number):
            continue
        if time.time() > deadline:
            say(f"the minutes are over before {title(case)}")
            return
        place = place_of(case, args)
        if place not in sets:
            sets[place] = drawn(case) if args.dry else cached(*place, args.cache)
        data = chosen(sets[place], case, device)
        torch.manual_seed(case.seed)
        network = benchmark.build(case, data.train.shape, data.classes)
        graphed = device.type == "cuda" and case.rule not in (*benchmark.eager, *args.eager)
        try:
            row = train(case, network, data, graphed=graphed, deadline=deadline)
        except OutOfTimeError:
            say(f"the minutes are over during {title(case)}")
            return
        except NotCapturedError as error:
            say(f"{case.rule} runs without a graph: {error}")
            run_again(args.claims, number)
            raise NotCapturedError(case.rule) from error
        rows.append(row)
        save_rows(args.json, rows)
        say(f"{title(case)}: {100 * row['accuracy']:.2f} %, {row['seconds']:.1f} s")


def place_of(case: TableCase, args: argparse.Namespace) -> tuple[str, Path, int]:
    """Return the arguments of `read` for a case; pictures have no steps."""
    return case.dataset, args.data, case.steps if DATASETS[case.dataset].events else 0


def taken(claims: Path | None, number: int) -> bool:
    """Return whether this process may run a case: no other process has claimed it."""
    if claims is None:
        return True
    path = claims / str(number)
    try:
        with path.open("x") as claim:
            claim.write(str(os.getpid()))
    except FileExistsError:
        return path.read_text() == f"again {os.getpid()}"
    return True


def run_again(claims: Path | None, number: int) -> None:
    """Let this process, started anew, run a case a second time."""
    if claims is not None:
        (claims / str(number)).write_text(f"again {os.getpid()}")


def run_jobs(
    benchmark: Benchmark, args: argparse.Namespace, script: str, given: Sequence[str]
) -> None:
    """Let several processes take the cases; join their rows as they arrive."""
    if args.cache is not None and not args.dry:
        for dataset in args.datasets:  # before all processes read the same files
            case = benchmark.case(args, dataset, args.rules[0], 0)
            cached(*place_of(case, args), args.cache)
    claims = args.json.with_suffix(".claims")
    claims.mkdir(parents=True, exist_ok=True)
    for old in claims.iterdir():
        old.unlink()
    deadline = time.time() + 60 * args.minutes
    held = load_rows(args.json)
    done = {key(row) for row in held}
    for number, case in enumerate(cases_of(benchmark, args)):
        if key(asdict(case)) in done:
            (claims / str(number)).write_text("done")
    threads = max(1, (os.cpu_count() or 1) // args.jobs)
    processes, parts = [], []
    for job in range(args.jobs):
        parts.append(claims / f"rows-{job}.json")
        options = [
            "--jobs", "1", "--json", parts[-1], "--claims", claims, "--deadline", deadline
        ]  # fmt: skip
        processes.append(
            subprocess.Popen(
                [sys.executable, script, *given, *map(str, options)],
                env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            )
        )
    while True:
        over = [process.poll() is not None for process in processes]
        save_rows(args.json, load_rows(args.json, *parts))
        if all(over):
            break
        time.sleep(1.0)
    for old in claims.iterdir():
        old.unlink()
    claims.rmdir()
    failed = sum(process.returncode != 0 for process in processes)
    if failed:
        say(f"{failed} of {len(processes)} processes failed")


def group(rows: Sequence[dict[str, Any]], dataset: str, rule: str) -> list[dict[str, Any]]:
    """Return the rows of a rule on a data set."""
    return [row for row in rows if row["dataset"] == dataset and row["rule"] == rule]
