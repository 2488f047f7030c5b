"""Measure what every block of a network adds, on pictures: does depth pay?

    python benchmarks/depth.py --folder data --rules voltage,surrogate,backpropagation \
        --train-samples 20000 --epochs 20 --seeds 2 --json depth.json --figure depth.png

Trains each rule on the same network, pictures and number of batches. Every block then has its
nearest-context accuracy and the accuracy of a linear probe, on the test pictures. Each finished
run is written to the JSON file at once. A run that the file holds already is not repeated, so a
second call continues, and a call with other switches adds its rows: `--no-centring
--no-similarity --no-skips` trains the same networks without the three ingredients.

`--preset authors` trains the recipe of the authors of signal propagation for rate networks on the
same network, pictures and number of batches; see `authors`.

Choices are made by the validation pictures, which are taken out of the training folder. The test
pictures are used once, when a run has ended.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.cases import normalise_by_batch
from benchmarks.common import OutOfTimeError, device_name
from benchmarks.pictures import Data, load, percent, say
from sigprop_snn.analysis import depth_profile
from sigprop_snn.device import keep_freed_memory
from sigprop_snn.files import write_text_atomically
from sigprop_snn.network import (
    DotProductLoss,
    LocalLoss,
    Network,
    ProjectedContext,
    Similarity,
    TopSamples,
    conv,
    vgg,
    vgg8,
)
from sigprop_snn.neurons import Rate
from sigprop_snn.rules import LocalReadout
from sigprop_snn.shapes import Layout
from sigprop_snn.surrogates import LeakyRelu
from sigprop_snn.training import GraphedStep, LocalOptimizers, LocalSchedules, evaluate

RATE = 2e-3  # Adam's learning rate at the start
PROBE_SAMPLES = 10_000  # training pictures that fit the probes
SOURCES = 3  # blocks that each block receives
SIMILARITY = 10.0  # weight of the similarity term
BACKPROPAGATION = "backpropagation"
PREDSIM = "predsim"
REFERENCES = (BACKPROPAGATION, PREDSIM)  # their normaliser is batch norm
AUTHORS = "authors"
SWITCHES = ("centring", "similarity", "skips")
LINES = {"all three": "-", "none": ":"}

BUILDERS: dict[str, Callable[..., Network]] = {"six": vgg, "vgg8": vgg8, "conv": conv}


@dataclass(frozen=True)
class DepthCase:
    """One run.

    Backpropagation uses neither centring nor similarity: its rows have False for both. Predsim is
    the local loss of Noekland and Eidnes (2019): a learned readout and similarity at every block.

    Attributes:
        rule: a name in `RULES`, or "predsim".
        neuron: a name in `NEURONS`.
        network: a name in `BUILDERS`.
        width: factor of the maps of vgg8.
        seed: of the weights, the order of the pictures and their changes.
        epochs: passes over the training pictures.
        train_samples: number of training pictures.
        batch_size: pictures in a batch.
        size: side of the pictures.
        steps: time steps T; the picture is the same at each.
        centring: whether blocks learn from centred traces; "running" subtracts running means.
        similarity: whether the loss has a similarity term.
        skips: whether blocks receive the three blocks below.
        preset: "authors" for the network that `authors` makes, or none.
        grid: positions per side that the loss compares; if none, 7 at 32 pixels, and as dense else.
        dropout: fraction of a block's output maps that are set to zero while training, or none.
    """

    rule: str
    neuron: str
    network: str
    width: float
    seed: int
    epochs: int
    train_samples: int
    batch_size: int
    size: int
    steps: int
    centring: bool | str
    similarity: bool
    skips: bool
    preset: str | None = None
    grid: int | None = None
    dropout: float | None = None


def build(case: DepthCase, classes: int) -> Network:
    """Return the network of a case, with weights that its seed gives."""
    torch.manual_seed(case.seed)
    if case.preset == AUTHORS:
        return authors(case, classes)
    rule = partial(LocalReadout, learned=True) if case.rule == PREDSIM else case.rule
    make = partial(builder(case, classes), neuron=case.neuron, rule=rule)
    if case.rule in REFERENCES:
        loss = loss_of(case) if case.rule == PREDSIM else None
        network = make(shift=0.0, centred=False, loss=loss)
        normalise_by_batch(network)
        return network
    return make(centred=case.centring, loss=loss_of(case))


def builder(case: DepthCase, classes: int) -> Callable[..., Network]:
    """Return the builder of a case's network, with its shape and its switches."""
    options: dict[str, Any] = {}
    if case.network == "vgg8":
        options["width"] = case.width
    if case.dropout is not None:
        options["dropout"] = case.dropout
    if case.skips:
        options["sources"] = SOURCES
    return partial(BUILDERS[case.network], (3, case.size, case.size), classes, **options)


