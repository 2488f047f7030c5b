"""Schedules of training on several devices: one simulated, four by their published formulas.

`simulate` runs a pipeline of layers that learn in the forward pass, event by event. The schedules
of backpropagation follow the formulas of their papers: GPipe (Huang et al. 2018, arXiv 1811.06965),
1F1B (Narayanan et al. 2021, arXiv 2104.04473, there "PipeDream-flush"), and the zero-bubble
schedules ZB-H1 and ZB-H2 (Qi et al. 2023, arXiv 2401.10241).
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Ring(NamedTuple):
    """What an all-reduce takes.

    Attributes:
        seconds: in which each device's link is in use.
        delay: seconds in which its messages are on their way; other messages may pass then.
    """

    seconds: float = 0.0
    delay: float = 0.0


class Link(NamedTuple):
    """What connects every two devices.

    Attributes:
        name: for tables.
        bandwidth: bytes a second, in each direction of a device.
        latency: seconds from the end of sending to the arrival.
    """

    name: str
    bandwidth: float
    latency: float

    def seconds(self, count: float) -> float:
        """Return how long a device's link is in use for this many bytes."""
        return count / self.bandwidth

    def ring(self, count: float, replicas: int) -> Ring:
        """Return what a ring all-reduce of this many bytes over R replicas takes.

        Each device sends 2 (R - 1) parts of one R-th of the bytes, one after the other.
        """
        rounds = 2 * (replicas - 1)
        return Ring(rounds * self.seconds(count / replicas), rounds * self.latency)

    def tree(self, count: float, replicas: int) -> float:
        """Return the seconds of an all-reduce of few bytes, up a binary tree and down."""
        return 2 * math.ceil(math.log2(replicas)) * (self.seconds(count) + self.latency)


NO_REDUCE = Ring()


@dataclass(frozen=True)
class Work:
    """What one block does for one batch.

    Attributes:
        seconds: from its input to its updated weights, without its own all-reduce.
        sent: bytes of its output.
        receives: indices of the lower blocks that it receives; none for the first block.
        reduce: the all-reduce of its gradients, after which the weights are updated.
    """

    seconds: float
    sent: float = 0.0
    receives: tuple[int, ...] = ()
    reduce: Ring = NO_REDUCE


class Span(NamedTuple):
    """When a block learned from a batch."""

    block: int
    batch: int
    start: float
    end: float


@dataclass(frozen=True)
class Schedule:
    """The result of a simulation.

    Attributes:
        seconds: from the start of the first block to the end of the last one.
        busy: seconds that each stage computes.
        finished: when the last block finished each batch.
        spans: every block's times for every batch, if they were asked for.
    """

    seconds: float
    busy: tuple[float, ...]
    finished: tuple[float, ...]
    spans: tuple[Span, ...] = ()

    @property
    def idle(self) -> tuple[float, ...]:
        """The share of the time in which each stage does not compute."""
        return tuple(1 - busy / self.seconds for busy in self.busy)

    @property
    def bubble(self) -> float:
        """The share of all devices' time in which they do not compute."""
        return 1 - sum(self.busy) / (len(self.busy) * self.seconds)

    @property
    def period(self) -> float:
        """Seconds between two batches when the pipeline is full: of the second half of them."""
        half = len(self.finished) // 2
        count = len(self.finished) - 1 - half
        return (self.finished[-1] - self.finished[half]) / count if count else self.seconds

    def longer(self, batches: int) -> float:
        """Return the seconds of a run of more batches, each of which takes a period more."""
        return self.seconds + (batches - len(self.finished)) * self.period


@dataclass
class _Transfer:
    """Output of a block on its way to another stage."""

    batch: int
    block: int
    to: int


@dataclass
class _Stage:
    blocks: Sequence[int]
    batch: int = 0
    place: int = 0
    computing: bool = False
    full: bool = False  # whether it waits for a buffer to send from
    busy: float = 0.0
    sending: bool = False
    receiving: bool = False
    queue: deque[_Transfer | int] = field(default_factory=deque)  # an int: all-reduce of a block


