"""A section of a network: neighbouring blocks, with what enters them and what leaves them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic

from torch import Tensor

from sigprop_snn.layers.block import Block
from sigprop_snn.layers.layer_pass import Activity
from sigprop_snn.layers.readout import Reading, Readout
from sigprop_snn.layers.sources import Kept, sources_by_name
from sigprop_snn.neurons.engines import Spikes


@dataclass(frozen=True)
class Section(Generic[Activity]):
    """Neighbouring blocks of a network. The last section has the readout.

    Attributes:
        names: the blocks, in order.
        ends: whether the network's last block is one of them.
        kept: what the blocks receive; after the pass, what the blocks of later sections receive.
        reading: what the readout has received so far.
        steps: T.
    """

    names: tuple[str, ...]
    ends: bool
    kept: Kept[Activity]
    reading: Reading
    steps: int

    @classmethod
    def whole(
        cls, blocks: Iterable[tuple[str, Block]], readout: Readout | None, inputs: Activity
    ) -> Section[Activity]:
        """Return the section of all blocks, before a pass.

        Args:
            blocks: the network's blocks by name, in order.
            readout: its readout, or none.
            inputs: the input of the first block, `[T, N, ...]`.
        """
        blocks = list(blocks)
        kept, steps = Kept.at_start(sources_by_name(blocks), inputs), inputs.shape[0]
        return cls(tuple(name for name, _ in blocks), True, kept, Reading(readout, blocks), steps)

    @classmethod
    def between(
        cls,
        names: Iterable[str],
        blocks: Iterable[tuple[str, Block]],
        readout: Readout | None,
        sent: Mapping[str, Activity],
        read: Mapping[str, Tensor | Spikes],
        steps: int,
    ) -> Section[Activity]:
        """Return a section in the middle of a pass.

        Args:
            names: its blocks.
            blocks: all blocks of the network by name, in order.
            readout: the network's readout, or none.
            sent: what lower blocks have sent and a later block receives, by name; the network's
                input is "input".
            read: what the readout has received of lower blocks that are not in `sent`, by name;
                see `Reading.parts`.
            steps: T.
        """
        blocks, names = list(blocks), tuple(names)
        ends = names[-1] == blocks[-1][0]
        reading = Reading(readout, blocks, ends=ends)
        reading.restore(read, steps)
        for name, spikes in sent.items():
            reading.add(name, spikes)
        return cls(names, ends, Kept(sources_by_name(blocks), sent), reading, steps)

    def of(self, blocks: Iterable[tuple[str, Block]]) -> Iterator[tuple[str, Block]]:
        """Yield those of a network's blocks that are in the section."""
        return ((name, block) for name, block in blocks if name in self.names)
