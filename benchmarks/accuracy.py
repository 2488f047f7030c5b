"""Test accuracy over seeds: the rows of the README's table.

    python benchmarks/accuracy.py digits digit-events --json benchmarks/results/accuracy.json
    python benchmarks/accuracy.py mnist --rules hebbian --seeds 0 --batch-size 128 --no-augment

Each number is that of the last epoch, from `sigprop-snn train DATASET --rule RULE --seed SEED` with
the default recipe, or with the given options. The file keeps its rows of other data sets, rules,
networks and neurons.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch

from sigprop_snn.files import write_text_atomically
from sigprop_snn.training import RECIPES, TrainConfig, train


def main() -> None:
    """Train every data set under every rule and seed, and print a row for each pair."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("datasets", nargs="+", choices=RECIPES, metavar="DATASET")
    parser.add_argument("--rules", nargs="+", default=["voltage", "surrogate"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--network")
    parser.add_argument("--neuron", help="a neuron other than the rule's")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--no-augment", action="store_true", help="do not shift training samples")
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--json", type=Path, help="add the rows to this file")
    args = parser.parse_args()

    for dataset in args.datasets:
        for rule in args.rules:
            summaries = []
            for seed in args.seeds:
                with tempfile.TemporaryDirectory() as folder:
                    config = TrainConfig(
                        dataset,
                        rule=rule,
                        seed=seed,
                        network=args.network,
                        neuron=args.neuron,
                        epochs=args.epochs,
                        batch_size=args.batch_size,
                        augment=False if args.no_augment else None,
                        data_root=args.data_root,
                        out=Path(folder) / "run",
                    )
                    summaries.append(train(config, say=lambda _: None).summary)
            if args.json is not None:
                _keep(args.json, dataset, rule, args, summaries)
            print(_row(dataset, rule, args.seeds, summaries), flush=True)


def _keep(
    path: Path,
    dataset: str,
    rule: str,
    args: argparse.Namespace,
    summaries: list[dict[str, Any]],
) -> None:
    """Replace the row of a data set, rule, network and neuron in the file."""
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    first = summaries[0]
    found = [summary["test_accuracy"] for summary in summaries]
    row = {
        "dataset": dataset,
        "rule": rule,
        **{name: first[name] for name in ("network", "steps", "epochs")},
        "neuron": args.neuron,
        "batch_size": args.batch_size,
        "augment": False if args.no_augment else None,
        "seeds": args.seeds,
        "test_accuracies": found,
        "mean": statistics.fmean(found),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    # Without a value, a setting is the recipe's.
    row = {name: value for name, value in row.items() if value is not None}
    same = ("dataset", "rule", "network", "neuron")
    rows = [r for r in rows if any(r.get(name) != row.get(name) for name in same)]
    write_text_atomically(path, json.dumps([*rows, row], indent=1) + "\n")


def _row(dataset: str, rule: str, seeds: list[int], summaries: list[dict[str, float]]) -> str:
    found = [100 * summary["test_accuracy"] for summary in summaries]
    first = summaries[0]
    spread = f" ({min(found):.2f} to {max(found):.2f})" if len(found) > 1 else ""
    return (
        f"| {dataset} | {rule} | {first['network']}, T = {first['steps']}, "
        f"{first['epochs']} epochs | {statistics.fmean(found):.2f}{spread} | "
        f"{', '.join(map(str, seeds))} |"
    )


if __name__ == "__main__":
    main()
