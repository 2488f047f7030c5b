"""Simulate training on 4 to 1,024 devices, beside the schedules of backpropagation.

    python benchmarks/block_costs.py --network vgg8 --json benchmarks/results/block_costs_vgg8.json
    python benchmarks/simulate_parallel.py --costs benchmarks/results/block_costs_vgg8.json \
        --json benchmarks/results/simulate_parallel.json \
        --table benchmarks/results/simulate_parallel.csv \
        --figure benchmarks/results/simulate_parallel.png

Two networks. VGG8 has few layers, so more devices hold replicas of its stages, each with a batch of
128. The deep network has 1,024 copies of VGG8's block3 in a row; each device holds as many as any
other. `schedules.py` has the simulation and the formulas. The assumptions:

- Devices are equal, and take the same time for every batch. A stage computes while its messages
  travel. A link has its nominal bandwidth, in both directions at once.
- Seconds are a fixed part and a part for each row, as `block_costs.py` measured them. For a GPU
  they are scaled by one factor for each method, so that a step of VGG8 takes the time that `gpu.py`
  measured.
- Signal propagation: a stage sends to the next one. Spikes travel with one bit for each neuron and
  step, contexts with the samples, and those of other blocks that the readout reads in small maps.
  Weights learn from a batch before the next one comes. Replicas reduce the gradients of a block by
  a ring, while other blocks compute, and the sums of a normaliser by a tree, which the block waits
  for.
- Backpropagation: its formulas have equal stages, so the longest stage gives the seconds of all.
  They count no communication. We add only that no batch is shorter than the busiest link needs for
  its spikes (packed) and gradients (float32), and the part of the replicas' all-reduce that the
  last microbatch's backward pass does not hide. The number of microbatches is the best power of 2.
- Memory: weights, gradients and Adam's averages, activity, and buffers of messages. The activity of
  backpropagation is that of as many microbatches as the formula keeps.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate, groupby
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.block_costs import READOUT, NetworkCost
from benchmarks.schedules import FORMULAS, Backward, Link, Schedule, Work, simulate
from sigprop_snn.files import write_text_atomically
from sigprop_snn.parallel import balanced

OURS = "signal propagation"
LINKS = (
    Link("10 GbE", 1.25e9, 30e-6),
    Link("100 GbE", 12.5e9, 10e-6),
    Link("InfiniBand NDR", 50e9, 3e-6),
    Link("NVLink 4", 450e9, 2e-6),
)
DEVICES = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
SAMPLES = 128  # of a batch, in each replica
BUFFERS = 3
DEPTH = 1024  # copies of one block in the deep network
REPEATED = "block3"  # its input and output have the same shape
EPOCH = 390  # batches of CIFAR-10, after which the pipeline drains
SIMULATED = 48  # batches; the rest is extrapolated by the period
# Of an older run; results/gpu_h100.json has 6.8 and 23.4 ms, which favours ours more.
GPU_SECONDS = {"ours": 9.0e-3, "backpropagation": 25.2e-3}  # of VGG8, bf16
MIB = 1 << 20


@dataclass(frozen=True)
class Speed:
    """How fast a device is, as factors of the measured seconds.

    Attributes:
        device: for tables.
        ours: factor of signal propagation's seconds.
        backpropagation: factor of backpropagation's.
    """

    device: str
    ours: float = 1.0
    backpropagation: float = 1.0


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        network: "vgg8", or "deep" for copies of one block.
        method: signal propagation, or the schedule of backpropagation.
        device: what computes.
        link: between every two devices.
        devices: how many.
        stages: of the pipeline.
        replicas: of every stage.
        microbatches: of a batch; 1 where a batch is not split.
        samples_per_second: while the pipeline is full.
        epoch_samples_per_second: with fill and drain, for an epoch of 390 batches.
        speed_up: of `samples_per_second` over one device by the same method.
        bubble: share of the devices' time without computation, while the pipeline is full.
        epoch_bubble: the same, for an epoch.
        memory_mib: of the device that needs most.
    """

    network: str
    method: str
    device: str
    link: str
    devices: int
    stages: int
    replicas: int
    microbatches: int
    samples_per_second: float
    epoch_samples_per_second: float
    speed_up: float
    bubble: float
    epoch_bubble: float
    memory_mib: float


def deep(cost: NetworkCost, depth: int = DEPTH, layer: str = REPEATED) -> NetworkCost:
    """Return the costs of a network of many copies of one block, without a readout."""
    (one,) = (each for each in cost.layers if each.name == layer)
    layers = [
        replace(one, name=f"block{n + 1}", receives=(f"block{n}",) if n else ())
        for n in range(depth)
    ]
    return replace(cost, network="deep", layers=tuple(layers))