def simulate(
    work: Sequence[Work],
    stages: Sequence[Sequence[int]],
    batches: int,
    link: Link,
    *,
    buffers: int = 2,
    record: bool = False,
) -> Schedule:
    """Simulate a pipeline of layers, event by event.

    A stage computes its blocks in order, batch after batch. A block starts a batch when its input
    has arrived and its weights have learned from the batch before. It copies the input out of the
    receiver's buffer. Its output goes into a buffer and then once to every other stage that
    receives it; the stage waits until a buffer is free. A device sends one message at a time and
    receives one at a time, while it computes. An all-reduce uses the link in both directions.

    Args:
        work: what each block does.
        stages: the indices of each stage's blocks, in order, from the front of the network.
        batches: number of batches.
        link: between every two stages.
        buffers: how many batches of one block's output fit at the sender, and as many at each
            receiver.
        record: whether to return the times of every block.
    """
    return _Simulation(work, stages, batches, link, buffers, record).run()


class _Simulation:
    def __init__(
        self,
        work: Sequence[Work],
        stages: Sequence[Sequence[int]],
        batches: int,
        link: Link,
        buffers: int,
        record: bool,
    ) -> None:
        self.work, self.batches, self.link, self.buffers = work, batches, link, buffers
        self.stages = [_Stage(blocks) for blocks in stages]
        self.stage_of = {block: s for s, blocks in enumerate(stages) for block in blocks}
        self.spans: list[Span] | None = [] if record else None
        self.events: list[tuple[float, int, str, int, object]] = []
        self.count = 0
        self.now = 0.0
        self.finished: list[float] = []
        self.learned = [0] * len(work)  # batches from which a block's weights have learned
        # By (block, stage that receives it): the first block there that receives it.
        reader: dict[tuple[int, int], int] = {}
        for block, each in enumerate(work):
            for source in each.receives:
                if self.stage_of[source] != self.stage_of[block]:
                    reader.setdefault((source, self.stage_of[block]), block)
        # Batches that have left their sender, began to, have arrived, and left their buffer.
        self.sent = dict.fromkeys(reader, 0)
        self.started = dict.fromkeys(reader, 0)
        self.arrived = dict.fromkeys(reader, 0)
        self.freed = dict.fromkeys(reader, 0)
        self.receivers: dict[int, list[int]] = {}
        self.first_read: dict[int, list[int]] = {}
        self.senders: dict[int, set[int]] = {}
        for (source, to), block in reader.items():
            self.receivers.setdefault(source, []).append(to)
            self.first_read.setdefault(block, []).append(source)
            self.senders.setdefault(to, set()).add(self.stage_of[source])

    def run(self) -> Schedule:
        for index in range(len(self.stages)):
            self.compute(index)
        while self.events:
            self.now, _, kind, index, what = heapq.heappop(self.events)
            getattr(self, f"end_{kind}")(index, what)
        busy = tuple(stage.busy for stage in self.stages)
        return Schedule(self.now, busy, tuple(self.finished), tuple(self.spans or ()))

    def after(self, seconds: float, kind: str, index: int, what: object = None) -> None:
        self.count += 1
        heapq.heappush(self.events, (self.now + seconds, self.count, kind, index, what))

    def compute(self, index: int) -> None:
        """Start the next block of a stage, if nothing is missing."""
        stage = self.stages[index]
        if stage.computing or stage.full or stage.batch == self.batches:
            return
        block = stage.blocks[stage.place]
        work = self.work[block]
        here = [(s, index) for s in work.receives if (s, index) in self.arrived]
        if self.learned[block] < stage.batch or any(
            self.arrived[key] <= stage.batch for key in here
        ):
            return
        stage.computing = True
        stage.busy += work.seconds
        if self.spans is not None:
            self.spans.append(Span(block, stage.batch, self.now, self.now + work.seconds))
        self.after(work.seconds, "block", index)
        for source in self.first_read.get(block, ()):
            self.freed[source, index] += 1
            self.send(self.stage_of[source])

    def end_block(self, index: int, what: object) -> None:
        stage = self.stages[index]
        block = stage.blocks[stage.place]
        stage.computing = False
        if self.work[block].reduce != NO_REDUCE:
            stage.queue.append(block)
        else:
            self.learned[block] += 1
        if block == len(self.work) - 1:
            self.finished.append(self.now)
        stage.full = True
        self.post(index)
        self.send(index)

    def post(self, index: int) -> None:
        """Put the output of a stage's block into buffers, if they are free, and go on."""
        stage = self.stages[index]
        block, batch = stage.blocks[stage.place], stage.batch
        out = self.receivers.get(block, ())
        if not stage.full or any(self.sent[block, to] <= batch - self.buffers for to in out):
            return
        stage.full = False
        stage.queue.extend(_Transfer(batch, block, to) for to in out)
        stage.place = (stage.place + 1) % len(stage.blocks)
        stage.batch += stage.place == 0
        self.compute(index)

    def send(self, index: int) -> None:
        """Start the oldest message or all-reduce of a stage that can start."""
        stage = self.stages[index]
        if stage.sending:
            return
        for what in stage.queue:
            if isinstance(what, int):
                if stage.receiving:
                    continue
                stage.receiving = True
                self.after(self.work[what].reduce.seconds, "reduce", index, what)
            else:
                key = what.block, what.to
                full = self.started[key] - self.freed[key] >= self.buffers
                if full or self.stages[what.to].receiving:
                    continue
                self.stages[what.to].receiving = True
                self.started[key] += 1
                self.after(self.link.seconds(self.work[what.block].sent), "transfer", index, what)
            stage.sending = True
            stage.queue.remove(what)
            return

    def end_reduce(self, index: int, what: object) -> None:
        assert isinstance(what, int)
        self.stages[index].sending = self.stages[index].receiving = False
        self.after(self.work[what].reduce.delay, "update", index, what)
        self.release(index, index)

    def end_update(self, index: int, what: object) -> None:
        assert isinstance(what, int)
        self.learned[what] += 1
        self.compute(index)

    def end_transfer(self, index: int, what: object) -> None:
        assert isinstance(what, _Transfer)
        self.sent[what.block, what.to] += 1
        self.stages[index].sending = self.stages[what.to].receiving = False
        self.after(self.link.latency, "arrival", what.to, what)
        self.post(index)
        self.release(index, what.to)

    def release(self, sender: int, receiver: int) -> None:
        """Start what waited for the links of two stages."""
        self.send(sender)
        self.send(receiver)  # its all-reduce may have waited
        for other in self.senders.get(receiver, ()):
            self.send(other)

    def end_arrival(self, index: int, what: object) -> None:
        assert isinstance(what, _Transfer)
        self.arrived[what.block, index] += 1
        self.compute(index)


