"""Train the networks of a release, and write one file each: weights, recipe and log.

    python benchmarks/pretrained.py digits --out pretrained
    python benchmarks/pretrained.py mnist nmnist --data-root data --out pretrained

It prints the SHA-256 of each file, for `PRETRAINED` in sigprop_snn/training/release.py.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from sigprop_snn.training import TrainConfig, train, write_release

CONFIGS = {
    "digits": TrainConfig("digits", network="conv", epochs=10),
    "mnist": TrainConfig("mnist", network="conv"),
    "nmnist": TrainConfig("nmnist"),
}


def main() -> None:
    """Train, write the files, and print their hashes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+", choices=CONFIGS)
    parser.add_argument("--out", type=Path, default=Path("pretrained"))
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--epochs", type=int)
    args = parser.parse_args()
    for name in args.names:
        with tempfile.TemporaryDirectory() as folder:
            config = replace(CONFIGS[name], data_root=args.data_root, out=Path(folder) / "run")
            trained = train(config if args.epochs is None else replace(config, epochs=args.epochs))
            digest = write_release(trained, args.out / f"{name}.pt")
        accuracy = 100 * trained.summary["test_accuracy"]
        print(f"{args.out / name}.pt: test accuracy {accuracy:.2f} %, SHA-256 {digest}")


if __name__ == "__main__":
    main()
