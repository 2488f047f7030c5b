"""What the ranks of `test_pipeline.py` do."""

from __future__ import annotations

import copy
import functools
import os
import signal
import time
from functools import partial

import torch

import sigprop_snn as sp
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import ConditionedContext, LabelOverlay
from sigprop_snn.neurons.catalogue import noisy_lif
from sigprop_snn.neurons.engines.cpu.engine import CpuEngine
from sigprop_snn.parallel import Pipeline

PICTURE = (2, 8, 8)
SMALL = {"channels": (4, 6, 5), "kernel": 3}
MLP = partial(sp.mlp, PICTURE, 3, hidden=(20, 18, 16))
CONV = partial(sp.conv, PICTURE, 3, **SMALL)


def overlay(layout):
    return LabelOverlay(layout.classes, layout.inputs[0])


def conditioned(layout):
    return ConditionedContext(layout.classes, layout.currents[0], layout.inputs[0], wrong=1)


def reading(*names, **options):
    """Return a network whose readout reads these blocks."""
    network = MLP(**options)
    features = {"block1": 20, "block2": 18, "block3": 16}
    blocks = list(network.each_block())
    readout = sp.Readout(sum(features[name] for name in names), 3, sources=names)
    return sp.Network(network.signal, blocks, readout, rule=network.rule)


CASES = {
    **{
        f"{name} {rule}": partial(make, rule=rule)
        for rule in ("voltage", "surrogate")
        for name, make in {
            "mlp": partial(sp.mlp, PICTURE, 3, hidden=(20, 18, 16, 14)),
            "conv": partial(sp.conv, PICTURE, 3, **SMALL),
            "vgg8": partial(sp.vgg8, PICTURE, 3, width=0.03),
        }.items()
    },
    "sources vote": partial(CONV, sources=2, predict="vote"),
    "sources subset": partial(MLP, sources=3, predict="subset"),
    "sum": partial(sp.mlp, PICTURE, 3, hidden=(20, 20, 20), sources=sp.Sources(2, join="sum")),
    "similarity": partial(CONV, loss=sp.DotProductLoss() + 10 * sp.Similarity()),
    "selected targets": partial(MLP, loss="top-k", predict="vote"),
    "running centres": partial(CONV, centred="running"),
    "label overlay": partial(MLP, signal=overlay, predict="context"),
    "conditioned": partial(MLP, signal=conditioned),
    "rate": partial(MLP, neuron=sp.Rate, rule="surrogate"),
    "readout of lower blocks": lambda: reading("block1", "block2"),
    "readout of rates": lambda: reading("block3", "block1", neuron=sp.Rate, rule="surrogate"),
    "local readouts": partial(MLP, rule="local-readout", loss=sp.DotProductLoss()),
    "local convolutions": partial(
        CONV, rule="local-readout", loss=sp.DotProductLoss() + 10 * sp.Similarity()
    ),
    "random targets": partial(MLP, rule="direct-random-target"),
    "random targets vote": partial(CONV, rule="direct-random-target", predict="vote"),
    "unrolled": partial(MLP, neuron=sp.ALIF),
}


KERNELS = ("mlp voltage", "conv voltage", "conv surrogate", "vgg8 surrogate", "sources vote")


@functools.cache
def warm() -> None:
    """Load the kernels, and what torch imports at the first step of an optimizer."""
    with sp.use_engine(CpuEngine(worth=1, pack_from=1)):
        for name in KERNELS:
            network = CASES[name]()
            for x, labels in batches(1):
                network.learn(x, labels, optimizers(network))


def batches(count: int = 3):
    made = torch.Generator().manual_seed(1)
    for number in range(count):
        rows = 5 if number == count - 1 else 8  # the last batch is smaller
        yield torch.rand(5, rows, *PICTURE, generator=made), torch.arange(rows) % 3


def optimizers(network):
    return sp.LocalOptimizers(network, partial(torch.optim.Adam, lr=1e-2))


def learned_alone(network) -> tuple[int, list[float]]:
    """Learn in one process; return the right answers and the sums of the losses."""
    right, losses, update = 0, {}, optimizers(network)
    for x, labels in batches():
        learned = network.learn(x, labels, update)
        right += learned.correct
        for layer in learned.layers:
            if layer.loss is not None:
                losses[layer.name] = losses.get(layer.name, 0.0) + layer.loss * len(labels)
    return right, losses