class Backward(NamedTuple):
    """The seconds of one stage for one microbatch: forward, input's gradient, weights' gradient."""

    forward: float
    inputs: float
    weights: float

    @property
    def total(self) -> float:
        """All three."""
        return sum(self)


class Formula(NamedTuple):
    """What a published formula gives for one batch.

    Attributes:
        seconds: of the batch.
        kept: of how many microbatches the first stage keeps the activity at once.
    """

    seconds: float
    kept: int


def gpipe(stages: int, microbatches: int, costs: Backward) -> Formula:
    """All forward passes, then all backward passes; a bubble of (P - 1) / (M + P - 1)."""
    return Formula((microbatches + stages - 1) * costs.total, microbatches)


def one_forward_one_backward(stages: int, microbatches: int, costs: Backward) -> Formula:
    """1F1B: the time of GPipe; at most P microbatches are kept."""
    seconds, _ = gpipe(stages, microbatches, costs)
    return Formula(seconds, min(stages, microbatches))


def zero_bubble_1(stages: int, microbatches: int, costs: Backward) -> Formula:
    """ZB-H1: a bubble of (P - 1)(F + B - W); at most P microbatches are kept."""
    bubble = (stages - 1) * (costs.forward + costs.inputs - costs.weights)
    return _zero_bubble(stages, microbatches, costs, bubble, stages)


def zero_bubble_2(stages: int, microbatches: int, costs: Backward) -> Formula:
    """ZB-H2: a bubble of (P - 1)(F + B - 2 W); at most 2 P - 1 microbatches are kept."""
    bubble = (stages - 1) * (costs.forward + costs.inputs - 2 * costs.weights)
    return _zero_bubble(stages, microbatches, costs, bubble, 2 * stages - 1)


def _zero_bubble(
    stages: int, microbatches: int, costs: Backward, bubble: float, kept: int
) -> Formula:
    # The formulas hold for many microbatches. With few, the way of the last one bounds every
    # schedule with exact gradients from below: it waits for the others, goes up and comes back.
    way = (microbatches - 1) * costs.forward + stages * (costs.forward + costs.inputs)
    seconds = microbatches * costs.total + max(0.0, bubble)
    return Formula(max(seconds, way + costs.weights), min(kept, microbatches))


FORMULAS = {
    "GPipe": gpipe,
    "1F1B": one_forward_one_backward,
    "ZB-H1": zero_bubble_1,
    "ZB-H2": zero_bubble_2,
}
