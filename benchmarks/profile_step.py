"""Where a step's time goes: `python benchmarks/profile_step.py`.

Prints shares of the main thread's time in one step of our network, from Python's own profiler.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.tasks import PeerCase, make
from sigprop_snn.training import keep_freed_memory

KERNELS = "cpu/threads.py"  # the module that runs every kernel of the CPU engine
# Where time is counted, by the end of the file and a part of the function's name; the first that
# fits. A kernel's time counts for the function that runs it, a built-in's for its caller.
PARTS = {
    "linear layers": ("cpu/linear.py", "run"),
    "convolutional layers": ("cpu/convolution.py", "run"),
    "lists of spikes, weights in panels": ("cpu/linear.py", "of"),
    "packing the input": ("cpu/spikes.py", "pack"),
    "pools": ("cpu/spikes.py", "pooled"),
    "presynaptic traces": ("cpu/spikes.py", "weighted_sum"),
    "local losses": ("engines/cosines.py", "compare"),
    "weight gradients": ("", "_weight_gradient"),
    "and their scale": ("", "linalg_vecdot"),
    "the same of convolutions, dense": ("", "convolution_backward"),
    "surrogate function": ("cpu/surrogate.py", "_run_over_neurons"),
    "rest of the backward pass": ("", "run_backward"),
    "Adam": ("", "_fused_adam_"),
}


class Shares(NamedTuple):
    """Where a step's time goes.

    Attributes:
        parts: the share of every part.
        calls: the number of calls a step in "all else".
        largest: the largest share of one function in "all else".
    """

    parts: dict[str, float]
    calls: int
    largest: float


def shares(case: PeerCase, steps: int) -> Shares:
    """Return the share of every part in the time of a step."""
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
        if file.endswith(KERNELS):
            if name == "run_kernel":
                for (caller, _, asking), (*_, whole) in callers.items():
                    found[_part(caller, asking)] += whole
            continue
        part, rest = _part(file, name), own
        for (caller, _, asking), (_, asked, spent, _) in callers.items():
            if caller.endswith(KERNELS):  # inside `run_kernel`, counted there
                rest, count = rest - spent, count - asked
            elif file == "~" and part == "all else" and _part(caller, asking) != part:
                found[_part(caller, asking)] += spent
                rest, count = rest - spent, count - asked
        found[part] += rest
        if part == "all else":
            calls, largest = calls + count, max(largest, rest)
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
            PeerCase("sigprop_snn", rule, options.network, options.steps, 2, 128, "float32"),
            options.repeats,
        )
        for rule in rules
    ]
    print(f"{'share of a step in %':36}" + "".join(f"{rule:>11}" for rule in rules))
    for part in columns[0].parts:
        if any(column.parts[part] >= 0.005 for column in columns):
            print(f"{part:36}" + "".join(f"{100 * column.parts[part]:11.0f}" for column in columns))
    print(f"{'  its calls':36}" + "".join(f"{column.calls:11}" for column in columns))
    print(f"{'  its largest function':36}" + "".join(f"{100 * c.largest:11.1f}" for c in columns))


if __name__ == "__main__":
    main()
