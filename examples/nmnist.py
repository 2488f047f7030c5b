"""Train a convolutional spiking network on N-MNIST: digits recorded by a moving event camera.

The recordings are in NMNIST/Train/<digit>/*.bin and NMNIST/Test/<digit>/*.bin under the data root.
A partial copy of the data set works too.
"""

import argparse
from pathlib import Path

from sigprop_snn import plots
from sigprop_snn.figures import draw_run
from sigprop_snn.training import TrainConfig, train


def main() -> None:
    """Train with the recipe of the data set, and draw the figures of the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rule", choices=("voltage", "surrogate"), default="voltage")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--steps", type=int, help="time steps T of each recording")
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
            "nmnist",
            rule=args.rule,
            epochs=args.epochs,
            steps=args.steps,
            train_samples=args.train_samples,
            test_samples=args.test_samples,
            seed=args.seed,
            data_root=args.data_root,
            out=args.out,
        )
    )
    pictures = draw_run(trained)
    frames, _ = next(iter(trained.data.test))
    pictures.append(
        plots.save(plots.event_frames(frames[:, 0]), trained.folder.figures / "frames.png")
    )
    for picture in pictures:
        print(picture)


if __name__ == "__main__":
    main()
