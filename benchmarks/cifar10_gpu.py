"""Train VGG8 on CIFAR-10 with a GPU, in slices of minutes.

    python benchmarks/cifar10_gpu.py --folder data --rule voltage --minutes 5 --out runs/voltage

The pictures lie on the device as bytes and are mirrored and shifted there. Each step is one CUDA
graph. A slice ends when its minutes are over; the same command goes on from there, and the weights
are those of an unbroken run within rounding. The folder gets `log.jsonl`, a line for each epoch as
it ends, and `checkpoint.pt`.

The learning rate falls to zero over `--epochs`, or with `--by-time` over the minutes of one slice.
Choices are made by the 2,500 validation pictures;
the test pictures are used once, after the last epoch.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import device_name
from benchmarks.pictures import Data, Pictures, drawn, load, percent, say
from sigprop_snn.network import DotProductLoss, Network, Similarity, vgg8
from sigprop_snn.training import GraphedStep, LocalOptimizers, evaluate
from sigprop_snn.training.evaluation import Evaluation

SIZE = 32


class Run:
    """A network, its optimizers, and how far they are.

    Args:
        given: the arguments of the command.
        data: the pictures.
        device: where they are.
    """

    def __init__(self, given: argparse.Namespace, data: Data, device: torch.device) -> None:
        self.given = given
        self.data = data
        self.device = device
        torch.manual_seed(given.seed)
        self.network = build(given, data.classes).to(device)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        on_gpu = device.type == "cuda"
        # Tensors, so that the graph sees every change of them.
        self.rate, self.readout_rate = (torch.tensor(given.rate, device=device) for _ in range(2))

        def adam(rate: Tensor) -> partial[torch.optim.Adam]:
            return partial(torch.optim.Adam, lr=rate, fused=True, capturable=on_gpu)

        self.optimizers = LocalOptimizers(
            self.network, adam(self.rate), {"readout": adam(self.readout_rate)}
        )
        precision = torch.bfloat16 if on_gpu and not given.float32 else None
        self.step = (
            GraphedStep(self.network, self.optimizers, precision=precision) if on_gpu else None
        )
        self.random = torch.Generator().manual_seed(given.seed)
        self.epoch = 0
        self.seconds = 0.0
        self.longest = 0.0  # seconds of the longest epoch but the first, which compiles
        self.checkpoint = given.out / "checkpoint.pt"

    def learn_epoch(self) -> None:
        """Learn from every picture once."""
        self.network.train()
        count = len(self.data.train.y) // self.given.batch_size
        batches = self.data.train.changed(self.given.steps, self.given.batch_size, self.random)
        for index, (inputs, labels) in enumerate(batches):
            self.set_rate(self.given.rate * (1.0 - self.done(index / count)))
            if self.step is not None:
                self.step(inputs, labels)
            else:
                self.network.learn(inputs, labels, self.optimizers.step)
        self.epoch += 1

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next step."""
        assert self.network.readout is not None  # the builder gives one
        self.rate.fill_(rate)
        self.readout_rate.fill_(rate * self.network.readout.rate)

    def done(self, part: float = 0.0) -> float:
        """Return which part of the run is done, `part` of an epoch after the last whole one."""
        if self.given.by_time:
            return min(1.0, (self.seconds + part * self.longest) / (60 * self.given.minutes))
        return (self.epoch + part) / self.given.epochs

    def is_over(self) -> bool:
        """Return whether no further epoch fits into the run."""
        return self.done(1.0 if self.given.by_time else 0.0) >= 1.0

    def evaluate(self, pictures: Pictures) -> Evaluation:
        """Evaluate the network on pictures."""
        with torch.autocast("cuda", torch.bfloat16, enabled=self.step is not None):
            return evaluate(self.network, pictures.batches(self.given.steps))

    def save(self) -> None:
        """Write the checkpoint; the one before stays until the new one is complete."""
        state = {
            "network": self.network.state_dict(),
            "optimizers": self.optimizers.state_dict(),
            "random": self.random.get_state(),
            "epoch": self.epoch,
            "seconds": self.seconds,
        }
        unfinished = self.checkpoint.with_suffix(".partial")
        torch.save(state, unfinished)
        unfinished.replace(self.checkpoint)

    def restore(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.optimizers.load_state_dict(state["optimizers"])
        for name, optimizer in self.optimizers.by_layer.items():
            for group in optimizer.param_groups:  # loading has put copies in place of the rates
                group["lr"] = self.readout_rate if name == "readout" else self.rate
        self.random.set_state(state["random"].cpu())
        self.epoch, self.seconds = state["epoch"], state["seconds"]
        say(f"continues after epoch {self.epoch}")


def build(given: argparse.Namespace, classes: int) -> Network:
    """Return VGG8 with the ingredients that the arguments leave in."""
    loss: Any = DotProductLoss(grid=given.grid)
    if not given.no_similarity:
        loss = loss + given.similarity * Similarity(given.similarity_kernel, given.similarity_grid)
    return vgg8(
        (3, SIZE, SIZE), classes, width=given.width, dropout=given.dropout, rule=given.rule,
        loss=loss, sources=1 if given.no_skips else 3, predict=given.predict,
    )  # fmt: skip


def shown(found: Evaluation) -> dict[str, Any]:
    """Return the results of an evaluation for the log."""
    return {
        "accuracy": found.accuracy,
        "blocks": [layer.accuracy for layer in found.layers],
        "spike_rates": [layer.spike_rate for layer in found.layers],
    }


def arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--folder", type=Path, help="pictures: train/<class>/ and test/<class>/")
    add("--cache", type=Path, help="file that keeps the decoded pictures for the next slice")
    add("--out", type=Path, required=True, help="folder of the log and the checkpoint")
    add("--minutes", type=float, default=float("inf"), help="of this slice")
    add("--epochs", type=int, default=100, help="of the whole run")
    add("--by-time", action="store_true", help="one slice: the rate falls with its minutes")
    add("--rule", choices=("voltage", "surrogate"), default="voltage")
    add("--predict", choices=("readout", "context", "both", "vote"), default="readout")
    add("--rate", type=float, default=2e-3, help="Adam's learning rate at the start")
    add("--width", type=float, default=1.0, help="factor of the maps")
    add("--dropout", type=float, default=0.0)
    add("--grid", type=int, default=7, help="positions a side that the loss compares")
    add("--similarity", type=float, default=10.0, help="weight of the similarity term")
    add("--similarity-kernel", type=int, default=3, help="0 for no convolution in it")
    add("--similarity-grid", type=int, help="its maps are averaged to this many positions a side")
    add("--steps", type=int, default=4, help="time steps T")
    add("--batch-size", type=int, default=128)
    add("--seed", type=int, default=0)
    add("--no-similarity", action="store_true", help="only the contexts' loss")
    add("--no-skips", action="store_true", help="only the block below")
    add("--float32", action="store_true", help="no bfloat16")
    add("--dry", action="store_true", help="drawn pictures and a narrow network, on the CPU")
    given = parser.parse_args()
    if given.dry:
        given.width, given.batch_size = 1 / 32, 4
    if given.by_time and given.minutes == float("inf"):
        parser.error("--by-time needs --minutes")
    if not given.dry and given.folder is None:
        parser.error("--folder is missing; it holds the pictures")
    return given


def main() -> None:
    """Train until the epochs or the minutes are over."""
    given = arguments()
    start = time.perf_counter()
    device = torch.device("cuda" if torch.cuda.is_available() and not given.dry else "cpu")
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    data = drawn(SIZE) if given.dry else load(given.folder, None, SIZE, device, given.cache)
    given.out.mkdir(parents=True, exist_ok=True)
    run = Run(given, data, device)
    run.restore()
    say(
        f"{given.rule} on {device_name(device)}: {len(data.train.y)} training, "
        f"{len(data.validation.y)} validation, {len(data.test.y)} test pictures"
    )
    with (given.out / "log.jsonl").open("a", encoding="utf-8") as log:
        while not run.is_over():
            if not given.by_time and time.perf_counter() - start + run.longest > 60 * given.minutes:
                say(f"the minutes are over after epoch {run.epoch}; the same command continues")
                return
            begin = time.perf_counter()
            run.learn_epoch()
            found = run.evaluate(data.validation)
            took = time.perf_counter() - begin
            run.longest = max(run.longest, took) if run.epoch > 1 else 0.0
            run.seconds += took
            row: dict[str, Any] = {"epoch": run.epoch, "seconds": run.seconds}
            row["validation"] = shown(found)
            blocks = " ".join(percent(layer.accuracy) for layer in found.layers)
            say(f"epoch {run.epoch}: validation {percent(found.accuracy)} ({blocks}), {took:.1f} s")
            if run.is_over():
                row["test"] = shown(run.evaluate(data.test))
                row["device"] = device_name(device)
                row["settings"] = {k: str(v) for k, v in vars(given).items()}
                blocks = " ".join(percent(each) for each in row["test"]["blocks"])
                say(f"test {percent(row['test']['accuracy'])} ({blocks})")
            log.write(json.dumps(row) + "\n")
            log.flush()
            run.save()


if __name__ == "__main__":
    main()
