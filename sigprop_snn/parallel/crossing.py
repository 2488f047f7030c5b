"""What of a batch crosses from one stage to the next.

Spikes travel as bits: those that a later block receives, and, for a readout that reads several
blocks, their spikes in maps as small as the readout reads them. Nothing travels twice, and labels
don't travel.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sigprop_snn.layers.readout import Readout
from sigprop_snn.layers.section import Section
from sigprop_snn.layers.sources import sources_by_name
from sigprop_snn.network import Network
from sigprop_snn.neurons.engines import Spikes
from sigprop_snn.neurons.engines.parcel import (
    Parcel,
    pack_spikes,
    pack_tensor,
    unpack_spikes,
    unpack_tensor,
)
from sigprop_snn.parallel.channel import BATCH, Message
from sigprop_snn.predict import Predict
from sigprop_snn.rules.signal_propagation import Votes
from sigprop_snn.signals.base import Entry

_BY_ALL_BLOCKS: tuple[Predict, ...] = ("vote", "subset")
_TRACE_BYTES = 4  # of one number of a trace, float32
_TARGETS, _ANSWERS, _FRACTIONS, _OTHERS, _NO_SCORES = range(5)  # what scores were compared with


class Batch(NamedTuple):
    """A batch between two stages.

    Attributes:
        number: its number, from 0.
        rows: number of rows of every replica.
        entry: what entered the first block; its rows are not used.
        section: the section that the batch has passed.
        votes: the scores of the layers below.
    """

    number: int
    rows: Sequence[int]
    entry: Entry
    section: Section[Spikes]
    votes: Votes


class Arrived(NamedTuple):
    """A batch that has arrived at a stage.

    Attributes:
        number: its number, from 0.
        labels: the checksum of its labels.
        steps: T.
        rows: number of rows of every replica.
        entry: what entered the first block, without the rows.
        sent: what lower blocks have sent and a later block receives, by name.
        read: what the readout has received of other blocks, by name; see `Reading.parts`.
        votes: the scores of the layers below.
    """

    number: int
    labels: int
    steps: int
    rows: Sequence[int]
    entry: Entry
    sent: Mapping[str, Spikes]
    read: Mapping[str, Tensor | Spikes]
    votes: Votes


@dataclass(frozen=True)
class Crossing:
    """What crosses from one stage to the next.

    Attributes:
        spikes: the blocks whose spikes cross.
        read: other blocks that the readout reads.
        scores: the blocks whose scores cross, because the network predicts by all blocks.
        readout: the network's readout, or none.
    """

    spikes: tuple[str, ...]
    read: tuple[str, ...]
    scores: tuple[str, ...]
    readout: Readout | None

    @classmethod
    def of(cls, network: Network, name: str) -> Crossing:
        """Return what crosses to the stage that begins with the block `name`."""
        blocks = list(network.named_blocks())
        received = sources_by_name(blocks)
        names = list(received)
        below, above = names[: names.index(name)], names[names.index(name) :]
        read = network.readout.names(blocks) if network.readout is not None else ()
        spikes = [each for each in below if any(each in received[later] for later in above)]
        return cls(
            tuple(spikes),
            tuple(each for each in below if each in read and each not in spikes),
            tuple(below) if network.predict in _BY_ALL_BLOCKS else (),
            network.readout,
        )

    def pack(self, batch: Batch, labels: Tensor) -> Message:
        """Return a batch as a message.

        Args:
            batch: the batch.
            labels: its labels, which the next stage has.
        """
        _, rows, entry, section, votes = batch
        sent, read = section.kept.waiting, section.reading.parts
        known = [value is labels for value in (entry.targets, entry.answers)]
        items = [pack_spikes(sent[name]) for name in self.spikes]
        items += [_pack_read(self.readout, read[name]) for name in self.read]
        items += [pack_tensor(votes.scores[name]) for name in self.scores if name in votes.scores]
        items += [
            pack_tensor(value)
            for value, is_known in zip((entry.targets, entry.answers), known, strict=True)
            if value is not None and not is_known
        ]
        words = (
            batch.number, checksum(labels), section.steps, entry.samples, entry.observed_rows,
            entry.contexts_per_sample, *known, len(rows), *rows,
            *(_kind(votes.targets.get(name), entry) for name in self.scores),
        )  # fmt: skip
        return Message(BATCH, tuple(map(int, words)), items)

    def unpack(self, message: Message, labels: Tensor, device: torch.device) -> Arrived:
        """Return the batch of a message.

        Args:
            message: the message.
            labels: the labels of the batch.
            device: where its tensors go.
        """
        items = _on(device, message)
        sent = {name: unpack_spikes(*next(items)) for name in self.spikes}
        read = {name: _unpack_read(*next(items)) for name in self.read}
        number, of_labels, steps, samples, observed, contexts, *rest = message.words
        count = rest[2]
        rows, kinds = rest[3 : 3 + count], rest[3 + count :]
        scored = [
            (name, kind, unpack_tensor(*next(items)))
            for name, kind in zip(self.scores, kinds, strict=True)
            if kind != _NO_SCORES
        ]
        targets, answers = (
            labels if is_known else unpack_tensor(*next(items)) for is_known in rest[:2]
        )
        nothing = torch.empty(0, device=device)
        entry = Entry(nothing, None, samples, observed, contexts, targets, answers)
        votes = Votes()
        for name, kind, scores in scored:
            votes.add(name, scores, _targets(kind, entry, scores))
        return Arrived(number, of_labels, steps, rows, entry, sent, read, votes)


def checksum(labels: Tensor) -> int:
    """Return a number that tells labels from others."""
    return zlib.crc32(labels.detach().cpu().contiguous().numpy().tobytes())


def _on(device: torch.device, message: Message) -> Iterator[Parcel]:
    for words, data in message.items:
        yield Parcel(words, data.to(device))


def _pack_read(readout: Readout | None, part: Tensor | Spikes) -> Parcel:
    """Return a part of what the readout has received: as spikes, or as a trace if it is smaller."""
    if not isinstance(part, Tensor):
        words, data = pack_spikes(part)
        if len(data) <= _TRACE_BYTES * part.shape[1:].numel():
            return Parcel((1, *words), data)
        assert readout is not None  # it has received the part
        part = readout.trace_of(part)
    words, data = pack_tensor(part)
    return Parcel((0, *words), data)


def _unpack_read(words: Sequence[int], data: Tensor) -> Tensor | Spikes:
    are_spikes, *rest = words
    return unpack_spikes(rest, data) if are_spikes else unpack_tensor(rest, data)


def _kind(targets: Tensor | None, entry: Entry) -> int:
    """Return what a layer compared its scores with; none is for a layer without scores."""
    if targets is None:
        return _NO_SCORES
    if targets is entry.targets:
        return _TARGETS
    if targets is entry.answers:
        return _ANSWERS
    return _FRACTIONS if targets.is_floating_point() else _OTHERS


def _targets(kind: int, entry: Entry, scores: Tensor) -> Tensor:
    """Return targets of the same kind; for others than those of the entry, a stand-in."""
    known = {_TARGETS: entry.targets, _ANSWERS: entry.answers}.get(kind)
    if known is not None:
        return known
    if kind == _FRACTIONS:
        return torch.zeros_like(scores)
    return torch.zeros(len(scores), dtype=torch.long, device=scores.device)
