"""Why two rules fail where others learn, with one switch each.

    python benchmarks/failures.py direct-random-target --json rows.json
    python benchmarks/failures.py feedback-alignment --data data --json rows.json

`direct-random-target` (DRTP) learns digits with rectified, saturating and spiking neurons. The
switch subtracts from every neuron's feedback weights their mean over the classes.

`feedback-alignment` learns the recordings of N-MNIST. The switch keeps the first blocks as they
were drawn, or starts with feedback weights that are copies of the forward weights, or gives it
more epochs.

Rows have the test accuracy, and of every block: the part of its activity that differs between
samples, the fraction of dead neurons, and how far its weights moved. Feedback alignment's rows
also have the cosine of each layer's weights with its feedback weights, blocks first. Adam with
2e-3, falling to zero; mean of the seeds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import sigprop_snn as sp
from benchmarks.cases import Samples, Stored, read
from benchmarks.pictures import say
from benchmarks.tables import load_rows, save_rows
from sigprop_snn.network.mode import evaluation_mode
from sigprop_snn.neurons import Rate
from sigprop_snn.rules import FeedbackAlignment
from sigprop_snn.surrogates import Relu, Sigmoid

DRTP, ALIGNMENT = "direct-random-target", "feedback-alignment"
RATE = 2e-3
BATCH = 32
NEURONS: dict[str, Callable[[], sp.Neuron]] = {
    "rectified": partial(Rate, surrogate=Relu()),
    "sigmoid": partial(Rate, surrogate=Sigmoid()),
    "lif": sp.LIF,
}


@dataclass(frozen=True)
class Variant:
    """One run.

    Attributes:
        rule: the learning rule.
        neuron: a name in `NEURONS`.
        epochs: passes over the training samples.
        centred: whether the feedback weights of a neuron have mean zero over the classes.
        frozen: how many of the first blocks keep the weights that were drawn.
        copied: whether the feedback weights start as copies of the forward weights.
        seed: of the weights and the order.
    """

    rule: str
    neuron: str
    epochs: int
    centred: bool
    frozen: int
    copied: bool
    seed: int


def variants(experiment: str, seeds: Sequence[int]) -> Iterator[Variant]:
    """Yield the runs of an experiment."""
    for seed in seeds:
        if experiment == DRTP:
            for neuron in NEURONS:
                for centred in (False, True):
                    yield Variant(DRTP, neuron, 5, centred, 0, False, seed)
        else:
            for rule, epochs, frozen, copied in (
                ("backpropagation", 5, 0, False), (ALIGNMENT, 5, 0, False),
                (ALIGNMENT, 5, 1, False), (ALIGNMENT, 5, 2, False), (ALIGNMENT, 5, 0, True),
                (ALIGNMENT, 20, 0, False),
            ):  # fmt: skip
                yield Variant(rule, "lif", epochs, False, frozen, copied, seed)


def run(variant: Variant, stored: Stored, steps: int, hidden: Sequence[int]) -> dict[str, Any]:
    """Train one variant; return its row."""
    torch.manual_seed(variant.seed)
    train = Samples(stored.train_x, stored.train_y, stored.scale, shift=stored_shift(stored))
    test = Samples(stored.test_x, stored.test_y, stored.scale)
    network = sp.mlp(
        train.shape, stored.classes, hidden=hidden, neuron=NEURONS[variant.neuron],
        rule=variant.rule,
    )  # fmt: skip
    if variant.centred:
        for fixed in network.rule.feedback:
            fixed.weight.sub_(fixed.weight.mean(0))
    if variant.copied:
        for weights, feedback in aligned(network):
            feedback.copy_(weights)
    for block in network.blocks[: variant.frozen]:
        block.requires_grad_(False)
    drawn = [weights.clone() for weights in weights_of(network)]
    rate = torch.tensor(RATE)
    optimizers = sp.LocalOptimizers(network, partial(torch.optim.Adam, lr=rate, fused=True))
    random = torch.Generator().manual_seed(variant.seed)
    batches, done = variant.epochs * (len(train.y) // BATCH), 0
    network.train()
    for _ in range(variant.epochs):
        for inputs, labels in train.epoch(steps, BATCH, random):
            rate.fill_(RATE * (1 - done / batches))
            network.learn(inputs, labels, optimizers.step)
            done += 1
    now = zip(weights_of(network), drawn, strict=True)
    pairs = aligned(network) if variant.rule == ALIGNMENT else []
    activity = activities(network, next(test.batches(steps))[0])
    return {
        **asdict(variant),
        "accuracy": sp.evaluate(network, test.batches(steps)).accuracy,
        "differs": [float((a - a.mean(0)).norm() / a.norm()) for a in activity],
        "silent": [float((a == 0).all(0).float().mean()) for a in activity],
        "cosines": [float(cosine_similarity(a.flatten(), b.flatten(), 0)) for a, b in pairs],
        "moved": [float((weights - old).norm() / old.norm()) for weights, old in now],
        "updates": done,
    }


def stored_shift(stored: Stored) -> int:
    """Return the shift of training samples: recordings are shifted, as their recipe does."""
    return 2 if stored.train_x.dim() == 5 else 0


def weights_of(network: sp.Network) -> list[Tensor]:
    """Return the weights of every block's synapse."""
    found = (block.synapse.parameters() for block in network.each_block())
    return [next(p for p in each if p.dim() > 1).detach() for each in found]


