"""Which blocks a block receives: those directly below it, or any lower ones by name."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar

from sigprop_snn.arguments import one_of
from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons.joining import JOINS, Join

INPUT = "input"
_Activity = TypeVar("_Activity")


@dataclass(frozen=True)
class Sources:
    """What a block receives, and how it is joined.

    Maps of different sizes are pooled to the smallest by the maximum. Vectors beside maps: the
    maps are flattened. The first block receives the network's input.

    Args:
        blocks: how many blocks directly below, fewer near the front; or the names of lower blocks,
            such as ("block1", "block3"). The order of the names is the order side by side; with a
            number, the nearest block comes first.
        join: "side-by-side" along the axis of maps or neurons, or "sum", for blocks with the same
            number of maps or neurons. A sum of spikes is a count.

    Raises:
        SigpropError: if the number is below 1, there is no name, or one name comes twice.
        UnknownNameError: if the join is unknown.
    """

    blocks: int | tuple[str, ...] = 1
    join: Join = "side-by-side"

    def __post_init__(self) -> None:
        blocks = self.blocks
        if hasattr(blocks, "__index__") and not hasattr(blocks, "__len__") and blocks is not True:
            blocks = operator.index(blocks) if not isinstance(blocks, type) else 0
            object.__setattr__(self, "blocks", blocks)
        if isinstance(blocks, int):
            valid = not isinstance(blocks, bool) and blocks >= 1
        else:
            valid = isinstance(blocks, tuple) and all(isinstance(name, str) for name in blocks)
            valid = valid and 0 < len(blocks) == len(set(blocks))
        if not valid:
            raise SigpropError(
                f"sources are {blocks!r}; expected a number of blocks from 1, or a tuple of "
                "different names, such as ('block1', 'block2')"
            )
        one_of("join", self.join, JOINS)

    @classmethod
    def of(cls, given: AnySources) -> Sources:
        """Return sources as they are, or those of a number or of names."""
        return given if isinstance(given, Sources) else cls(given)

    def received(self, name: str, below: Sequence[str]) -> tuple[str, ...]:
        """Return the names of what a block receives.

        Args:
            name: the block's name.
            below: the names of the blocks below it, in order; none for the first block.

        Raises:
            SigpropError: if a name is not that of a lower block.
        """
        if isinstance(self.blocks, int):
            return tuple(reversed(below[-self.blocks :])) or (INPUT,)
        allowed = tuple(below) or (INPUT,)
        for source in self.blocks:
            if source not in allowed:
                reason = ""
                if source == INPUT:
                    reason = " (the contexts enter at block1, so the input has no rows of them)"
                raise SigpropError(
                    f"{name} receives {source!r}; expected {' or '.join(allowed)}{reason}"
                )
        return self.blocks


AnySources: TypeAlias = Sources | int | tuple[str, ...]
"""What names the sources of a block: a number of blocks and names are joined side by side."""


class _Receiving(Protocol):
    sources: Sources


def sources_by_name(blocks: Iterable[tuple[str, _Receiving]]) -> dict[str, tuple[str, ...]]:
    """Return what every block receives, by its name: `("input",)` for the first block.

    Args:
        blocks: the blocks by name, in order.

    Raises:
        SigpropError: if a block receives a name that is not that of a lower block.
    """
    received: dict[str, tuple[str, ...]] = {}
    for name, block in blocks:
        received[name] = block.sources.received(name, list(received))
    return received


def first_branch(received: Mapping[str, tuple[str, ...]]) -> str | None:
    """Return the first block that does not receive the block below it alone, or none."""
    below = INPUT
    for name, sources in received.items():
        if sources != (below,):
            return name
        below = name
    return None


@contextmanager
def joining(name: str) -> Iterator[None]:
    """Put the name of the block before an error of joining.

    Raises:
        SigpropError: the error, with the block's name.
    """
    try:
        yield
    except SigpropError as error:
        raise SigpropError(f"{name}: {error}") from error


class Kept(Generic[_Activity]):
    """Keeps what blocks send, until no later block receives it.

    Args:
        received: what every block receives; see `sources_by_name`.
        sent: what the blocks below have sent and a later block receives, by name.
    """

    def __init__(
        self, received: Mapping[str, tuple[str, ...]], sent: Mapping[str, _Activity]
    ) -> None:
        self._received = received
        self._last = {source: name for name, of in received.items() for source in of}
        self._kept = dict(sent)

    @classmethod
    def at_start(
        cls, received: Mapping[str, tuple[str, ...]], inputs: _Activity
    ) -> Kept[_Activity]:
        """Return what is kept before the first block: the network's input."""
        return cls(received, {INPUT: inputs})

    @property
    def waiting(self) -> dict[str, _Activity]:
        """What blocks have sent and a later block receives, by name."""
        return dict(self._kept)

    def is_first(self, name: str) -> bool:
        """Return whether a block receives the network's input."""
        return self._received[name] == (INPUT,)

    def take(self, name: str) -> list[_Activity]:
        """Return what a block receives, and forget what no later block does."""
        parts = [self._kept[source] for source in self._received[name]]
        for source in self._received[name]:
            if self._last[source] == name:
                del self._kept[source]
        return parts

    def put(self, name: str, sent: _Activity) -> None:
        """Keep what a block sends, if a later block receives it."""
        if name in self._last:
            self._kept[name] = sent