def equal(rank, ranks, folder):
    """Return, for each case, what differs between one process and several."""
    return differences(CASES, rank, ranks)


def some_equal(rank, ranks, folder):
    """Return the same for every fourth case; two ranks have others than one."""
    return differences(dict(list(CASES.items())[2 * ranks - 2 :: 4]), rank, ranks)


def kernels(rank, ranks, folder):
    """Return the same for kernels and packed spikes, which large networks have."""
    with sp.use_engine(CpuEngine(worth=1, pack_from=1)):
        return differences({name: CASES[name] for name in KERNELS}, rank, ranks)


def differences(cases, rank, ranks):
    """Return what differs on the first rank, which also learns alone."""
    found = {}
    for name, make in cases.items():
        torch.manual_seed(0)
        network = make()
        if rank == 0:
            alone = copy.deepcopy(network)
            torch.manual_seed(2)
            right, losses = learned_alone(alone)
        torch.manual_seed(2)
        update = optimizers(network)
        cut = "auto" if name.startswith("vgg8") else tuple(cut_of(len(network.blocks), ranks))
        with Pipeline(network, cut, timeout=30) as pipeline:
            for x, labels in batches():
                pipeline.learn(x if pipeline.is_first else None, labels, update)
            report = pipeline.report()
            pipeline.collect(update)
        if rank:
            continue
        different = [
            key
            for key, value in alone.state_dict().items()
            if not torch.equal(value, network.state_dict()[key])
        ]
        if report.correct != right:
            different.append(f"correct {report.correct} != {right}")
        if report.losses != {key: total / 21 for key, total in losses.items()}:
            different.append(f"losses {report.losses}")
        if report.samples != 21 or sum(len(each.layers) for each in report.ranks) < len(cut):
            different.append(f"report {report}")
        found[name] = different
    return found


def counts(rank, ranks, folder):
    """Return the error of ranks that have learned from different numbers of batches."""
    torch.manual_seed(0)
    network = MLP()
    try:
        with Pipeline(network, (2, 1), timeout=30) as pipeline:
            for x, labels in list(batches())[: 2 - rank]:
                pipeline.learn(x if pipeline.is_first else None, labels)
            pipeline.collect()
    except SigpropError as error:
        return str(error)
    return "no error"


def unfinished(rank, ranks, folder):
    """Write down each rank's errors if the last one closes before the last batch, and later."""
    torch.manual_seed(0)
    pipeline, found = Pipeline(MLP(), (2, 1), timeout=30), []

    def tried(act):
        try:
            act()
        except SigpropError as error:
            found.append(str(error))

    for x, labels in list(batches())[: 3 - rank]:
        pipeline.learn(x if pipeline.is_first else None, labels)
    tried(pipeline.close)
    tried(pipeline.close)
    tried(lambda: pipeline.learn(x, labels))
    (folder / f"unfinished-{rank}").write_text("\n".join(found))


