"""Learn on a chip: a C program reads events from standard input, answers, and learns.

Writes an integer network with random weights and its learning as one C file, compiles it with
`events.c`, and sends it digits seen by a simulated event camera. The program knows nothing
at first, answers every digit, and learns from its label in integer arithmetic.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from sigprop_snn.data import load
from sigprop_snn.fixed_point import IntegerRule, integer_inputs, integer_mlp, write_c

STEPS = 12
PROGRAM = Path(__file__).with_name("events.c")


def lines(frames: Tensor, label: int) -> list[str]:
    """Return the lines for the frames of one digit, `[T, ...]`, and its label."""
    found = []
    for frame in frames.flatten(1):
        for index in frame.nonzero().flatten().tolist():
            found += [f"e {index}"] * int(frame[index])
        found.append("t")
    return [*found, f"a {label}"]


def main() -> None:
    """Compile, learn, and print the accuracy of the answers as they improve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=5, help="passes over the digits")
    parser.add_argument("--compiler", default="cc", help="the C compiler")
    parser.add_argument("--folder", type=Path, help="keep network.c and the program here")
    parser.add_argument("--quick", action="store_true", help="run for a few seconds only")
    args = parser.parse_args()
    if shutil.which(args.compiler) is None:
        sys.exit(f"--compiler is {args.compiler!r}, not on the path; expected a C compiler")
    data = load("digit-events", steps=STEPS, batch_size=64)
    first, _ = next(iter(data.train))
    hidden = (32,) if args.quick else (256, 256)
    learner = integer_mlp(
        integer_inputs(first, 1), 10, hidden=hidden, levels=1, rule=IntegerRule(refresh=16)
    )
    with tempfile.TemporaryDirectory() as made:
        folder = args.folder or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        source = write_c(learner, folder / "network.c", "digits of an event camera").resolve()
        program = (folder / "events").resolve()
        define = f'-DNETWORK="{source}"'
        command = [args.compiler, "-std=c99", "-O2", define, str(PROGRAM), "-o", str(program)]
        subprocess.run(command, check=True)
        stream, labels = [], []
        for epoch in range(1 if args.quick else args.epochs):
            data.train.set_epoch(epoch)
            for frames, batch in data.train:
                for row, label in enumerate(batch.tolist()):
                    stream += lines(frames[:, row], label)
                    labels.append(label)
        done = subprocess.run(
            [str(program)], input="\n".join(stream), capture_output=True, text=True, check=True
        )
    answers = torch.tensor([int(answer) for answer in done.stdout.split()])
    right = (answers == torch.tensor(labels)).float()
    for part, rows in enumerate(right.chunk(10)):
        print(f"digits {part * len(right) // 10:5}: {100 * float(rows.mean()):5.1f} % right")


if __name__ == "__main__":
    main()
