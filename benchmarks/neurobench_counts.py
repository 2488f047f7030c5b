"""Measure a trained network with NeuroBench's harness, beside our own monitors.

    sigprop-snn train digit-events --out runs/e
    python benchmarks/neurobench_counts.py runs/e --samples 200

docs/neurobench.md says where the definitions agree, and why they differ elsewhere.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from neurobench.benchmarks import Benchmark
from neurobench.metrics.static import ConnectionSparsity, Footprint, ParameterCount
from neurobench.metrics.workload import (
    ActivationSparsity,
    ClassificationAccuracy,
    SynapticOperations,
)
from torch.utils.data import DataLoader, TensorDataset

import sigprop_snn as sp
from sigprop_snn.deploy import fold
from sigprop_snn.deploy.neurobench import NeuroBenchNetwork
from sigprop_snn.training import load_run

STATIC = [Footprint, ParameterCount, ConnectionSparsity]
WORKLOAD = [ClassificationAccuracy, ActivationSparsity, SynapticOperations]


def rows(network: sp.Network, inputs: torch.Tensor, labels: torch.Tensor) -> list[tuple[str, ...]]:
    """Return the table: metric, NeuroBench's value, ours.

    Args:
        network: the network.
        inputs: `[T, B, ...]`.
        labels: `[B]`.
    """
    loader = DataLoader(TensorDataset(inputs.transpose(0, 1), labels), batch_size=50)
    benchmark = Benchmark(NeuroBenchNetwork(network), loader, [], [], [STATIC, WORKLOAD])
    found = benchmark.run(quiet=True)
    ours = sp.cost(network, [(inputs, labels)])
    weights = list(fold(network).parameters())
    accuracy = (network(inputs).argmax(1) == labels).float().mean().item()
    operations = found["SynapticOperations"]
    pairs = [
        ("accuracy (%)", 100 * found["ClassificationAccuracy"], 100 * accuracy),
        ("footprint (bytes)", found["Footprint"], sum(w.numel() * 4 for w in weights)),
        ("parameters", found["ParameterCount"], sum(w.numel() for w in weights)),
        ("connection sparsity", found["ConnectionSparsity"], None),
        ("activation sparsity", found["ActivationSparsity"], 1 - ours.total.spike_rate),
        ("additions a sample", operations["Effective_ACs"], ours.total.additions),
        ("multiply-accumulates a sample", operations["Effective_MACs"], ours.total.macs),
        ("dense a sample", operations["Dense"], ours.steps * ours.total.connections),
    ]
    shown = [
        (name, f"{theirs:,.4f}", "-" if own is None else f"{own:,.4f}")
        for name, theirs, own in pairs
    ]
    return [("metric", "NeuroBench", "sigprop_snn"), *shown]


def main() -> None:
    """Print the table for a run folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("run", type=Path, help="a run folder")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--data-root", type=Path)
    given = parser.parse_args()
    trained = load_run(given.run, data_root=given.data_root, device="cpu")
    batches = list(trained.data.test)
    inputs = torch.cat([x for x, _ in batches], 1)[:, : given.samples]
    labels = torch.cat([y for _, y in batches])[: given.samples]
    for name, theirs, own in rows(trained.network, inputs, labels):
        print(f"{name:30} {theirs:>20} {own:>20}")


if __name__ == "__main__":
    main()
