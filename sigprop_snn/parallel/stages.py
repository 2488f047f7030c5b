"""Which blocks a rank runs: neighbouring ones, so that no rank has much more work than another."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from sigprop_snn.arguments import instance, refused, whole
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import Network
from sigprop_snn.network.checks import learning_mode

Stages = Sequence[int] | Literal["auto"]
"""The number of blocks of each stage, or "auto"."""

_CLOSE = 1.05  # stages whose slowest is this much slower may save memory


def block_costs(
    network: Network, inputs: Tensor, labels: Tensor, *, repeat: int = 2
) -> list[float]:
    """Return the seconds that each block takes to learn from a batch, the fastest of a few passes.

    The readout counts with the last block. A copy of the network learns, so the network and the
    random state of torch stay as they are.

    Args:
        network: the network.
        inputs: `[T, B, ...]`.
        labels: as `network.learn` takes them.
        repeat: number of passes; one more before them is not measured.

    Raises:
        SigpropError: if the network can't learn from the batch.
    """
    instance("network", network, Network, "a Network")
    repeat = whole("repeat", repeat)
    network.check_batch(inputs, labels)
    copied = copy.deepcopy(network)
    names = [name for name, _ in copied.named_blocks()]
    fastest = dict.fromkeys(names, float("inf"))
    with torch.random.fork_rng(devices=[]):
        for number in range(repeat + 1):
            found = _pass_seconds(copied, inputs, labels, names)
            if number:
                fastest = {name: min(fastest[name], found[name]) for name in names}
    return list(fastest.values())


def block_memory(network: Network, inputs: Tensor) -> list[float]:
    """Return about how many bytes each block needs while it learns from a batch.

    These are its weights, their gradient and two moments of an optimizer, its spikes as bits, and
    its mean voltage with a gradient.

    Args:
        network: the network; it stays as it is.
        inputs: `[T, B, ...]`.

    Raises:
        SigpropError: if the inputs don't fit the network.
    """
    instance("network", network, Network, "a Network")
    network.check_inputs(inputs)
    copied, found = copy.deepcopy(network).eval(), []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for stage in copied.stages(inputs):
            if stage.response is not None:
                parameters, ran = network.block(stage.name).parameters(), stage.response.run
                weights = sum(p.numel() * p.element_size() for p in parameters)
                voltage, bits = ran.mean_voltage, ran.spikes.shape.numel() / 8
                found.append(4.0 * weights + bits + 2.0 * voltage.numel() * voltage.element_size())
    return found


def balanced(
    costs: Sequence[float], stages: int, *, memory: Sequence[float] | None = None
) -> tuple[int, ...]:
    """Return the number of blocks of each stage, so that the slowest stage is as fast as possible.

    Args:
        costs: the seconds of each block; see `block_costs`.
        stages: number of stages.
        memory: the bytes of each block. Among cuts whose slowest stage is within 5 % of the
            fastest, the one is taken whose largest stage needs the least memory.

    Raises:
        SigpropError: if there are more stages than blocks.
    """
    costs, stages = numbers("costs", costs), whole("stages", stages)
    if stages > len(costs):
        raise too_many(stages, len(costs))
    best, sizes = _cut(costs, stages)
    if memory is None:
        return sizes
    memory = numbers("memory", memory)
    if len(memory) != len(costs):
        raise SigpropError(
            f"memory has {len(memory)} numbers for {len(costs)} costs; expected one for each block"
        )
    return _cut(memory, stages, costs, _CLOSE * best)[1]


def checked_stages(stages: Any, blocks: int, ranks: int) -> tuple[int, ...] | Literal["auto"]:
    """Return the number of blocks of each stage.

    Args:
        stages: the numbers, or "auto".
        blocks: number of blocks of the network.
        ranks: number of ranks, one for each stage.

    Raises:
        SigpropError: if there are more ranks than blocks, or the numbers don't fit either.
    """
    if ranks > blocks:
        raise too_many(ranks, blocks)
    if isinstance(stages, str) and stages == "auto":
        return "auto"
    if isinstance(stages, str) or not isinstance(stages, Iterable):
        raise refused("stages", stages, "'auto', or the number of blocks of each stage")
    sizes = tuple(whole("stages", size) for size in stages)
    if len(sizes) != ranks or sum(sizes) != blocks:
        raise SigpropError(
            f"stages are {list(sizes)}, {sum(sizes)} blocks on {len(sizes)} ranks; expected "
            f"{blocks} blocks on {ranks} ranks"
        )
    return sizes


def too_many(stages: int, blocks: int) -> SigpropError:
    """Return the error for more stages than blocks."""
    return SigpropError(
        f"{stages} stages for a network of {blocks} block{'s' if blocks > 1 else ''}; expected at "
        "most one stage for each block"
    )


def names_of_stages(sizes: Sequence[int]) -> list[tuple[str, ...]]:
    """Return the names of each stage's blocks."""
    ends = list(itertools.accumulate(sizes))
    return [
        tuple(f"block{number + 1}" for number in range(end - size, end))
        for size, end in zip(sizes, ends, strict=True)
    ]


def numbers(name: str, values: Any) -> list[float]:
    """Return numbers as floats.

    Raises:
        SigpropError: if there is none, or one is negative or no number.
    """
    try:
        found = [float(value) for value in values]
    except (TypeError, ValueError):
        found = []
    valid = all(0 <= value < float("inf") for value in found)
    if not found or isinstance(values, str) or not valid:
        raise refused(name, values, "finite numbers from 0, one for each block")
    return found


def _cut(
    weights: Sequence[float],
    stages: int,
    limited: Sequence[float] | None = None,
    limit: float = float("inf"),
) -> tuple[float, tuple[int, ...]]:
    """Return the smallest possible weight of the heaviest stage, and the sizes that give it.

    Args:
        weights: the weight of each block.
        stages: number of stages.
        limited: other weights, of which no stage may exceed the limit.
        limit: the limit.
    """
    count = len(weights)
    sums = [0.0, *itertools.accumulate(weights)]
    others = [0.0, *itertools.accumulate(limited or weights)]
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}
    for stage in range(stages):
        behind = stages - stage - 1
        found: dict[int, tuple[float, tuple[int, ...]]] = {}
        for start, (heaviest, sizes) in best.items():
            ends = range(count, count + 1) if not behind else range(start + 1, count - behind + 1)
            for end in ends:
                if limited is not None and others[end] - others[start] > limit * (1 + 1e-9):
                    continue
                weight = max(heaviest, sums[end] - sums[start])
                if end not in found or weight < found[end][0]:
                    found[end] = (weight, (*sizes, end - start))
        best = found
    return best[count]


def _pass_seconds(
    network: Network, inputs: Tensor, labels: Tensor, names: Sequence[str]
) -> dict[str, float]:
    """Return the seconds of each block in one pass; those of the readout go to the last block."""
    found = dict.fromkeys(names, 0.0)
    with learning_mode(network, None):
        begun = time.perf_counter()
        for stage in network.stages(inputs, labels):
            if stage.loss is not None and stage.loss.requires_grad:
                stage.loss.backward()  # type: ignore[no-untyped-call]
            if inputs.device.type == "cuda":
                torch.cuda.synchronize()
            now = time.perf_counter()
            found[stage.name if stage.name in found else names[-1]] += now - begun
            begun = now
            del stage
    return found
