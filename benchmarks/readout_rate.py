"""At which learning rate does a readout of all blocks learn well?

    python benchmarks/readout_rate.py --folder data --json benchmarks/results/readout_rate.json

Trains the network of `sigprop-snn train imagefolder` once, with the similarity of maps of 8x8, as
it is cheaper. Readouts with other learning rates, and one of the last block alone, learn beside its
own from the same traces. They do not change the blocks, so all else is equal. After each epoch it
prints the accuracy of every block and of every readout on the validation pictures, and at the end
on the test pictures.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.depth import RATE, to_zero
from benchmarks.pictures import Pictures, drawn, load, say
from sigprop_snn.files import write_text_atomically
from sigprop_snn.layers.readout import Readout
from sigprop_snn.network import DotProductLoss, Network, Similarity, vgg
from sigprop_snn.training import LocalOptimizers, LocalSchedules

RATES = (2e-3, 4e-4, 1e-4, 2.5e-5)
LAST = "last block"
RATE_OF_LAST = 4e-4


class Readouts:
    """Linear readouts that learn beside a network's own, from the same traces.

    Args:
        readout: the network's own; it calls `read` in every pass.
        steps: time steps T.
        rates: the learning rate of each readout by its name.
    """

    def __init__(self, readout: Readout, steps: int, rates: dict[str, float]) -> None:
        self._gain = readout.gain(steps)
        self._rates = rates
        self._traces: tuple[Tensor, ...] = ()
        self._synapses: dict[str, nn.Linear] = {}
        self._optimizers: dict[str, torch.optim.Optimizer] = {}
        self._classes = readout.synapse.out_features
        readout.register_forward_hook(self.read)

    def read(self, readout: nn.Module, traces: tuple[Tensor, ...], scores: Tensor) -> None:
        """Keep the traces of a pass, each `[N, K]`."""
        self._traces = traces

    def scores(self, name: str, samples: int) -> Tensor:
        """Return the scores of a readout in the last pass, `[samples, C]`."""
        traces = self._traces[-1:] if name == LAST else self._traces
        joined = torch.cat([trace[:samples] for trace in traces], dim=1)
        if name not in self._synapses:
            self._synapses[name] = nn.Linear(joined.shape[1], self._classes)
            self._optimizers[name] = torch.optim.Adam(self._synapses[name].parameters(), fused=True)
        scores: Tensor = self._gain * self._synapses[name](joined)
        return scores

    def learn(self, labels: Tensor, left: float) -> None:
        """Learn from the last pass; `left` is the part of the run that is left."""
        for name, rate in self._rates.items():
            loss = F.cross_entropy(self.scores(name, len(labels)), labels)
            optimizer = self._optimizers[name]
            optimizer.param_groups[0]["lr"] = rate * left
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


@torch.no_grad()
def accuracies(
    network: Network, readouts: Readouts, names: list[str], pictures: Pictures, steps: int
) -> dict[str, float]:
    """Return the accuracy of every block and every readout in %."""
    network.eval()
    right: Counter[str] = Counter()
    for inputs, labels in pictures.batches(steps):
        scores = {
            stage.name: stage.scores for stage in network.stages(inputs) if stage.scores is not None
        }
        scores |= {name: readouts.scores(name, len(labels)) for name in names}
        for name, found in scores.items():
            right[name] += int((found.argmax(1) == labels).sum())
    return {name: 100 * count / len(pictures.y) for name, count in right.items()}


def main() -> None:
    """Train, print a row for each epoch, and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("data"))
    parser.add_argument("--rule", default="voltage")
    parser.add_argument("--train-samples", type=int)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=4, help="time steps T")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--dry", action="store_true", help="try it on a few drawn pictures")
    args = parser.parse_args()
    if args.dry:
        args.batch_size, args.epochs, data = 10, min(args.epochs, 2), drawn(8)
    else:
        data = load(args.folder, args.train_samples, 32, torch.device("cpu"))

    torch.manual_seed(args.seed)
    loss = DotProductLoss(grid=4) + 10 * Similarity(grid=8)
    network = vgg(tuple(data.train.x.shape[1:]), data.classes, rule=args.rule, sources=3, loss=loss)
    assert network.readout is not None
    names = {f"{rate:g}": rate for rate in RATES} | {LAST: RATE_OF_LAST}
    readouts = Readouts(network.readout, args.steps, names)
    optimizers = LocalOptimizers(network, partial(torch.optim.Adam, lr=RATE, fused=True))
    batches = args.epochs * (len(data.train.y) // args.batch_size)
    schedules = LocalSchedules(optimizers, to_zero, batches)
    random = torch.Generator().manual_seed(args.seed)
    measure = partial(accuracies, network, readouts, list(names), steps=args.steps)
    rows, done = [], 0
    for epoch in range(1, args.epochs + 1):
        network.train()
        for inputs, labels in data.train.changed(args.steps, args.batch_size, random):
            network.learn(inputs, labels, optimizers)
            schedules.step()
            done += 1
            readouts.learn(labels, 1 - done / batches)
        rows.append({"epoch": epoch, "validation": measure(pictures=data.validation)})
        say(f"epoch {epoch}, validation: {shown(rows[-1]['validation'])}")
    rows[-1]["test"] = measure(pictures=data.test)
    say(f"test: {shown(rows[-1]['test'])}")
    if args.json is not None:
        settings = {name: str(value) for name, value in vars(args).items() if name != "json"}
        features = network.readout.synapse.in_features
        result = {"settings": settings, "features": features, "epochs": rows}
        write_text_atomically(args.json, json.dumps(result, indent=1) + "\n")


def shown(found: dict[str, float]) -> str:
    """Return accuracies as text."""
    return ", ".join(f"{name} {value:.1f}" for name, value in found.items())


if __name__ == "__main__":
    main()
