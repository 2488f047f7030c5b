"""Two processes of one thread against one, by signal propagation and by backpropagation.

    python benchmarks/parallel.py --json benchmarks/results/parallel.json
    python benchmarks/parallel.py --quick

Each network learns batches of pictures of CIFAR's size:

- `two independent`: two processes, which train a network each. Two busy cores may be slower than
  one: no two processes can be faster than these;
- `layers`: the blocks in two processes (`sigprop_snn.parallel.Pipeline`), balanced by their
  measured costs;
- `data`: half of each batch in each process, by the same class;
- `openmp`: one process, in which torch's threads share each layer;
- `threads`: one process, in which two Python threads train a network each. Layers in two threads of
  one process can't be faster than that, because they also wait for each other;
- `ddp`: torch's DistributedDataParallel, backpropagation of the same network, half of each batch in
  each process.

Each is compared with one process of the same method and batch. The methods take turns; a result is
the median of the turns. Four processes on two cores only show that the weights stay equal.

Processor seconds tell what a pipeline can give where other programs disturb the turns: its speed-up
is at most the seconds of one process by those of the stage that takes most. "Others" is the share
of the machine's processor time that other programs took.

The simulation's prediction for two processes comes from seconds of the blocks that were measured
while a second process did the same, and from the bandwidth between two processes of this machine.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.block_costs import build
from benchmarks.parallel_processes import (
    BACKWARD,
    DATA,
    DDP,
    DRY,
    FOUR,
    LAYERS,
    ONE,
    OPENMP,
    QUICK,
    SLOTS,
    STEPS,
    THREADS,
    TWO,
    WIDTHS,
    Group,
    Job,
    Size,
    take_turn,
)
from benchmarks.schedules import Link, Work, simulate
from sigprop_snn.files import write_text_atomically
from sigprop_snn.machine import machine


def measure(network: str, size: Size) -> dict[str, Any]:
    """Return the results of one network."""
    jobs = {
        ONE: Job(network, ONE, 1, size),
        TWO: Job(network, ONE, 1, size),
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
                turns[name] += take_turn(groups[name])
            both = take_turn(groups[TWO], groups[ONE])
            seconds = max(each["seconds"] for each in both)
            turns[TWO].append({**both[0], "seconds": seconds})
        for _ in range(size.turns):
            if FOUR in groups:
                turns[FOUR] += take_turn(groups[FOUR])
        # This process has learned from as many batches as the pipelines.
        same = {2: LAYERS, 4: FOUR}
        (weights,) = groups[TWO].ask("checksum")
        equal = {
            count: set(groups[name].ask("checksum")) == {weights}
            for count, name in same.items()
            if name in groups
        }
        stages = groups[LAYERS].ask("stages")[0]
        sent = groups[DDP].ask("gradient_bytes")[0]
        link = Link("this machine", max(groups[DDP].ask("bandwidth")), 1e-4)
        found = results(turns, stages, link, size)
    width = WIDTHS[network] * size.width
    return {"network": network, "width": width, **found, "ddp_sent": sent, "equal_weights": equal}


def results(
    turns: dict[str, list[dict[str, Any]]], stages: Sequence[int], link: Link, size: Size
) -> dict[str, Any]:
    """Return the results of some turns.

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
    blocks = [list(turn["blocks"].values()) for turn in turns[TWO]]
    costs = [statistics.median(each) for each in zip(*blocks, strict=True)]
    cpu = {
        name: [statistics.median(rank) / size.batches for rank in zip(*of, strict=True)]
        for name, found in turns.items()
        if (of := [turn["cpu"] for turn in found])
    }
    expected = predicted(costs, stages, sent, link, size.batches)
    return {
        "seconds": medians,
        "cpu": cpu,
        "others": {
            name: statistics.median(turn["others"] for turn in found)
            for name, found in turns.items()
        },
        "stages": list(stages),
        "speed_up": ratio(ONE, LAYERS),
        "speed_up_by_cpu": cpu[ONE][0] / max(cpu[LAYERS]),
        "two_independent_speed_up": 2 * ratio(ONE, TWO),  # two networks learn in a turn
        "data_speed_up": ratio(ONE, DATA),
        "openmp_speed_up": ratio(ONE, OPENMP),
        "threads_speed_up": 2 * ratio(ONE, THREADS),  # as above
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


def table(row: dict[str, Any]) -> str:
    """Return the results of one network as text."""
    speed_ups = {
        ONE: 1.0, TWO: row["two_independent_speed_up"], LAYERS: row["speed_up"],
        DATA: row["data_speed_up"], OPENMP: row["openmp_speed_up"],
        THREADS: row["threads_speed_up"], BACKWARD: 1.0, DDP: row["ddp_speed_up"],
    }  # fmt: skip
    stages = " + ".join(map(str, row["stages"]))
    lines = [
        f"{row['network']}, width {row['width']:g}: stages of {stages} blocks",
        f"{'':18}{'ms a batch':>12}{'speed-up':>10}{'CPU ms':>14}{'others':>9}",
    ]
    for name, speed_up in speed_ups.items():
        cpu = " ".join(f"{1e3 * each:.1f}" for each in row["cpu"][name])
        lines.append(
            f"{name:18}{1e3 * row['seconds'][name]:12.1f}{speed_up:10.2f}{cpu:>14}"
            f"{row['others'][name]:9.0%}"
        )
    idle = " and ".join(f"{each:.0%}" for each in row["idle"])
    equal = ", ".join(
        f"{count} processes: {'yes' if same else 'NO'}"
        for count, same in row["equal_weights"].items()
    )
    lines += [
        f"layers: at most {row['speed_up_by_cpu']:.2f} by processor time; idle {idle}; "
        f"{row['sent'] / 1e6:.2f} MB a message (DDP {row['ddp_sent'] / 1e6:.2f} MB)",
        f"the simulation's time is {row['predicted_over_measured']:.2f} of the measured one",
        f"equal weights: {equal}",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure the networks, print the table, and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", default="mlp,conv,vgg8", help="some of mlp, conv and vgg8")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller batches")
    parser.add_argument("--dry", action="store_true", help="toy sizes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the results")
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"  # in the processes
    torch.set_num_threads(1)
    size = DRY if given.dry else QUICK if given.quick else Size()
    print(f"{os.cpu_count()} cores, batches of {size.batch_size}, T = {STEPS}\n", flush=True)
    rows = []
    for network in given.networks.split(","):
        rows.append(measure(network, size))
        print(f"{table(rows[-1])}\n", flush=True)
    if given.json is not None:
        found = {"machine": machine(), "size": asdict(size), "rows": rows}
        write_text_atomically(given.json, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