def cut_of(blocks: int, ranks: int) -> list[int]:
    """Return stages of about the same number of blocks."""
    return [blocks // ranks + (rank < blocks % ranks) for rank in range(ranks)]


def refusals(rank, ranks, folder):
    """Return the messages of what is refused, by name; every rank gets the same."""
    torch.manual_seed(0)
    found = {}

    def refuse(name, act):
        try:
            act()
        except sp.SigpropError as error:
            found[name] = str(error)

    network = sp.mlp((6,), 3, hidden=(5, 5, 5))
    refuse("ranks", lambda: Pipeline(sp.mlp((6,), 3, hidden=(5,)), timeout=20))
    refuse("stages", lambda: Pipeline(network, (1, 1), timeout=20))
    refuse("rule", lambda: Pipeline(sp.mlp((6,), 3, hidden=(5, 5), rule="backpropagation")))
    refuse("output", lambda: Pipeline(sp.mlp((6,), 3, hidden=(5, 5), rule="error-forward")))
    torch.manual_seed(rank)
    refuse("weights", lambda: Pipeline(sp.mlp((6,), 3, hidden=(5, 5)), timeout=20))
    torch.manual_seed(0)
    refuse("settings", lambda: Pipeline(network, (2, 1), slots=2 + rank, timeout=20))
    loss = sp.DotProductLoss(scale=5.0 + rank)
    refuse("loss", lambda: Pipeline(sp.mlp((6,), 3, hidden=(5, 5), loss=loss), timeout=20))
    return found


def labels(rank, ranks, folder):
    """Return the error of the rank whose labels differ, and what the other rank is told."""
    torch.manual_seed(0)
    network = sp.mlp((6,), 3, hidden=(5, 5))
    pipeline = Pipeline(network, (1, 1), timeout=20)
    x = torch.rand(4, 6, 6)
    message = None
    try:
        for _ in range(20):
            pipeline.learn(x if rank == 0 else None, (torch.arange(6) + rank) % 3)
    except (sp.SigpropError, sp.parallel.RankLostError) as error:
        message = f"{type(error).__name__}: {error}"
    (folder / f"labels-{rank}").write_text(message or "")
    return None


def noise(rank, ranks, folder):
    torch.manual_seed(0)
    network = sp.mlp((6,), 3, hidden=(5, 5), neuron=noisy_lif)
    try:
        for _ in range(20):
            Pipeline(network, (1, 1), timeout=20).learn(torch.rand(4, 6, 6), torch.arange(6) % 3)
    except sp.SigpropError as error:
        return str(error)


def numbers(rank, ranks, folder):
    """Return the numbers that the last rank got; the first one sends 7 before its third batch."""
    torch.manual_seed(0)
    pipeline = Pipeline(sp.mlp((6,), 3, hidden=(5, 5, 5)), (1, 1, 1), timeout=20)
    got = []
    for number in range(5):
        got.append(pipeline.share(7 if number == 2 else 0))
        pipeline.learn(torch.rand(4, 6, 6), torch.arange(6) % 3)
    pipeline.close()
    (folder / f"numbers-{rank}").write_text(str(got))
    return got


def crossing(rank, ranks, folder):
    """Return the bytes of one message for a block of 2,000 neurons, T = 8 and 50 + 2 rows."""
    torch.manual_seed(0)
    network = sp.mlp((6,), 2, hidden=(2000, 5))
    x, y = torch.rand(8, 50, 6), torch.arange(50) % 2
    with Pipeline(network, (1, 1), timeout=20) as pipeline:
        pipeline.learn(x, y)
        pipeline.report()
        for _ in range(4):
            pipeline.learn(x, y)
        report = pipeline.report()
    return [each.sent_bytes / 4 for each in report.ranks]


def hanging(rank, ranks, folder):
    """Return what the first rank says of a rank that stops without a word, and end that rank."""
    torch.manual_seed(0)
    stopped = folder / "stopped"
    pipeline = Pipeline(sp.mlp((6,), 3, hidden=(5, 5)), (1, 1), timeout=3)
    try:
        for number in range(20):
            if rank == 1 and number == 2:
                stopped.write_text(str(os.getpid()))
                os.kill(os.getpid(), signal.SIGSTOP)
            pipeline.learn(torch.rand(4, 6, 6), torch.arange(6) % 3)
    except sp.parallel.RankLostError as error:
        os.kill(int(stopped.read_text()), signal.SIGKILL)  # `ranks.py` would wait for it
        return str(error)


def early(rank, ranks, folder):
    """Return whether the last rank learns from a batch before the first rank's update of it."""
    torch.manual_seed(0)
    learned, found = folder / "early", []

    def wait(layer):
        until = time.monotonic() + 10
        while not learned.exists() and time.monotonic() < until:
            time.sleep(0.01)
        found.append(learned.exists())

    with Pipeline(sp.mlp((6,), 3, hidden=(5, 5)), (1, 1), timeout=30) as pipeline:
        update = wait if rank == 0 else lambda layer: learned.touch()
        pipeline.learn(torch.rand(4, 6, 6), torch.arange(6) % 3, update)
    return found


def ahead(rank, ranks, folder):
    """Learn from a batch on the last rank only after the first rank has learned from three."""
    torch.manual_seed(0)
    done = folder / "ahead"

    def wait(layer):
        until = time.monotonic() + 20
        while not done.exists() and time.monotonic() < until:
            time.sleep(0.01)

    with Pipeline(sp.mlp((6,), 3, hidden=(5, 5)), (1, 1), timeout=30) as pipeline:
        for number in range(4):
            pipeline.learn(torch.rand(4, 6, 6), torch.arange(6) % 3, wait if rank == 1 else None)
            if rank == 0 and number == 2:
                done.touch()
        report = pipeline.report()
    return [each.waiting / each.seconds for each in report.ranks], report.ranks[1].seconds
