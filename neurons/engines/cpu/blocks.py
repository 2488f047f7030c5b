"""Neurons in blocks: the step of LIF that the layer kernels share.

The numbers of up to `BLOCK` neurons lie in rows of one array. Its rows have constant distances, so
LLVM sees that they do not overlap, and makes vector code.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sigprop_snn.neurons.engines.cpu.lif import lif_step
from sigprop_snn.neurons.engines.cpu.threads import jitable
from sigprop_snn.neurons.engines.engine import Scale

BLOCK = 128  # neurons; a panel of channels is not divided between two blocks
OWN = 2  # rows of what goes on from window to window: the voltage, and its sum over the steps
OFFSET, BITS, WORK = 1, 2, 3  # rows of what is needed in a window, behind the gain


def channel_scale(bias: Tensor, scale: Scale | None, width: int) -> Tensor:
    """Return gain and offset of every channel, `[2, width]`; behind the last channel all is 0.

    The bias `[F]` of a synapse goes through the scale, so it is part of the offset.
    """
    channels = len(bias)
    values = torch.zeros(2, width)
    values[0, :channels] = 1.0 if scale is None else scale.gain.detach().flatten()
    if scale is not None and scale.offset is not None:
        values[1, :channels] = scale.offset.detach().flatten()
    values[1, :channels] += values[0, :channels] * bias
    return values


@jitable
def step_blocks(
    currents: Any, length: Any, left: Any, neurons: Any, own: Any, work: Any, constants: Any
) -> None:
    """Run a row of neurons through the steps of a window.

    Args:
        currents: `[4, columns * panel]`; the voltages before the reset replace them.
        length: the number of steps.
        left: the first neuron's place in a row of currents.
        neurons: how many there are.
        own: the voltage of every neuron, and its sum over the steps; both go on.
        work: gain and offset of every neuron, and its pattern, which is written.
        constants: those of the neuron.
    """
    beta, current_gain, threshold, reset_amount, reset_to_zero = constants
    for first in range(0, neurons, BLOCK):
        size = min(BLOCK, neurons - first)
        state = own[OWN * first : OWN * (first + BLOCK)]
        mine = work[WORK * first : WORK * (first + BLOCK)]
        for i in range(size):
            mine[BITS * BLOCK + i] = 0
        for step in range(length):
            current, bit = currents[step, left + first :], np.float32(1 << step)
            for i in range(size):
                entering = mine[i] * current[i] + mine[OFFSET * BLOCK + i]
                before, fires, after = lif_step(
                    state[i], entering,
                    beta, current_gain, threshold, reset_amount, reset_to_zero,
                )  # fmt: skip
                state[i] = after
                state[BLOCK + i] += before
                mine[BITS * BLOCK + i] += bit if fires else np.float32(0.0)
                current[i] = before


@jitable
def copy_from_blocks(
    out: Any, first: Any, channels: Any, blocks: Any, rows: Any, which: Any, panel: Any
) -> None:
    """Copy the channels of a panel from one of the rows of all blocks to `[columns, F]`.

    Blocks of one row, one behind the other, are a row `[columns * panel]`.
    """
    for x in range(out.shape[0]):
        at = x * panel
        source = (at // BLOCK * rows + which) * BLOCK + at % BLOCK
        into, given = out[x, first : first + channels], blocks[source : source + channels]
        for f in range(channels):
            into[f] = given[f]


@jitable
def set_scale(work: Any, scales: Any, scaled: Any, first: Any, neurons: Any, panel: Any) -> None:
    """Write gain and offset of a row's neurons; 1 and 0 for a context, which no scale changes."""
    for i in range(neurons):
        at = i // BLOCK * WORK * BLOCK + i % BLOCK
        work[at] = scales[0, first + i % panel] if scaled else np.float32(1.0)
        work[at + OFFSET * BLOCK] = scales[1, first + i % panel] if scaled else np.float32(0.0)
