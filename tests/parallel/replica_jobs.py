"""What the ranks of `test_replicas.py` do."""

from __future__ import annotations

import copy
import functools
import warnings
from functools import partial

import torch
from pipeline_jobs import PICTURE, SMALL
from torch import nn

import sigprop_snn as sp
from sigprop_snn.network import LOSSES, SIGNALS
from sigprop_snn.parallel import Pipeline

MLP = partial(sp.mlp, PICTURE, 3, hidden=(20, 18))
CONV = partial(sp.conv, PICTURE, 3, **SMALL)
NEEDS_SEPARATE_CONTEXTS, DRAWS = ("goodness",), ("random-maximum", "label-overlay")

ANY_RULE = {
    f"rule {rule}": partial(MLP, rule=rule)
    for rule in (
        "voltage", "surrogate", "backpropagation", "local-readout", "e-prop", "ottt",
        "direct-feedback-alignment", "direct-random-target", "error-forward",
    )
}  # fmt: skip
FORWARD = {
    **{
        f"loss {loss}": partial(CONV, loss=loss)
        for loss in LOSSES
        if loss not in (*NEEDS_SEPARATE_CONTEXTS, *DRAWS)
    },
    **{f"signal {name}": partial(CONV, signal=name) for name in SIGNALS if name not in DRAWS},
    "size of the batch": partial(CONV, loss=sp.DotProductLoss(normalise="size")),
    "top samples": partial(CONV, loss=sp.DotProductLoss(select=sp.TopSamples())),
    "running centres": partial(CONV, centred="running"),
    "several blocks": partial(CONV, rule="surrogate", sources=2),
}


@functools.cache
def warm() -> None:
    """Load the kernels, and what torch imports at the first step of an optimizer."""
    for rule in ("voltage", "surrogate"):
        network = CONV(rule=rule)
        update = sp.LocalOptimizers(network, partial(torch.optim.SGD, lr=1e-2))
        network.learn(torch.rand(5, 8, *PICTURE), torch.arange(8) % 3, update)


def differences(cases, rank, stages, replicas) -> dict[str, float]:
    """Return the first rank's differences from the weights of one process, case by case."""
    found = {}
    for name, make in cases.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            network = make().double()
            found[name] = difference(network, rank, stages, replicas)
    return found


def difference(network, rank, stages, replicas) -> float:
    """Return the largest relative difference; the first rank also learns alone."""
    alone = copy.deepcopy(network)
    made = torch.Generator().manual_seed(1)
    dtype = next(network.parameters()).dtype
    batches = [
        (torch.rand(5, rows, *PICTURE, generator=made).to(dtype), torch.arange(rows) % 3)
        for rows in (40, 9)  # of the first, a normaliser observes some rows only
    ]
    if rank == 0:
        update = sp.LocalOptimizers(alone, partial(torch.optim.SGD, lr=1e-2))
        for x, labels in batches:
            alone.learn(x, labels, update)
    update = sp.LocalOptimizers(network, partial(torch.optim.SGD, lr=1e-2))
    with Pipeline(network, stages, replicas=replicas, timeout=30) as pipeline:
        for x, labels in batches:
            pipeline.learn(*pipeline.shard(x, labels), update)
        pipeline.collect(update)
    others = alone.state_dict()
    return max(
        float((value - others[name]).abs().max() / others[name].abs().max().clamp(min=1e-12))
        for name, value in network.state_dict().items()
        if value.is_floating_point()
    )


def data(rank, ranks, folder):
    """Return the differences of every second case; three ranks have others than two."""
    cases = list((ANY_RULE | FORWARD).items())[ranks % 2 :: 2]
    return differences(dict(cases), rank, "auto", ranks)


def mesh(rank, ranks, folder):
    """Return the differences of every second case, with stages and replicas."""
    return differences(dict(list(FORWARD.items())[1::2]), rank, (2, 1), 2)


def single_precision(rank, ranks, folder):
    torch.manual_seed(0)
    return difference(CONV(), rank, "auto", ranks)


def statistics(rank, ranks, folder):
    """Return loss and count of the whole batch, of one process and of the replicas."""
    torch.manual_seed(0)
    network = CONV(loss="dot-product+similarity").double()
    x, labels = torch.rand(5, 9, *PICTURE).double(), torch.arange(9) % 3
    learned = copy.deepcopy(network).learn(x, labels)
    with Pipeline(network, replicas=ranks, timeout=30) as pipeline:
        pipeline.learn(*pipeline.shard(x, labels))
        report = pipeline.report()
    return {
        "alone": [9, learned.correct, {each.name: each.loss for each in learned.layers}],
        "replicas": [report.samples, report.correct, report.losses],
    }


def refusals(rank, ranks, folder):
    found = {}

    def refuse(name, act):
        try:
            act()
        except sp.SigpropError as error:
            found[name] = str(error)

    torch.manual_seed(0)
    network = sp.mlp((6,), 3, hidden=(5, 5))
    refuse("ranks", lambda: Pipeline(network, replicas=3, timeout=20))
    pipeline = Pipeline(network, replicas=2, timeout=20)
    refuse("rows", lambda: pipeline.shard(torch.rand(4, 1, 6), torch.zeros(1, dtype=torch.long)))
    blocks = [sp.Block(nn.Linear(6, 5), sp.LIF(), norm=nn.BatchNorm1d(5))]
    other = sp.Network(sp.ProjectedContext(3, (5,)), blocks, sp.Readout(5, 3))
    refuse("normaliser", lambda: Pipeline(other, replicas=2, timeout=20))
    return found
