"""Messages from one stage to the next, through a few buffers that are made once.

A message is sent while the sender works on: it waits only when all its buffers are on their way.
The receiver has as many buffers, and asks for messages before it needs them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from sigprop_snn.neurons.engines.parcel import Parcel
from sigprop_snn.parallel.failure import named_losses, wait

BATCH, NOTE, END, _GROW = range(4)
"""Kinds of messages: a batch, a number without a batch, the last message, larger buffers."""

_START = 1 << 12  # bytes of a buffer before the first batch
_ALIGN = 16
_WORD = 8
_PAGE = 1 << 12


class Message(NamedTuple):
    """What one stage sends to the next.

    Attributes:
        kind: `BATCH`, `NOTE` or `END`.
        words: whole numbers.
        items: tensors and spikes.
    """

    kind: int
    words: tuple[int, ...] = ()
    items: Sequence[Parcel] = ()


@dataclass(frozen=True)
class Line:
    """A line to a neighbouring stage.

    Attributes:
        peer: the neighbour's rank in the whole job.
        layers: the neighbour's layers, for messages.
        group: the process group that both belong to, or none for the group of all ranks.
        device: where the buffers are.
        slots: number of buffers.
        timeout: seconds after which a neighbour that does not answer is lost.
    """

    peer: int
    layers: str
    group: dist.ProcessGroup | None
    device: torch.device
    slots: int
    timeout: float

    def buffers(self, size: int) -> list[Tensor]:
        """Return new buffers of a number of bytes."""
        return [self.buffer(size) for _ in range(self.slots)]

    def buffer(self, size: int) -> Tensor:
        """Return a new buffer."""
        return torch.zeros(size, dtype=torch.uint8, device=self.device)

    def wait(self, work: dist.Work) -> None:
        """Wait for a message; see `failure.wait`."""
        wait(work, self.peer, self.layers, self.timeout)


@dataclass
class Outbox:
    """Sends messages to the next stage.

    Attributes:
        line: the line.
        seconds: seconds spent on waiting for a free buffer.
        sent: bytes sent.
    """

    line: Line
    seconds: float = 0.0
    sent: int = 0
    _next: int = 0
    _buffers: list[Tensor] = field(default_factory=list)
    _works: list[dist.Work | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._buffers = self.line.buffers(_START)
        self._works = [None] * self.line.slots

    def send(self, message: Message) -> None:
        """Start to send a message.

        Raises:
            RankLostError: if the next stage is lost.
        """
        head = [message.kind, len(message.words), *message.words, len(message.items)]
        for item in message.items:
            head += [len(item.words), len(item.data), *item.words]
        size = _start_of_data(len(head) + 1)
        size += sum(_aligned(len(item.data)) for item in message.items)
        if size > len(self._buffers[0]):
            grown = -(-size // _PAGE) * _PAGE
            for _ in range(self.line.slots):
                self._write([_GROW, grown], ())
                self._post()
            for slot in range(self.line.slots):
                self._settle(slot)
                self._buffers[slot] = self.line.buffer(grown)
        self._write(head, message.items)
        self._post()

    def close(self) -> None:
        """Send the last messages, one for each buffer of the receiver, and wait for them.

        Raises:
            RankLostError: if the next stage is lost.
        """
        for _ in range(self.line.slots):
            self.send(Message(END))
        for slot in range(self.line.slots):
            self._settle(slot)

    def _write(self, head: Sequence[int], items: Sequence[Parcel]) -> None:
        """Write a message into the next buffer, as soon as the buffer is free."""
        self._settle(self._next)
        buffer = self._buffers[self._next]
        words = torch.tensor([len(head), *head])
        buffer[: len(words) * _WORD].copy_(words.view(torch.uint8))
        place = _start_of_data(len(words))
        for item in items:
            buffer[place : place + len(item.data)].copy_(item.data)
            place += _aligned(len(item.data))

    def _post(self) -> None:
        slot = self._next
        buffer = self._buffers[slot]
        self._works[slot] = _posted(dist.isend, buffer, self.line)
        self._next = (slot + 1) % self.line.slots
        self.sent += len(buffer)

    def _settle(self, slot: int) -> None:
        work = self._works[slot]
        if work is not None:
            begun = time.perf_counter()
            self.line.wait(work)
            self.seconds += time.perf_counter() - begun
            self._works[slot] = None


@dataclass
class Inbox:
    """Receives the messages of the stage before.

    Attributes:
        line: the line.
        seconds: seconds spent on waiting for a message.
    """

    line: Line
    seconds: float = 0.0
    _next: int = 0
    _buffers: list[Tensor] = field(default_factory=list)
    _works: list[dist.Work] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._buffers = self.line.buffers(_START)
        self._works = [_posted(dist.irecv, buffer, self.line) for buffer in self._buffers]

    def receive(self) -> Message:
        """Return the next message. It shares no memory with the buffers.

        Raises:
            RankLostError: if the stage before is lost.
        """
        while True:
            message, grown = self._read()
            if message is not None and message.kind == END:
                self._next = (self._next + 1) % self.line.slots
                return message
            self._ask(grown)
            if message is not None:
                return message

    def close(self) -> int:
        """Receive the last messages; return how many batches came before them.

        Raises:
            RankLostError: if the stage before is lost.
        """
        ended = batches = 0
        while ended < self.line.slots:
            kind = self.receive().kind
            ended += kind == END
            batches += kind == BATCH
        return batches

    def _read(self) -> tuple[Message | None, int | None]:
        """Return the message in the next buffer, or the size of larger buffers."""
        begun = time.perf_counter()
        self.line.wait(self._works[self._next])
        self.seconds += time.perf_counter() - begun
        buffer = self._buffers[self._next]
        count = int(_words(buffer, 0, 1)[0])
        head = _words(buffer, 1, count)
        if head[0] == _GROW:
            return None, head[1]
        kind, given = head[:2]
        words, rest = tuple(head[2 : 2 + given]), head[2 + given :]
        place, at, items = _start_of_data(count + 1), 1, []
        for _ in range(rest[0]):
            length, size = rest[at : at + 2]
            described = tuple(rest[at + 2 : at + 2 + length])
            items.append(Parcel(described, buffer[place : place + size].clone()))
            at, place = at + 2 + length, place + _aligned(size)
        return Message(kind, words, items), None

    def _ask(self, grown: int | None) -> None:
        """Ask for a message into the buffer that was read, or into a larger one."""
        slot = self._next
        if grown is not None:
            self._buffers[slot] = self.line.buffer(grown)
        self._works[slot] = _posted(dist.irecv, self._buffers[slot], self.line)
        self._next = (slot + 1) % self.line.slots


def _posted(operation: Any, buffer: Tensor, line: Line) -> dist.Work:
    """Start to send or receive a buffer.

    Raises:
        RankLostError: if the neighbour is lost.
    """
    with named_losses(f"rank {line.peer} ({line.layers})", line.timeout):
        work: dist.Work | None = operation(buffer, line.peer, group=line.group)
    assert work is not None  # this rank is in the group
    return work


def _words(buffer: Tensor, first: int, count: int) -> list[int]:
    part = buffer[first * _WORD : (first + count) * _WORD]
    return part.cpu().view(torch.int64).tolist()


def _aligned(size: int) -> int:
    return -(-size // _ALIGN) * _ALIGN


def _start_of_data(words: int) -> int:
    return _aligned(words * _WORD)
