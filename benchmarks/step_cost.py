"""The cost of a training step, against the peers: `python benchmarks/step_cost.py --quick`.

Every row is the median of interleaved repeats, one process per library. See README.md here.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.measure import Row, measure
from benchmarks.tasks import LIBRARIES, MODULES, PICTURES, STEPS_OF_INFERENCE, PeerCase
from sigprop_snn.files import write_text_atomically

OURS = "sigprop_snn"
BOUND = "matrix products"
EVERY_STEP = "online-voltage"  # the voltage rule with an update at every time step
_COLUMNS = 3  # panels of the figure side by side


def cases(quick: bool, device: str) -> list[PeerCase]:
    """Return the rows to measure."""
    networks = [("mlp", 2), ("conv", 2)] if quick else [("mlp", 2), ("conv", 2), ("mlp", 16)]
    lengths = (
        {"mlp": (10, 50), "conv": (10,)} if quick else {"mlp": (10, 50, 200), "conv": (10, 50)}
    )
    found = []
    for network, depth in networks:
        for steps in lengths[network] if depth == 2 else (10,):
            for library in LIBRARIES:
                found += [
                    PeerCase(library, rule, network, steps, depth, 128, precision)
                    for rule, precision in _rules(library, depth)
                ]
    found += [
        PeerCase(library, rule, PICTURES[0], 4, len(PICTURES[2]), 32, "float32")
        for library in (OURS, "snntorch", "spikingjelly")
        for rule, precision in _rules(library, 3)
        if precision == "float32" and rule not in (EVERY_STEP, STEPS_OF_INFERENCE)
    ]
    return found


def _rules(library: str, depth: int) -> list[tuple[str, str]]:
    if library == BOUND:
        return [("inference", "float32"), ("voltage", "float32"), ("inference", "bf16")]
    if library == OURS:
        return [
            ("inference", "float32"),
            ("voltage", "float32"),
            ("surrogate", "float32"),
            (EVERY_STEP, "float32"),
            (STEPS_OF_INFERENCE, "float32"),
            ("inference", "bf16"),
            ("voltage", "bf16"),
        ]
    if library == "snntorch":
        return [("bptt", "float32"), ("inference", "float32")]
    return [("bptt", "float32")]


def table(rows: Sequence[Row]) -> str:
    """Return the rows as text, with each time as a multiple of our voltage-rule step."""
    head = f"{'library':16} {'rule':10} {'precision':9} {'ms':>9} {'±':>7} {'ours':>7} {'MiB':>8}"
    lines = []
    for key in dict.fromkeys((row.network, row.steps, row.depth) for row in rows):
        group = [row for row in rows if (row.network, row.steps, row.depth) == key]
        ours = _seconds(group, OURS, "voltage")
        lines += ["", f"{key[0]}, depth {key[2]}, T = {key[1]}, B = {group[0].batch_size}", head]
        for row in group:
            ratio = f"{row.seconds / ours:6.2f}x" if ours else ""
            memory = f"{row.peak_memory_mb:8.1f}"
            lines.append(
                f"{row.library:16} {row.rule:10} {row.precision:9} {1e3 * row.seconds:9.1f} "
                f"{1e3 * row.seconds_spread:7.1f} {ratio:>7} {memory}"
            )
        lines += _floor(group)
    return "\n".join(lines[1:])


def _floor(group: Sequence[Row]) -> list[str]:
    """Return the line that compares learning at every step with the least that it can take.

    That is T times our own inference of one step, bare weight gradients, and Adam.
    """
    found = (
        _seconds(group, OURS, EVERY_STEP),
        _seconds(group, OURS, STEPS_OF_INFERENCE),
        _seconds(group, BOUND, "voltage"),
    )
    online, inference, update = found
    if online is None or inference is None or update is None:
        return []
    floor = inference + group[0].steps * update
    ratio = online / floor
    return [f"floor of an update at every step: {1e3 * floor:.1f} ms; ours takes {ratio:.2f} of it"]


def _seconds(rows: Sequence[Row], library: str, rule: str) -> float | None:
    for row in rows:
        if (row.library, row.rule, row.precision) == (library, rule, "float32"):
            return row.seconds
    return None


def figure(rows: Sequence[Row], file: Path) -> None:
    """Draw the time of a step in every library, and the bare matrix products as a line."""
    from sigprop_snn import plots
    from sigprop_snn.plots.style import (
        DASHED,
        GREY,
        INK,
        LOCAL,
        SMALL_SIZE,
        dress,
        new_figure,
        note,
        ticks,
    )

    keys = list(dict.fromkeys((row.network, row.steps, row.depth) for row in rows))
    tall = 0.28 * max(sum((r.network, r.steps, r.depth) == key for r in rows) for key in keys) + 1
    columns = min(_COLUMNS, len(keys))
    lines = -(-len(keys) // columns)
    made = new_figure((5.2 * columns, tall * lines))
    for place, key in enumerate(keys):
        axis = made.add_subplot(lines, columns, place + 1)
        group = [r for r in rows if (r.network, r.steps, r.depth) == key]
        # The bars of an update at every step are so long that they hide the others.
        shown = [
            r
            for r in group
            if r.library != BOUND and r.rule not in (EVERY_STEP, STEPS_OF_INFERENCE)
        ]
        names = [
            f"{r.library} {r.rule}" + (f" {r.precision}" if r.precision != "float32" else "")
            for r in shown
        ]
        dress(
            axis,
            title=f"{key[0]}, depth {key[2]}, T = {key[1]}",
            x_label="time per step (ms)",
            grid="x",
        )
        axis.barh(
            range(len(shown)),
            [1e3 * r.seconds for r in shown],
            0.6,
            xerr=[1e3 * r.seconds_spread for r in shown],
            color=[LOCAL if r.library == OURS else GREY for r in shown],
            error_kw={"ecolor": INK, "elinewidth": 0.8},
        )
        axis.set_yticks(range(len(shown)), names, fontsize=SMALL_SIZE)
        axis.tick_params(axis="y", length=0)
        axis.xaxis.set_major_locator(ticks(5))
        bound = _seconds(group, BOUND, "inference")
        if bound is not None:
            axis.axvline(1e3 * bound, color=INK, linestyle=DASHED, linewidth=1.0)
            words = "dashed: matrix products alone"
            note(axis, words, (1.0, 1.0), shift=(0, 3), colour=GREY, ha="right", va="bottom")
        axis.invert_yaxis()
    plots.save(made, file)


def main() -> None:
    """Measure the rows, print them, and write files if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows and repeats")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the rows")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="where to draw them")
    parser.add_argument("--repeats", type=int, help="timed steps of every row")
    parser.add_argument("--network", choices=["mlp", "conv", "cifar10"], help="only this network")
    parser.add_argument("--steps", type=int, help="only this many time steps")
    parser.add_argument("--threads", type=int, help="of every library; all cores if not given")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="measure processor time, on a machine that other programs use; one thread",
    )
    options = parser.parse_args()
    threads = 1 if options.cpu_time else options.threads
    if threads:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ[name] = str(threads)  # before torch is imported, here and in the workers
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    wanted = [
        case
        for case in cases(options.quick, device)
        if options.network in (None, case.network) and options.steps in (None, case.steps)
    ]
    absent = {
        library: module
        for library, modules in MODULES.items()
        for module in modules
        if importlib.util.find_spec(module) is None
    }
    for library, module in absent.items():
        print(f"left out: {library} ({module} is not installed)")
    wanted = [case for case in wanted if case.library not in absent]
    print(f"{platform.machine()}, {os.cpu_count()} cores, {device}, torch {torch.__version__}")
    clock = "processor" if options.cpu_time else "wall"
    print(f"{threads or torch.get_num_threads()} threads, {clock} time")
    repeats = options.repeats or (5 if options.quick else 11)
    rows = measure(
        wanted,
        repeats,
        device,
        lambda line: print(line, flush=True),
        cpu_time=options.cpu_time,
    )
    print(f"\n{table(rows)}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        found = [row._asdict() for row in rows]
        write_text_atomically(options.json, json.dumps(found, indent=1) + "\n")
    if options.figure:
        options.figure.parent.mkdir(parents=True, exist_ok=True)
        figure(rows, options.figure)


if __name__ == "__main__":
    main()