def aligned(network: sp.Network) -> list[tuple[Tensor, Tensor]]:
    """Return the weights and the feedback weights of every layer under feedback alignment."""
    rule = network.rule
    assert isinstance(rule, FeedbackAlignment) and network.readout is not None
    back = [part.weight for parts in rule.feedback for part in parts]
    forward = [*weights_of(network), network.readout.synapse.weight.detach()]
    return list(zip(forward, [*back, rule.readout_feedback.weight], strict=True))


def activities(network: sp.Network, inputs: Tensor) -> list[Tensor]:
    """Return the mean activity over time of every block, `[B, N]`."""
    found = []
    with torch.no_grad(), evaluation_mode(network):
        for stage in network.stages(inputs):
            if stage.response is not None:
                spikes = stage.response.run.spike[:, : inputs.shape[1]]
                found.append(spikes.float().mean(0).flatten(1))
    return found


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the mean of the seeds of every variant, in %."""
    lines = [
        "| rule | neuron | epochs | centred | frozen | copied | accuracy "
        "| differs | silent | moved | cosines |",
        "|" + "---|" * 11,
    ]
    names = ("rule", "neuron", "epochs", "centred", "frozen", "copied")
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    for values, group in groups.items():
        accuracies = [100 * row["accuracy"] for row in group]
        blocks = (
            " ".join(f"{statistics.fmean(v):.2f}" for v in zip(*(r[n] for r in group), strict=True))
            for n in ("differs", "silent", "moved", "cosines")
        )
        lines.append(
            f"| {' | '.join(map(str, values))} | {statistics.fmean(accuracies):.1f} "
            f"({min(accuracies):.1f} to {max(accuracies):.1f}) | {' | '.join(blocks)} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run the variants of an experiment that the file does not hold; print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiment", choices=(DRTP, ALIGNMENT))
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with NMNIST")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--hidden", type=int, nargs="+", help="neurons of every block")
    parser.add_argument("--json", type=Path, required=True, help="file of the rows")
    args = parser.parse_args()
    events = args.experiment == ALIGNMENT
    stored = read("nmnist", args.data, 10) if events else read("digits", args.data, 0)
    hidden = args.hidden or ((800, 800) if events else (200, 200))
    rows = load_rows(args.json)
    done = [{name: row[name] for name in Variant.__dataclass_fields__} for row in rows]
    for variant in variants(args.experiment, args.seeds):
        if asdict(variant) in done:
            continue
        steps = 1 if variant.neuron != "lif" else 10 if events else 8
        rows.append(run(variant, stored, steps, hidden))
        save_rows(args.json, rows)
        say(f"{variant}: {100 * rows[-1]['accuracy']:.1f} %")
    print(table(rows))


if __name__ == "__main__":
    main()
