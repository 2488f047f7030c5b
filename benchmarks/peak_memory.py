"""Print the peak memory of one learning step, by depth, length and time of the update.

python benchmarks/peak_memory.py
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks import tasks
from benchmarks.measure import peak_memory
from benchmarks.tasks import Case, make

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
    tasks.WARM_UP = (1, 1)  # memory does not depend on what the network has learned
    print(f"{'rule':16} depth    T      MiB")
    for rule, depth, steps in CHOICES:
        task = make(Case("sigprop_snn", rule, "mlp", steps, depth, 128, "float32"), "cpu")
        print(f"{rule:16} {depth:5} {steps:4} {peak_memory(task, 'cpu'):8.1f}", flush=True)


if __name__ == "__main__":
    main()
