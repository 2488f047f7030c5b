"""Where a step's time goes: `python benchmarks/profile_step.py`.

Shares of the main thread's time, ours alone, from Python's own profiler.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.tasks import Case, make
from sigprop_snn.training import keep_freed_memory

# What a function's own time is counted under, and that of the kernel it runs; the first that fits,
# by file and name.
PARTS = {
    "linear layers": ("layer.py", "run_layer"),
    "convolutional layers": ("convolution.py", "_convolve"),
    "listing the spikes": ("listing.py", "list_windows"),
    "packing the input": ("packed.py", "pack"),
    "pools": ("packed.py", "halved"),
    "presynaptic traces": ("packed.py", "weighted"),
    "currents for the normalisers": ("windows.py", "panels_product"),
    "weights in panels": ("panels.py", ""),
    "local losses": ("cosines.py", ""),
    "weight gradients": ("", "_outer"),
    "and their scale": ("scaled_rows.py", ""),
    "the same of convolutions, dense": ("", "convolution_backward"),
    "surrogate kernel": ("surrogate.py", ""),
    "rest of the backward pass": ("", "run_backward"),
    "Adam": ("", "_fused_adam_"),
}


class Shares(NamedTuple):
    """Where a step's time goes.

    Attributes:
        parts: every part's share.
        calls: how many calls a step "all else" is made of.
        largest: the largest share of one function among them.
    """

    parts: dict[str, float]
    calls: int
    largest: float


def shares(case: Case, steps: int) -> Shares:
    """Return every part's share of a step's time."""
    task = make(case, "cpu")
    task.step()
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(steps):
        task.step()
    profiler.disable()
    found = dict.fromkeys([*PARTS, "all else"], 0.0)
    calls, largest = 0, 0.0
    for (file, _, name), (_, count, own, _, callers) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        if not file.endswith("sharing.py"):
            part = _part(file, name)
            found[part] += own
            if part == "all else":
                calls, largest = calls + count, max(largest, own)
        elif name == "share":
            for (caller, _, asking), (*_, kernel) in callers.items():
                found[_part(caller, asking)] += kernel
    whole = sum(found.values())
    parts = {part: own / whole for part, own in found.items()}
    return Shares(parts, calls // steps, largest / whole)


def _part(file: str, name: str) -> str:
    fits = (part for part, (at, of) in PARTS.items() if file.endswith(at) and of in name)
    return next(fits, "all else")


def main() -> None:
    """Profile the voltage rule, the surrogate rule and inference; print the shares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=["mlp", "conv"], default="mlp")
    parser.add_argument("--steps", type=int, default=50, help="time steps of a sample")
    parser.add_argument("--repeats", type=int, default=20, help="profiled steps")
    options = parser.parse_args()
    keep_freed_memory()
    rules = ("inference", "voltage", "surrogate")
    columns = [
        shares(
            Case("sigprop_snn", rule, options.network, options.steps, 2, 128, "float32"),
            options.repeats,
        )
        for rule in rules
    ]
    print(f"{'share of a step in %':32}" + "".join(f"{rule:>11}" for rule in rules))
    for part in columns[0].parts:
        if any(column.parts[part] >= 0.005 for column in columns):
            print(f"{part:32}" + "".join(f"{100 * column.parts[part]:11.0f}" for column in columns))
    print(f"{'  its calls':32}" + "".join(f"{column.calls:11}" for column in columns))
    print(f"{'  its largest function':32}" + "".join(f"{100 * c.largest:11.1f}" for c in columns))


if __name__ == "__main__":
    main()
