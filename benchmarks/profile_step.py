"""Where a step's time goes: `python benchmarks/profile_step.py`.

Shares of the main thread's time, ours alone, from Python's own profiler.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
from pathlib import Path

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


def shares(case: Case, steps: int) -> dict[str, float]:
    """Return every part's share of a step's time."""
    task = make(case, "cpu")
    task.step()
    profiler = cProfile.Profile()
    profiler.enable()
    for _ in range(steps):
        task.step()
    profiler.disable()
    found = dict.fromkeys([*PARTS, "all else"], 0.0)
    for (file, _, name), (*_, own, _, callers) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
        if not file.endswith("sharing.py"):
            found[_part(file, name)] += own
        elif name == "share":
            for (caller, _, asking), (*_, kernel) in callers.items():
                found[_part(caller, asking)] += kernel
    whole = sum(found.values())
    return {part: own / whole for part, own in found.items()}


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
    for part in columns[0]:
        if any(column[part] >= 0.005 for column in columns):
            print(f"{part:32}" + "".join(f"{100 * column[part]:11.0f}" for column in columns))


if __name__ == "__main__":
    main()