def learning_seconds(cost: NetworkCost, samples: int, speed: Speed) -> list[float]:
    """Return the seconds of each block's learning from a batch; the readout is with the last."""
    rows = samples + cost.contexts
    seconds = [speed.ours * (each.fixed_seconds + each.row_seconds * rows) for each in cost.layers]
    return _with_readout(cost, seconds)


def _with_readout(cost: NetworkCost, values: list[float]) -> list[float]:
    """Return a number for each block, that of the readout added to the last block's."""
    if cost.layers[-1].name != READOUT:
        return values
    return [*values[:-2], values[-2] + values[-1]]


def work_of(
    cost: NetworkCost,
    groups: Sequence[Sequence[int]],
    replicas: int,
    samples: int,
    link: Link,
    speed: Speed,
) -> list[Work]:
    """Return what each block does for a batch.

    Args:
        cost: of the network.
        groups: the blocks of each stage.
        replicas: of each stage.
        samples: of a batch in one replica.
        link: between devices.
        speed: of the devices.
    """
    seconds = learning_seconds(cost, samples, speed)
    weights = _with_readout(cost, [each.weight_bytes for each in cost.layers])
    sent = dict(zip((group[-1] for group in groups), messages(cost, groups, samples), strict=True))
    return [
        Work(
            seconds[block] + link.tree(cost.layers[block].statistics_bytes, replicas),
            sent.get(block, 0.0),
            (block - 1,) if block else (),
            link.ring(weights[block], replicas),
        )
        for block in range(len(seconds))
    ]


