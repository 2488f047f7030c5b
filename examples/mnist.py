"""Train a fully connected or convolutional spiking network on MNIST or Fashion-MNIST."""

import argparse
from pathlib import Path

from sigprop_snn.figures import draw_run
from sigprop_snn.training import TrainConfig, train


def main() -> None:
    """Train with the recipe of the data set, and draw the figures of the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rule", choices=("voltage", "surrogate"), default="voltage")
    parser.add_argument("--network", choices=("mlp", "conv"), default="mlp")
    parser.add_argument("--fashion", action="store_true", help="Fashion-MNIST instead of MNIST")
    parser.add_argument("--encoding", choices=("direct", "rate"), default="direct")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--train-samples", type=int)
    parser.add_argument("--test-samples", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, help="run folder (default: a new one under runs)")
    parser.add_argument("--quick", action="store_true", help="run for a few seconds only")
    args = parser.parse_args()
    if args.quick:
        args.epochs, args.train_samples, args.test_samples = 1, 100, 20

    trained = train(
        TrainConfig(
            "fashion-mnist" if args.fashion else "mnist",
            rule=args.rule,
            network=args.network,
            encoding=args.encoding,
            epochs=args.epochs,
            train_samples=args.train_samples,
            test_samples=args.test_samples,
            seed=args.seed,
            data_root=args.data_root,
            out=args.out,
        )
    )
    for picture in draw_run(trained):
        print(picture)


if __name__ == "__main__":
    main()
