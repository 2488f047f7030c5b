"""Measure during training how each layer learns.

Three measures for each layer: the angle between the rule's update and backpropagation's gradient,
the cosine of samples with the contexts, and the accuracy of a linear probe on the spike counts.
"""

import argparse
import json
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from sigprop_snn import plots
from sigprop_snn.analysis import separability, stream_alignment, update_angles
from sigprop_snn.data import load
from sigprop_snn.files import write_text_atomically
from sigprop_snn.network import Network
from sigprop_snn.training import (
    SCHEDULES,
    LocalOptimizers,
    LocalSchedules,
    TrainConfig,
    build_network,
    evaluate,
)

Batches = list[tuple[torch.Tensor, torch.Tensor]]
History = dict[str, dict[str, list[float]]]  # measure -> layer -> one value for each point


def main() -> None:
    """Train and measure, print the last angles, and draw the measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--rule", default="voltage", help="voltage, surrogate, or another")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--points", type=int, default=8, help="measurements during training")
    parser.add_argument("--train-samples", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("evidence.png"))
    parser.add_argument("--json", type=Path, help="add the last angles to this file")
    parser.add_argument("--quick", action="store_true", help="400 digits, two points")
    args = parser.parse_args()
    if args.quick:
        args.dataset, args.train_samples, args.points = "digits", 400, 1

    config = TrainConfig(
        args.dataset, rule=args.rule, epochs=args.epochs, seed=args.seed
    ).resolved()
    data = load(
        args.dataset,
        root=args.data_root,
        steps=config.steps,
        batch_size=config.batch_size,
        train_samples=args.train_samples,
        seed=args.seed,
    )
    network = build_network(config, data.shape, len(data.classes))
    optimizers = LocalOptimizers(
        network, lambda weights: torch.optim.Adam(weights, lr=config.learning_rate)
    )
    count = config.epochs * len(data.train)
    schedules = LocalSchedules(optimizers, SCHEDULES[config.schedule], count)
    probed = list(islice(data.train, 2500 // config.batch_size))
    tested = list(islice(data.test, 2500 // config.batch_size))

    points = {round(count * point / args.points) for point in range(args.points + 1)}
    seen: list[int] = []
    history: History = {"angle": {}, "same": {}, "other": {}, "probe": {}}
    for batch in range(count + 1):
        if batch in points:
            seen.append(min(batch * config.batch_size, config.epochs * data.train.samples))
            measure(network, probed, tested, history)
        if batch % len(data.train) == 0:
            data.train.set_epoch(batch // len(data.train))
            batches = iter(data.train)
        if batch < count:
            network.learn(*next(batches), optimizers.step)
            schedules.step()

    accuracy = evaluate(network, data.test).accuracy
    print(f"{args.rule} rule, seed {args.seed}: test accuracy {accuracy:.4f}; angles:")
    last = angles(network, probed)
    for layer, degrees in last.items():
        print(
            f"  {layer}: {fmean(degrees):.1f} degrees (batches {min(degrees):.1f} to "
            f"{max(degrees):.1f})"
        )
    if args.json is not None:
        keep(
            args.json,
            {
                "dataset": args.dataset,
                "rule": args.rule,
                "seed": args.seed,
                "epochs": config.epochs,
                "test_accuracy": accuracy,
                "mean_degrees": {layer: fmean(degrees) for layer, degrees in last.items()},
                "batch_degrees": last,
            },
        )
    print(draw(seen, history, f"{args.dataset}, {args.rule} rule", args.out))


def angles(network: Network, batches: Batches) -> dict[str, list[float]]:
    """Return the angles of each layer, one for each of the first eight batches."""
    found = [update_angles(network, *batch) for batch in batches[:8]]
    return {
        layers[0].name: [layer.degrees for layer in layers] for layers in zip(*found, strict=True)
    }


def measure(network: Network, probed: Batches, tested: Batches, history: History) -> None:
    """Add a point: angles on training batches, the other measures on test samples."""
    for name, degrees in angles(network, probed).items():
        history["angle"].setdefault(name, []).append(fmean(degrees))
    for aligned in stream_alignment(network, *tested[0]):
        history["same"].setdefault(aligned.name, []).append(aligned.same)
        history["other"].setdefault(aligned.name, []).append(aligned.other)
    for probe in separability(network, probed, tested):
        history["probe"].setdefault(probe.name, []).append(probe.accuracy)


def keep(path: Path, row: dict[str, Any]) -> None:
    """Replace the row of a data set, rule and seed in the file."""
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    same = ("dataset", "rule", "seed")
    rows = [r for r in rows if any(r[name] != row[name] for name in same)]
    write_text_atomically(path, json.dumps([*rows, row], indent=1) + "\n")


def draw(seen: list[int], history: History, title: str, out: Path) -> Path:
    """Draw the three measures side by side."""
    left, middle, right = plots.axes_row(3, title=title)
    plots.update_angles(seen, history["angle"], ax=left)
    plots.stream_alignment(seen, history["same"], history["other"], ax=middle)
    plots.separability(seen, history["probe"], ax=right)
    return plots.save(left, out)


if __name__ == "__main__":
    main()
