"""Print the peak memory of one learning step, by depth, length and time of the update.

python benchmarks/peak_memory.py --json benchmarks/results/peak_memory.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import tasks
from benchmarks.measure import peak_memory
from benchmarks.tasks import PeerCase, make
from sigprop_snn.files import write_text_atomically

CHOICES = [
    ("voltage", 2, 10),
    ("voltage", 16, 10),
    ("voltage", 2, 50),
    ("online-voltage", 2, 10),
    ("online-voltage", 2, 200),
    ("online-voltage", 16, 10),
]


def main() -> None:
    """Print one line for each choice."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    args = parser.parse_args()
    tasks.WARM_UP = (1, 1)  # memory does not depend on what the network has learned
    rows = []
    print(f"{'rule':16} depth    T      MiB")
    for rule, depth, steps in CHOICES:
        task = make(PeerCase("sigprop_snn", rule, "mlp", steps, depth, 128, "float32"), "cpu")
        peak = peak_memory(task, "cpu")
        rows.append({"rule": rule, "depth": depth, "steps": steps, "peak_mib": peak})
        print(f"{rule:16} {depth:5} {steps:4} {peak:8.1f}", flush=True)
    if args.json is not None:
        write_text_atomically(args.json, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
