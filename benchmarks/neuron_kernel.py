"""The LIF neuron alone, against the peers: `python benchmarks/neuron_kernel.py`.

Forward only, without gradients, on currents that are made before the clock starts. Each number is
the median of interleaved repeats in one process.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import synchronise
from sigprop_snn.files import write_text_atomically

BETA = 0.9


def runners(device: str) -> dict[str, Callable[[Tensor], object]]:
    """Return a function by name that runs a current `[T, B, F]`; name peers that are missing."""
    from sigprop_snn.neurons import LIF
    from sigprop_snn.neurons.run import run

    neuron = LIF(BETA).to(device)
    found: dict[str, Callable[[Tensor], object]] = {
        "sigprop_snn reference": lambda current: run(neuron, current, engine="reference"),
        "sigprop_snn kernel": lambda current: run(neuron, current),
    }
    for name, make in {"snntorch": _snntorch, "spikingjelly": _spikingjelly}.items():
        if importlib.util.find_spec(name) is None:
            print(f"left out: {name} (it is not installed)")
        else:
            found[name] = make(device)
    return found


def _snntorch(device: str) -> Callable[[Tensor], object]:
    import snntorch

    neuron = snntorch.Leaky(beta=BETA).to(device)

    def through(current: Tensor) -> object:
        voltage = neuron.reset_mem()
        spikes = []
        for step in current:
            spike, voltage = neuron(step, voltage)
            spikes.append(spike)
        return torch.stack(spikes)

    return through


def _spikingjelly(device: str) -> Callable[[Tensor], object]:
    from spikingjelly.activation_based import functional, neuron

    lif = neuron.LIFNode(1 / (1 - BETA), decay_input=False, v_reset=None, step_mode="m").to(device)
    if device == "cuda":
        lif.backend = "triton"

    def through(current: Tensor) -> object:
        functional.reset_net(lif)
        return lif(current)

    return through


def measure(steps: int, neurons: int, repeats: int, device: str) -> list[dict[str, object]]:
    """Return one row for each function of `runners`."""
    current = 0.6 * torch.randn(steps, 128, neurons, device=device)
    named = runners(device)
    seconds: dict[str, list[float]] = {name: [] for name in named}
    with torch.no_grad():
        for repeat in range(repeats + 2):
            for name, through in named.items():
                synchronise(device)
                start = time.perf_counter()
                through(current)
                synchronise(device)
                if repeat >= 2:
                    seconds[name].append(time.perf_counter() - start)
    traffic = 2 * current.numel() * current.element_size()
    return [
        {
            "runner": name,
            "steps": steps,
            "neurons": 128 * neurons,
            "seconds": statistics.median(found),
            "gb_per_second": traffic / statistics.median(found) / 1e9,
        }
        for name, found in seconds.items()
    ]


def main() -> None:
    """Measure every length, print the rows and write them to a file if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the rows")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--neurons", type=int, default=800, help="neurons of one sample")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = []
    for steps in (4, 16, 64, 256):
        rows += measure(steps, options.neurons, options.repeats, device)
        for row in rows[-len(runners(device)) :]:
            print(
                f"T={row['steps']:<4} {row['runner']:21} {1e3 * float(str(row['seconds'])):8.2f} ms"
                f" {float(str(row['gb_per_second'])):6.1f} GB/s read and written"
            )
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(options.json, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
