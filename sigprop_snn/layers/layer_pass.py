"""The one loop over blocks: prediction, learning, recording and every rule pass through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from sigprop_snn.device import is_out_of_memory
from sigprop_snn.errors import SigpropError
from sigprop_snn.layers.block import Block
from sigprop_snn.layers.contracts import Response
from sigprop_snn.layers.hooks import fire
from sigprop_snn.layers.sources import Kept, joining, sources_by_name
from sigprop_snn.neurons.engines import Run, Spikes, engine_for
from sigprop_snn.neurons.engines.late import refuse_if
from sigprop_snn.neurons.joining import joined
from sigprop_snn.signals.base import Signal

Activity = TypeVar("Activity", Spikes, Tensor)
"""What travels from block to block: spikes, or a tensor where a gradient travels with them."""


@dataclass(frozen=True)
class Layer(Generic[Activity]):
    """One block's part in a pass.

    Attributes:
        name: "block1" for the first block.
        block: the block.
        inputs: its input, `[T, N, ...]`.
        response: what it did.
        sent: its output, behind its pool, `[T, N, ...]`.
    """

    name: str
    block: Block
    inputs: Activity
    response: Response
    sent: Activity

    @property
    def run(self) -> Run:
        """Its spikes and voltages."""
        return self.response.run


def layer_pass(
    blocks: Iterable[tuple[str, Block]],
    signal: Signal,
    inputs: Activity,
    respond: Callable[[str, Block, Activity], tuple[Response, Activity]],
) -> Iterator[Layer[Activity]]:
    """Pass an input through blocks, from the first to the last.

    Args:
        blocks: the blocks by name, in order.
        signal: the network's signal, to check the first block against.
        inputs: the input of the first block, `[T, N, ...]`.
        respond: runs a block; returns its response, and its output behind its pool.

    Raises:
        SigpropError: as in `section_pass`.
    """
    blocks = list(blocks)
    return section_pass(blocks, signal, Kept.at_start(sources_by_name(blocks), inputs), respond)


def section_pass(
    blocks: Iterable[tuple[str, Block]],
    signal: Signal,
    kept: Kept[Activity],
    respond: Callable[[str, Block, Activity], tuple[Response, Activity]],
) -> Iterator[Layer[Activity]]:
    """Pass what is kept through neighbouring blocks of a network.

    A block runs when the caller asks for it, so a caller can update each block before the next
    one runs, and can stop. Once the next block is asked for, only outputs that a later block
    receives are kept. Forward hooks of a block and of its neuron fire; see `Block`.

    Args:
        blocks: the blocks by name, in order.
        signal: the network's signal, to check the first block against.
        kept: what the blocks receive; after the pass, what the blocks behind them receive.
        respond: runs a block; returns its response, and its output behind its pool.

    Raises:
        SigpropError: if an input does not fit its block, or drives the first out of range; if
            the outputs that a block receives can't be joined, or don't fit the block.
    """
    for name, block in blocks:
        first = kept.is_first(name)
        parts = kept.take(name)
        inputs = joined_input(name, block, parts)
        with fits(inputs.shape, name, joined=len(parts) > 1):
            del parts
            response, sent = respond(name, block, inputs)
        if first:
            check_first(inputs.shape, response.run, signal)
        fire(f"the neuron of {name}", block.neuron, (), response.run.spikes)
        fire(name, block, (inputs,), sent)
        kept.put(name, sent)
        yield Layer(name, block, inputs, response, sent)
        del inputs, response, sent  # the graph of this block ends before the next one runs


def joined_input(name: str, block: Block, parts: Sequence[Activity]) -> Activity:
    """Return the input of a block, given what each of its sources sends.

    Raises:
        SigpropError: if the parts can't be joined; it names the block.
    """
    if len(parts) == 1:
        return parts[0]
    with joining(name):
        if isinstance(parts[0], Tensor):
            return joined(parts, block.sources.join)
        return block.engine.join(parts, block.sources.join)


def plain_pass(
    blocks: Iterable[tuple[str, Block]],
    signal: Signal,
    inputs: Tensor,
    *,
    record: tuple[str, ...] = (),
    observe: bool = False,
) -> Iterator[Layer[Spikes]]:
    """Pass samples through without contexts and without a gradient.

    Args:
        blocks: the blocks by name, in order.
        signal: the network's signal.
        inputs: `[T, B, ...]`.
        record: what the runs keep of every step.
        observe: whether the normalisers of blocks in training observe the samples.
    """

    def respond(name: str, block: Block, inputs: Spikes) -> tuple[Response, Spikes]:
        rows = observed_rows(block, inputs) if observe else 0
        ran = block.run(inputs, observed_rows=rows, record=record, keeps_state=False)
        return Response(ran), ran.spikes.pooled(block.pool)

    return layer_pass(blocks, signal, as_spikes(signal.plain(inputs)), respond)


def as_spikes(inputs: Tensor) -> Spikes:
    """Return an input `[T, N, ...]` as the engine of its device stores it.

    Raises:
        SigpropError: if a number is not finite.
    """
    return engine_for(inputs.device).spikes(inputs)


def observed_rows(block: Block, inputs: Spikes | Tensor) -> int:
    """Return how many rows of a learning pass the block's normaliser observes."""
    return inputs.shape[1] if block.training else 0


@contextmanager
def fits(inputs: Sequence[int], name: str, *, joined: bool = False) -> Iterator[None]:
    """Turn torch's error for an input of the wrong shape into one that names shape and block.

    Args:
        inputs: the shape, `[T, N, ...]`.
        name: of the block.
        joined: whether it receives several blocks.

    Raises:
        SigpropError: if torch can't run the block on its input.
    """
    try:
        yield
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        kind = "joined input" if joined else "input"
        raise SigpropError(
            f"{kind} of shape {list(inputs)} does not fit {name}, or the parts of {name} do not "
            f"fit each other: {error}"
        ) from error


def check_first(inputs: Sequence[int], ran: Run, signal: Signal) -> None:
    """Check the run of the first block.

    Raises:
        SigpropError: if its voltage is not finite, or its shape is not the signal's.
    """
    voltage = ran.mean_voltage
    check_voltage(voltage)
    found = tuple(voltage.shape[1:])
    if signal.shape is not None and found != tuple(signal.shape):
        raise SigpropError(
            f"input of shape {list(inputs)} gives the first block a current of shape "
            f"{list(found)}; expected {list(signal.shape)}, the signal's"
        )


def check_voltage(voltage: Tensor) -> None:
    """Check the voltage of the first block.

    Raises:
        SigpropError: if a number is not finite.
    """
    # NaN never exceeds a threshold: without this check it would pass for silence. A finite sum
    # has finite terms, and takes one pass.
    refuse_if(lambda: ~torch.isfinite(voltage.sum()), lambda: _not_finite(voltage), voltage.device)


def _not_finite(voltage: Tensor) -> SigpropError | None:
    if torch.isfinite(voltage).all():
        return None
    return SigpropError(
        "the first block's membrane voltage is not finite; expected smaller inputs or weights"
    )