def authors(case: DepthCase, classes: int) -> Network:
    """Return the network with the recipe of the authors of signal propagation for rate networks.

    From github.com/amassivek/signalpropagation, `examples/ex4_input_target_topk.py`:

    - The first block and the projection of the contexts are the learned signal. The block is a
      convolution, batch norm and a rectifier. The projection is a linear layer, a layer norm with
      weights, and the same rectifier.
    - The other blocks have instance norm with weights (statistics of each map of each picture, with
      their gradient) and a leaky rectifier. A fully connected block has layer norm.
    - The score is the product h.t, summed over the maps and averaged over all positions.
    - The targets are soft: of the contexts of the batch, one for each sample, the six most similar
      to the right one at the block's input. Here each of the C contexts is compared once, so that
      the frequencies of the classes in the batch change the targets, but not the scores.

    The normalisers are not affine, so there is no closed form: the surrogate rule learns by
    autograd within each block. Adam and the readout are those of the other cases.
    """

    def signal(layout: Layout) -> ProjectedContext:
        return ProjectedContext(layout.classes, layout.currents[0], scaled=True)

    network = builder(case, classes)(
        neuron=Rate(surrogate=LeakyRelu(0.01)),
        rule=case.rule,
        signal=signal,
        loss=DotProductLoss(scale=1.0, grid=case.size, normalise="none", select=TopSamples(6)),
        centred=False,
    )
    first, *others = network.each_block()
    first.neuron, first.norm = Rate(), nn.BatchNorm2d(first.norm.gain.numel())
    for block in others:
        maps = isinstance(block.synapse, nn.Conv2d)
        channels = block.norm.gain.numel()
        norm = nn.InstanceNorm2d(channels, affine=True) if maps else nn.LayerNorm(channels)
        block.norm = norm
    return network


def loss_of(case: DepthCase) -> LocalLoss:
    """Return the local loss of a case; its grid keeps the density of 7 positions at 32 pixels."""
    compared = DotProductLoss(grid=case.grid or max(1, round(7 * case.size / 32)))
    if not case.similarity:
        return compared
    return compared + SIMILARITY * Similarity()


def to_zero(optimizer: Optimizer, batches: int) -> LRScheduler:
    """Let the learning rate fall by the same amount in every batch, to zero."""
    return LambdaLR(optimizer, lambda batch: 1 - batch / batches)


def learner(
    case: DepthCase, network: Network, *, graphed: bool
) -> tuple[Callable[[Tensor, Tensor], object], LocalOptimizers]:
    """Return a learning step and its optimizers.

    Args:
        case: the case.
        network: its network, on the device.
        graphed: whether a GPU replays the step as one CUDA graph, for rules that allow it.
    """
    graphed = graphed and case.rule not in REFERENCES

    def adam(weights: Iterable[nn.Parameter], factor: float = 1.0) -> Optimizer:
        rate: Any = RATE * factor
        if graphed:
            rate = torch.tensor(rate, device="cuda")  # a graph reads it at every step
        return torch.optim.Adam(weights, lr=rate, fused=True, capturable=graphed)

    assert network.readout is not None  # every builder gives one
    optimizers = LocalOptimizers(
        network, adam, {"readout": partial(adam, factor=network.readout.rate)}
    )
    if not graphed:
        return partial(network.learn, update=optimizers), optimizers
    return GraphedStep(network, optimizers), optimizers