def stages_of(seconds: Sequence[float], stages: int) -> list[list[int]]:
    """Return the blocks of each stage, balanced by their seconds."""
    count = len(seconds)
    if len(set(seconds)) == 1:
        sizes = [count // stages + (stage < count % stages) for stage in range(stages)]
    else:
        sizes = list(balanced(seconds, stages))
    ends = list(accumulate(sizes))
    return [list(range(end - size, end)) for size, end in zip(sizes, ends, strict=True)]


def messages(cost: NetworkCost, groups: Sequence[Sequence[int]], samples: int) -> list[float]:
    """Return the bytes that each stage sends to the next; the last one sends none.

    A message has the output of every block at or below the stage that a block above it receives,
    and the small maps of the others that the readout reads.
    """
    blocks = [each for each in cost.layers if each.name != READOUT]
    read = {name for each in cost.layers if each.name == READOUT for name in each.receives}
    found = []
    for group in groups:
        above = {name for each in blocks[group[-1] + 1 :] for name in each.receives}
        below = blocks[: group[-1] + 1]
        row = sum(each.row_bytes for each in below if each.name in above)
        if len(below) < len(blocks):
            row += sum(each.read_bytes for each in below if each.name in read - above)
        found.append(row * (samples + cost.contexts))
    return found


def schedule_of(
    cost: NetworkCost,
    groups: Sequence[Sequence[int]],
    replicas: int,
    samples: int,
    link: Link,
    speed: Speed,
    batches: int = SIMULATED,
) -> Schedule:
    """Simulate one replica of a pipeline."""
    work = work_of(cost, groups, replicas, samples, link, speed)
    return simulate(work, groups, batches, link, buffers=BUFFERS)


def ours(
    cost: NetworkCost, stages: int, replicas: int, samples: int, link: Link, speed: Speed
) -> Row:
    """Return the row of signal propagation, simulated with balanced stages."""
    groups = stages_of(learning_seconds(cost, samples, speed), stages)
    found = schedule_of(cost, groups, replicas, samples, link, speed)
    alone = sum(learning_seconds(cost, samples, speed))
    epoch = found.longer(EPOCH)
    return Row(
        cost.network, OURS, speed.device, link.name, stages * replicas, stages, replicas, 1,
        replicas * samples / found.period,
        replicas * samples * EPOCH / epoch,
        replicas * alone / found.period,
        max(0.0, 1 - alone / (stages * found.period)),
        1 - EPOCH * alone / (stages * epoch),
        _our_memory(cost, groups, samples) / MIB,
    )  # fmt: skip


def _our_memory(cost: NetworkCost, groups: Sequence[Sequence[int]], samples: int) -> float:
    """Return the bytes of the stage that needs most; a gradient is part of the activity."""
    rows = samples + cost.contexts
    weights = _with_readout(cost, [each.weight_bytes for each in cost.layers])
    going = messages(cost, groups, samples)
    return max(
        3 * sum(weights[block] for block in group)
        + max(cost.layers[block].row_activity_bytes for block in group) * rows
        + BUFFERS * (going[stage] + (going[stage - 1] if stage else 0.0))
        for stage, group in enumerate(groups)
    )


def backward(
    cost: NetworkCost, name: str, stages: int, replicas: int, samples: int, link: Link,
    speed: Speed,
) -> Row:  # fmt: skip
    """Return the row of backpropagation by a formula, with the best number of microbatches."""
    counts = [2**power for power in range(samples.bit_length()) if 2**power <= samples]
    if stages == 1:
        counts = [1]
    rows = (_backward(cost, name, stages, replicas, samples, link, speed, m) for m in counts)
    return max(rows, key=lambda row: row.samples_per_second)


def _backward(
    cost: NetworkCost, name: str, stages: int, replicas: int, samples: int, link: Link,
    speed: Speed, microbatches: int,
) -> Row:  # fmt: skip
    count = samples / microbatches
    factor = speed.backpropagation

    def ways(rows: float) -> list[Backward]:
        return [
            Backward(
                *(
                    factor * (fixed + row * rows)
                    for fixed, row in zip(each.backward.fixed, each.backward.row, strict=True)
                )
            )
            for each in cost.layers
        ]

    costs = ways(count)
    groups = stages_of([each.total for each in costs], stages)
    of_stages = [_sum(costs[block] for block in group) for group in groups]
    longest = max(of_stages, key=lambda each: each.total)
    formula = FORMULAS[name](stages, microbatches, longest)
    up = [cost.layers[group[-1]].row_bytes * samples for group in groups[:-1]] + [0.0]
    down = [0.0] + [
        cost.layers[group[0]].backward.row_gradient_bytes * samples for group in groups[1:]
    ]
    busiest = link.seconds(max(a + b for a, b in zip(up, down, strict=True)))
    weights = [sum(cost.layers[block].weight_bytes for block in group) for group in groups]
    hidden = longest.inputs + longest.weights
    shown = max(0.0, sum(link.ring(max(weights), replicas)) - hidden)
    seconds = max(formula.seconds, busiest) + shown
    alone = sum(each.total for each in ways(samples))
    memory = max(
        4 * sum(cost.layers[block].weight_bytes for block in group)
        + formula.kept * count * sum(cost.layers[b].backward.row_kept_bytes for b in group)
        for group in groups
    )
    speed_up = replicas * alone / seconds
    rate = replicas * samples / seconds
    bubble = 1 - microbatches * sum(each.total for each in of_stages) / (stages * seconds)
    return Row(
        cost.network, name, speed.device, link.name, stages * replicas, stages, replicas,
        microbatches, rate, rate, speed_up, bubble, bubble, memory / MIB,
    )  # fmt: skip


def _sum(costs: Iterable[Backward]) -> Backward:
    forward, inputs, weights = (sum(each) for each in zip(*costs, strict=True))
    return Backward(forward, inputs, weights)


def gpu(cost: NetworkCost) -> Speed:
    """Return the speed at which a step of the whole network takes the seconds of an H100."""
    learning = sum(learning_seconds(cost, SAMPLES, Speed("")))
    backpropagation = sum(
        sum(each.backward.fixed) + SAMPLES * sum(each.backward.row) for each in cost.layers
    )
    return Speed(
        "H100",
        GPU_SECONDS["ours"] / learning,
        GPU_SECONDS["backpropagation"] / backpropagation,
    )


def rows_for(
    cost: NetworkCost, devices: Sequence[int], speed: Speed, links: Sequence[Link],
    *, replicated: bool,
) -> list[Row]:  # fmt: skip
    """Return the rows of a network, of each method with every mesh of stages and replicas.

    Args:
        cost: of the network.
        devices: their numbers.
        speed: of the devices.
        links: between them.
        replicated: whether stages may have replicas; else each device is a stage.
    """
    rows = []
    for link in links:
        for count in devices:
            least = 1 if replicated else count
            for p in range(least, min(count, len(cost.layers)) + 1):
                if count % p:
                    continue
                if p <= len(learning_seconds(cost, SAMPLES, speed)):
                    rows.append(ours(cost, p, count // p, SAMPLES, link, speed))
                rows += [
                    backward(cost, name, p, count // p, SAMPLES, link, speed) for name in FORMULAS
                ]
    return rows


def fastest(rows: Sequence[Row]) -> list[Row]:
    """Return the fastest mesh for each network, method, device, link and number of devices."""
    found: dict[tuple[object, ...], Row] = {}
    for row in rows:
        key = row.network, row.method, row.device, row.link, row.devices
        best = found.setdefault(key, row)
        if row.samples_per_second > best.samples_per_second:
            found[key] = row
    return list(found.values())


def as_csv(rows: Sequence[Row]) -> str:
    """Return the rows as CSV, numbers with four digits."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(asdict(rows[0]))
    for row in rows:
        values = asdict(row).values()
        out.writerow([f"{each:.4g}" if isinstance(each, float) else each for each in values])
    return text.getvalue()


def printed(rows: Sequence[Row]) -> str:
    """Return some of the rows as text."""
    head = (
        f"{'method':20}{'link':16}{'devices':>8}{'mesh':>10}{'micro':>6}{'samples/s':>12}"
        f"{'speed-up':>10}{'bubble':>8}{'epoch':>7}{'MiB':>9}"
    )
    lines = []
    for (network, device), group in groupby(rows, key=lambda row: (row.network, row.device)):
        lines += ["", f"{network} on {device}", head]
        lines += [
            f"{row.method:20}{row.link:16}{row.devices:8}{f'{row.stages}x{row.replicas}':>10}"
            f"{row.microbatches:6}{row.samples_per_second:12.4g}{row.speed_up:10.1f}"
            f"{row.bubble:8.0%}{row.epoch_bubble:7.0%}{row.memory_mib:9.1f}"
            for row in group
            if row.devices in (4, 32, 1024) and row.link in (LINKS[0].name, LINKS[-1].name)
        ]
    return "\n".join(lines[1:])


def figure(rows: Sequence[Row], file: Path, device: str, depth: int) -> None:
    """Draw speed-up and memory over the number of devices."""
    from sigprop_snn import plots
    from sigprop_snn.plots.style import (
        BACKWARD,
        DASHED,
        FAINT,
        LOCAL,
        PALETTE,
        SMALL_SIZE,
        dress,
        new_figure,
    )

    made = new_figure((13.2, 4.2))
    colours = {OURS: LOCAL, "1F1B": BACKWARD, "ZB-H2": PALETTE[4]}
    slow, quick = LINKS[0].name, LINKS[-1].name
    shown = [row for row in rows if row.device == device]
    panels = (
        ("deep", "speed_up", f"{depth:,} equal blocks, batches of {SAMPLES}"),
        ("vgg8", "speed_up", "VGG8, the fastest mesh of stages and replicas"),
        ("deep", "memory_mib", f"{depth:,} equal blocks"),
    )
    for place, (network, value, title) in enumerate(panels):
        memory = value == "memory_mib"
        axis = made.add_subplot(1, 3, place + 1)
        label = "memory of a device (MiB)" if memory else "speed-up over one device"
        dress(axis, title=title, x_label="devices", y_label=label, grid="y")
        axis.set_xscale("log", base=2)
        axis.set_yscale("log", base=10)
        counts = sorted({row.devices for row in shown})
        if not memory:
            axis.plot(counts, counts, color=FAINT, linewidth=4, label="number of devices")
        for method, colour in colours.items():
            for link in (quick,) if memory else (quick, slow):
                line = [
                    row
                    for row in shown
                    if (row.network, row.method, row.link) == (network, method, link)
                ]
                x = [row.devices for row in line]
                name = method if memory else f"{method}, {link}"
                style = DASHED if link == slow else "-"
                y = [getattr(row, value) for row in line]
                axis.plot(x, y, color=colour, linestyle=style, linewidth=1.6, label=name)
                if place == 0 and (method, link) == (OURS, quick):
                    share = [row.epoch_samples_per_second / row.samples_per_second for row in line]
                    y = [a * b for a, b in zip(y, share, strict=True)]
                    name = f"the same, drained every {EPOCH} batches"
                    axis.plot(x, y, color=colour, linestyle=":", linewidth=1.6, label=name)
        axis.set_xticks(counts, [str(count) for count in counts], fontsize=SMALL_SIZE)
        axis.minorticks_off()
        axis.legend(fontsize=SMALL_SIZE - 1, frameon=False, loc="best")
    plots.save(made, file)


def main() -> None:
    """Simulate all rows, print some, and write the files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--costs", type=Path, required=True, help="JSON of block_costs.py, vgg8")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="where to write the fastest meshes"
    )
    parser.add_argument("--table", type=Path, metavar="FILE", help="where to write all as CSV")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="where to draw them")
    parser.add_argument("--most-devices", type=int, default=DEVICES[-1])
    parser.add_argument("--depth", type=int, default=DEPTH, help="blocks of the deep network")
    given = parser.parse_args()
    cost = NetworkCost.read(given.costs)
    devices = [count for count in DEVICES if count <= given.most_devices]
    rows = []
    for speed, links in ((Speed("one CPU thread"), LINKS[:1]), (gpu(cost), LINKS)):
        rows += rows_for(cost, devices, speed, links, replicated=True)
        rows += rows_for(deep(cost, given.depth), devices, speed, links, replicated=False)
    print(printed(fastest(rows)))
    if given.json is not None:
        text = json.dumps(
            {"machine": cost.machine, "rows": [asdict(row) for row in fastest(rows)]}, indent=1
        )
        write_text_atomically(given.json, text + "\n")
    if given.table is not None:
        write_text_atomically(given.table, as_csv(rows))
    if given.figure is not None:
        figure(fastest(rows), given.figure, gpu(cost).device, given.depth)


if __name__ == "__main__":
    main()
