"""Layers of LIF neurons behind spikes: what those of linear synapses and convolutions share.

The numbers of up to `BLOCK` neurons, in whole panels, lie in rows of one array. Its rows have
constant distances, so LLVM sees that they do not overlap, and makes vector code.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.neurons.engines.cpu.lif import constants_of, lif_step, scale_of_row
from sigprop_snn.neurons.engines.cpu.spikes import PackedSpikes
from sigprop_snn.neurons.engines.cpu.threads import jitable
from sigprop_snn.neurons.engines.engine import Run, Scale
from sigprop_snn.neurons.engines.observed import WINDOW
from sigprop_snn.neurons.engines.plain import lif_run
from sigprop_snn.neurons.lif import LIF

BLOCK = 128  # neurons, at most
OWN = 2  # rows of what goes on from window to window: the voltage, and its sum over the steps
OFFSET, BITS, WORK = 1, 2, 3  # rows of what is needed in a window, behind the gain

# The voltage of a neuron that forgets at once and is never reset is its current.
_CURRENTS = LIF(beta=0.0, reset="none")


@dataclass(frozen=True, eq=False)
class SpikingLayer(ABC):
    """A synapse and the spikes that it receives, ready to be summed.

    Attributes:
        spikes: `[T, N, ...]`.
        table: the weights in panels of output channels, in the order in which a kernel reads them.
        bias: `[F]`.
    """

    spikes: PackedSpikes
    table: Tensor
    bias: Tensor

    @property
    def current_shape(self) -> tuple[int, ...]:
        """The shape of a row's current, `[F, ...]`."""
        return (len(self.bias),)

    @abstractmethod
    def _run_rows(self, contexts: Tensor, scale: Scale | None, arrays: tuple[Any, ...]) -> None:
        """Run the kernel of the layer over all rows; `arrays` are its last arguments."""

    def currents(self) -> Tensor:
        """Return the currents, `[T, N, F, ...]`."""
        return self.run(_CURRENTS, record=("voltage",)).recorded["voltage"]

    def run(
        self,
        neuron: LIF,
        *,
        contexts: Tensor | None = None,
        scale: Scale | None = None,
        record: Sequence[str] = (),
    ) -> Run:
        """Run LIF neurons from rest, from spikes to spikes; currents are never written out.

        Args:
            neuron: a model that `why_not_lif` does not refuse.
            contexts: the constant current of the context rows, `[C, F, ...]`. No scale applies to
                them.
            scale: what the current goes through on its way in, channel by channel.
            record: "spike", "voltage", both or none.
        """
        steps, rows = self.spikes.shape[:2]
        channels, *places = self.current_shape
        contexts = self.bias.new_empty(0, channels, *places) if contexts is None else contexts
        rows += len(contexts)
        shape = *(places or (1, 1)), channels
        patterns = torch.empty(rows, -(-steps // WINDOW), *shape, dtype=torch.uint8)
        voltage = torch.empty(
            steps if "voltage" in record else 0, rows, *shape, dtype=torch.float32
        )
        state = torch.empty(2, rows, *shape, dtype=torch.float32)
        arrays = patterns, voltage, state, constants_of(neuron), steps
        self._run_rows(contexts.detach().float(), scale, arrays)
        state[1].div_(steps)
        patterns, voltage, last, mean = (
            each.movedim(-1, -3).view(*each.shape[:-3], channels, *places)
            for each in (patterns, voltage, *state)
        )
        return lif_run(PackedSpikes(patterns, steps), mean, last, voltage, record)


def channel_scale(bias: Tensor, scale: Scale | None, width: int) -> Tensor:
    """Return gain and offset of every channel, `[2, width]`; behind the last channel all is 0.

    The bias `[F]` of a synapse goes through the scale, so it is part of the offset.
    """
    if scale is not None:
        offset = None if scale.offset is None else scale.offset.flatten()
        scale = Scale(scale.gain.flatten(), offset)
    gain, offset = scale_of_row(bias.shape, scale)
    return F.pad(torch.stack([gain, offset + gain * bias]), (0, width - len(bias)))


@jitable
def whole_panels(panel: Any) -> Any:
    """Return how many neurons a block has: no panel of channels is divided between two."""
    return BLOCK // panel * panel


@jitable
def set_scale(
    work: Any, scales: Any, scaled: Any, first: Any, neurons: Any, panel: Any, block: Any
) -> None:
    """Write gain and offset of a row's neurons; 1 and 0 for a context, which no scale changes."""
    for i in range(neurons):
        at = i // block * WORK * BLOCK + i % block
        work[at] = scales[0, first + i % panel] if scaled else np.float32(1.0)
        work[at + OFFSET * BLOCK] = scales[1, first + i % panel] if scaled else np.float32(0.0)


@jitable
def run_block(
    currents: Any, left: Any, neurons: Any, own: Any, work: Any, constants: Any, length: Any
) -> None:
    """Run the neurons of one block through the steps of a window.

    Args:
        currents: `[4, columns]`; the voltages before the reset replace them.
        left: the first neuron's place in a row of currents.
        neurons: how many there are, at most `BLOCK`.
        own: the voltage of every neuron, and its sum over the steps; both go on.
        work: gain and offset of every neuron, and its pattern, which is written.
        constants: those of the neuron.
        length: the number of steps.
    """
    beta, gain, threshold, reset_amount, reset_to_zero = constants
    size = min(neurons, BLOCK)  # tells LLVM that no rows overlap
    for i in range(size):
        work[BITS * BLOCK + i] = 0
    for step in range(length):
        current, bit = currents[step, left:], np.float32(1 << step)
        for i in range(size):
            entering = work[i] * current[i] + work[OFFSET * BLOCK + i]
            before, fires, after = lif_step(
                own[i], entering, beta, gain, threshold, reset_amount, reset_to_zero
            )
            own[i] = after
            own[BLOCK + i] += before
            work[BITS * BLOCK + i] += bit if fires else np.float32(0.0)
            current[i] = before


@jitable
def write_window(
    currents: Any, left: Any, panel: Any, block: Any, work: Any, patterns: Any,
    voltages: Any, window: Any, row: Any, y: Any, first: Any,
) -> None:  # fmt: skip
    """Write what a panel of neurons in a row of positions did in a window.

    Args:
        currents: `[4, columns * panel]`, with the voltages before the reset.
        left: the first neuron's place in a row of currents.
        panel: the number of channels.
        block: how many neurons a block has.
        work: of all blocks, see `run_block`.
        patterns: what fires, `[N, W, H, W', F]`, is written here,
        voltages: and the voltages `[T, N, H, W', F]`, if there is room for them.
        window: which window,
        row: row of the batch,
        y: row of positions,
        first: and channel of the arrays the panel begins with.
    """
    copy_from_blocks(patterns[row, window, y], first, work, WORK, BITS, panel, block)
    for step in range(min(WINDOW, voltages.shape[0] - window * WINDOW)):
        voltage = voltages[window * WINDOW + step, row, y]
        neurons = voltage.shape[0] * panel
        copy_from_blocks(voltage, first, currents[step, left:], 1, 0, panel, neurons)


@jitable
def copy_from_blocks(
    out: Any, first: Any, blocks: Any, rows: Any, which: Any, panel: Any, block: Any
) -> None:
    """Copy a panel from one of the rows of all blocks to the channels from `first` of `[W', F]`."""
    channels, source = min(panel, out.shape[1] - first), which * BLOCK
    used = 0
    for x in range(out.shape[0]):
        at = source + used
        into, given = out[x, first : first + channels], blocks[at : at + channels]
        for f in range(channels):
            into[f] = given[f]
        used += panel
        if used == block:
            used, source = 0, source + rows * BLOCK