def run(case: DepthCase, data: Data, deadline: float, *, graphed: bool = False) -> dict[str, Any]:
    """Train and measure one case; return its row.

    Raises:
        OutOfTimeError: if the deadline passes before the last batch.
    """
    device = data.train.x.device
    started = time.perf_counter()
    network = build(case, data.classes).to(device)
    if device.type == "cuda":
        network.to(memory_format=torch.channels_last)
    learn, optimizers = learner(case, network, graphed=graphed)
    batches = case.epochs * (len(data.train.y) // case.batch_size)
    schedules = LocalSchedules(optimizers, to_zero, batches)
    random = torch.Generator().manual_seed(case.seed)
    found = None
    for epoch in range(1, case.epochs + 1):
        network.train()
        for inputs, labels in data.train.changed(case.steps, case.batch_size, random):
            if time.perf_counter() > deadline:
                raise OutOfTimeError
            learn(inputs, labels)
            schedules.step()
        found = evaluate(network, data.validation.batches(case.steps))
        blocks = " ".join(percent(layer.accuracy) for layer in found.layers)
        spent = time.perf_counter() - started
        say(f"  epoch {epoch}: validation {percent(found.accuracy)} ({blocks}), {spent:.0f} s")
    seconds = time.perf_counter() - started
    tested = data.test.batches(case.steps)
    profile = depth_profile(network, data.train.batches(case.steps, PROBE_SAMPLES), tested)
    return {
        **asdict(case),
        "blocks": [asdict(block) for block in profile],
        "validation_accuracy": found.accuracy if found is not None else None,
        "test_accuracy": evaluate(network, tested).accuracy,
        "seconds": seconds,
        "device": device_name(device),
    }


def read_rows(path: Path | None) -> list[dict[str, Any]]:
    """Return the rows that a file holds; none if there is no file.

    Raises:
        SystemExit: if it holds something else.
    """
    if path is None or not path.exists():
        return []
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        rows = None
    if isinstance(rows, list) and all(isinstance(row, dict) and "rule" in row for row in rows):
        return rows
    raise SystemExit(f"{path} holds no rows of this benchmark; give --json another file")


def key(row: dict[str, Any]) -> tuple[Any, ...]:
    """Return what tells one run from others."""
    return tuple(row.get(name) for name in DepthCase.__dataclass_fields__)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as a table: nearest context and probe, block by block."""
    lines = [
        "| rule | centring, similarity, skips | seed | nearest context | probe | spike rate "
        "| contexts' cosine | mean's share | network | seconds |",
        "|" + "---|" * 10,
    ]
    for row in rows:
        switches = ", ".join("yes" if row[name] else "no" for name in SWITCHES)
        blocks = row["blocks"]
        lines.append(
            f"| {title(row)} | {switches} | {row['seed']} "
            + "".join(
                f"| {' '.join(percent(block[name]) for block in blocks)} "
                for name in ("context_accuracy", "probe_accuracy", "spike_rate")
            )
            + "".join(
                f"| {' '.join(number(block[name]) for block in blocks)} "
                for name in ("context_cosine", "mean_input_share")
            )
            + f"| {percent(row['test_accuracy'])} | {row['seconds']:.0f} |"
        )
    return "\n".join(lines)


def title(row: dict[str, Any]) -> str:
    """Return the rule of a row, and what else differs between the rows of a table."""
    names = [name for name in ("preset", "grid", "dropout") if row.get(name) is not None]
    settings = [f"{name} {row[name]}" for name in names]
    return ", ".join([row["rule"], row["neuron"], f"T = {row['steps']}", *settings])


def number(value: float | None) -> str:
    """Return a number with two digits, or a dash."""
    return "-" if value is None else f"{value:.2f}"


def figure(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw accuracy over depth: nearest context on the left, linear probe on the right."""
    from sigprop_snn import plots
    from sigprop_snn.plots.style import DASHED, GREY, PALETTE, dress, label_ends, ticks

    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["rule"], variant(row)), []).append(row)
    rules = dict.fromkeys(row["rule"] for row in rows if row["rule"] != BACKPROPAGATION)
    colours = dict(zip(rules, PALETTE, strict=False)) | {BACKPROPAGATION: GREY}
    left, right = plots.axes_row(2, size=(11.5, 4.2))
    for ax, name, title in (
        (left, "context_accuracy", "nearest context (%), and the network of backpropagation"),
        (right, "probe_accuracy", "linear probe (%)"),
    ):
        dress(ax, title=title, x_label="block", grid="y")
        ends = []
        for (rule, which), group in groups.items():
            values, marker = over_depth(group, name), "o"
            if not values:  # backpropagation compares no contexts: draw the mark to reach
                marker = ""
                values = [100 * fmean(row["test_accuracy"] for row in group)]
                values *= len(group[0]["blocks"])
            after = which == "all three"
            ax.plot(
                range(1, len(values) + 1), values, color=colours[rule], marker=marker,
                markersize=3.8, markerfacecolor=colours[rule] if after else "white",
                linewidth=1.8 if after else 1.3,
                linestyle=DASHED if rule == BACKPROPAGATION else LINES.get(which, "-."),
            )  # fmt: skip
            short = "backprop" if rule == BACKPROPAGATION else rule
            ends.append((values[-1], f"{short} {which} {values[-1]:.1f}", colours[rule]))
        ax.xaxis.set_major_locator(ticks(8, whole=True))
        label_ends(ax, ends)
    plots.save(left, path)


def variant(row: dict[str, Any]) -> str:
    """Return the name of a row's ingredients. Of the references' only skips is shown."""
    if row["rule"] in REFERENCES:
        return "" if row["skips"] else "no skips"
    if row.get("preset") is not None:
        return row["preset"]
    used = [name for name in SWITCHES if row[name]]
    unused = [f"no {name}" for name in SWITCHES if not row[name]]
    return ("none", used[0] if used else "", unused[0] if unused else "", "all three")[len(used)]


def over_depth(group: Sequence[dict[str, Any]], name: str) -> list[float]:
    """Return the mean over seeds of one measure for each block, in per cent; empty if unknown."""
    columns = list(zip(*(row["blocks"] for row in group), strict=True))
    if any(block[name] is None for column in columns for block in column):
        return []
    return [100 * fmean(block[name] for block in column) for column in columns]


def arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder", type=Path, required=True,
        help="pictures: train/<class>/ and test/<class>/, or a folder with cifar10-jpeg in it",
    )  # fmt: skip
    parser.add_argument("--cache", type=Path, help="file that keeps the decoded pictures")
    parser.add_argument("--network", choices=BUILDERS, default="six")
    parser.add_argument("--width", type=float, default=1.0, help="factor of the maps of vgg8")
    parser.add_argument("--rules", default="voltage,surrogate,backpropagation")
    parser.add_argument("--neuron", default="lif", help="for rate, one step is enough")
    parser.add_argument(
        "--preset", choices=[AUTHORS],
        help="the authors' recipe for rate networks; it sets rule, neuron, steps and switches",
    )  # fmt: skip
    parser.add_argument("--train-samples", type=int, help="all but the validation's if not given")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=1, help="how many, from 0")
    parser.add_argument("--steps", type=int, default=4, help="time steps T")
    parser.add_argument("--size", type=int, default=32, help="side to which pictures are averaged")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--grid", type=int, help="positions per side that the loss compares")
    parser.add_argument("--dropout", type=float, help="fraction of the maps, for six and vgg8")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--graphed", action="store_true", help="on a GPU: replay each step as one CUDA graph"
    )
    parser.add_argument(
        "--running-mean", action="store_true", help="centre by a running mean of each channel"
    )
    parser.add_argument("--no-centring", action="store_true", help="plain presynaptic traces")
    parser.add_argument("--no-similarity", action="store_true", help="only the contexts' loss")
    parser.add_argument("--no-skips", action="store_true", help="only the block below")
    parser.add_argument("--json", type=Path, metavar="FILE", help="rows are added to this file")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="PNG of accuracy over depth")
    parser.add_argument("--minutes", type=float, help="stop when they are over")
    return parser.parse_args()


def main() -> None:
    """Train the cases, write their rows, and draw them."""
    given = arguments()
    deadline = float("inf")
    if given.minutes is not None:
        deadline = time.perf_counter() + 60 * given.minutes
    device = torch.device(given.device)
    if given.preset == AUTHORS:
        given.rules, given.neuron, given.steps = "surrogate", "rate", 1
        given.no_centring = given.no_similarity = given.no_skips = True
    if given.dropout is not None and given.network == "conv":
        raise SystemExit("--dropout needs the network six or vgg8; it is conv")
    if given.graphed and device.type != "cuda":
        raise SystemExit(f"--graphed needs --device cuda; it is {given.device}")
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    keep_freed_memory()
    rows = read_rows(given.json)
    data = load(given.folder, given.train_samples, given.size, device, given.cache)
    centring = "running" if given.running_mean else not given.no_centring
    cases = [
        DepthCase(
            rule, given.neuron, given.network, given.width, seed, given.epochs, len(data.train.y),
            given.batch_size, given.size, given.steps,
            centring=rule not in REFERENCES and centring,
            similarity=rule != BACKPROPAGATION and not given.no_similarity,
            skips=not given.no_skips,
            preset=given.preset,
            grid=given.grid,
            dropout=given.dropout,
        )
        for seed in range(given.seeds)
        for rule in given.rules.split(",")
    ]  # fmt: skip
    known = {key(row) for row in rows}
    missing = [case for case in cases if key(asdict(case)) not in known]
    say(
        f"{len(data.train.y)} training, {len(data.validation.y)} validation and "
        f"{len(data.test.y)} test pictures; {len(missing)} of {len(cases)} runs to do"
    )
    while missing:
        case = missing[0]
        say(
            f"{case.rule}, {case.neuron}, {case.network}, seed {case.seed}, {variant(asdict(case))}"
        )
        try:
            rows.append(run(case, data, deadline, graphed=given.graphed))
        except OutOfTimeError:
            names = ", ".join(f"{each.rule} seed {each.seed}" for each in missing)
            say(f"out of time; missing: {names}")
            break
        missing.pop(0)
        if given.json is not None:
            write_text_atomically(given.json, json.dumps(rows, indent=1) + "\n")
    alike = ("neuron", "network", "size", "epochs", "train_samples")
    wanted = [getattr(cases[0], name) for name in alike]
    shown = [row for row in rows if [row[name] for name in alike] == wanted]
    say(f"\n{table(shown)}")
    settings = ("steps", "grid", "dropout")
    wanted = [getattr(cases[0], name) for name in settings]
    drawn = [row for row in shown if [row.get(name) for name in settings] == wanted]
    if given.figure is not None and drawn:
        figure(drawn, given.figure)


if __name__ == "__main__":
    main()
