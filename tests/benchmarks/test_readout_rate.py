"""The script of the readouts' learning rates runs, and its readouts learn from all blocks."""

import json
import runpy
import sys
from pathlib import Path

import torch

import sigprop_snn as sp

SCRIPT = Path(__file__).parents[2] / "benchmarks/readout_rate.py"


def test_it_measures_every_block_and_readout_after_each_epoch(monkeypatch, tmp_path):
    file = tmp_path / "rates.json"
    monkeypatch.setattr(sys, "argv", [SCRIPT.name, "--dry", "--epochs", "2", "--json", str(file)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    found = json.loads(file.read_text(encoding="utf-8"))
    names = {*(f"block{n}" for n in range(1, 7)), "readout", "0.002", "0.0004", "last block"}
    first, last = found["epochs"]
    assert names < set(first["validation"]) == set(last["test"])
    assert (first["epoch"], last["epoch"], found["settings"]["seed"]) == (1, 2, "0")


def test_a_readout_at_the_rate_of_the_networks_own_learns_as_it_does():
    script = runpy.run_path(str(SCRIPT))
    torch.manual_seed(0)
    network = sp.vgg((3, 8, 8), 4, layers=(4, 6), sources=2)
    rate, batches = 0.01, 8
    readouts = script["Readouts"](network.readout, 2, {"same": rate})
    x, labels = torch.randn(2, 12, 3, 8, 8), torch.arange(12) % 4
    network.eval()
    network(x)
    readouts.scores("same", 12)  # makes its weights
    readouts._synapses["same"].load_state_dict(network.readout.synapse.state_dict())
    optimizers = sp.LocalOptimizers(network, lambda p: torch.optim.Adam(p, lr=rate, fused=True))
    network.train()
    for _ in range(batches):
        network.learn(x, labels, optimizers)
        readouts.learn(labels, 1.0)
    network.eval()
    scores = network(x)
    torch.testing.assert_close(readouts.scores("same", 12), scores.as_subclass(torch.Tensor))
