"""The layout of blocks that exist."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sigprop_snn.arguments import axes, instance, positive, refused, whole
from sigprop_snn.layers.block import Block
from sigprop_snn.layers.layer_pass import fits
from sigprop_snn.layers.sources import Kept, joining, sources_by_name
from sigprop_snn.neurons.joining import joined
from sigprop_snn.shapes import Layout


def layout_of(
    blocks: Sequence[Block], shape: tuple[int, ...], classes: int, gain: float = 1.0
) -> Layout:
    """Return the layout of blocks, found by passing zeros through.

    Args:
        blocks: the blocks, in order.
        shape: shape of one step of one sample.
        classes: C.
        gain: root mean square of the first block's current at the start, in units of voltage.

    Raises:
        SigpropError: if there are no blocks, an argument can't be used, or the outputs that a
            block receives can't be joined or do not fit it; it names the block.
    """
    if not isinstance(blocks, Sequence) or not blocks:
        raise refused("blocks", blocks, "a list of blocks")
    for index, block in enumerate(blocks):
        instance(f"blocks[{index}]", block, Block, "a Block")
    shape, classes, gain = axes("shape", shape), whole("classes", classes), positive("gain", gain)
    inputs, currents, outputs = [], [], []
    with torch.no_grad():
        named = [(f"block{index + 1}", block) for index, block in enumerate(blocks)]
        parameters = (p for block in blocks for p in block.synapse.parameters())
        zeros = next(parameters, torch.zeros(())).new_zeros(1, *shape)
        kept = Kept.at_start(sources_by_name(named), zeros)
        for name, block in named:
            parts = [part.unsqueeze(0) for part in kept.take(name)]
            with joining(name):
                rows = joined(parts, block.sources.join)[0]
            inputs.append(tuple(rows.shape[1:]))
            with fits(rows.shape, name, joined=len(parts) > 1):
                rows = block.synapse(rows)
                currents.append(tuple(rows.shape[1:]))
                rows = block.pool(rows)
            outputs.append(tuple(rows.shape[1:]))
            kept.put(name, rows)
    weights = tuple(
        tuple(tuple(p.shape) for p in block.synapse.parameters() if p.dim() > 1) for block in blocks
    )
    return Layout(classes, tuple(inputs), tuple(currents), tuple(outputs), gain, weights)
