"""The layout of blocks that exist."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn

from sigprop_snn.layers.sources import Kept, Sources, joining, sources_by_name
from sigprop_snn.neurons.joining import joined
from sigprop_snn.shapes import Layout


class _Block(Protocol):
    synapse: nn.Module
    pool: nn.Module
    sources: Sources


def layout_of(
    blocks: Sequence[_Block], shape: tuple[int, ...], classes: int, gain: float = 1.0
) -> Layout:
    """Return the layout of blocks for samples of `shape`, found by passing zeros through.

    Raises:
        SigpropError: if the outputs that a block receives can't be joined; it names the block.
    """
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
            rows = block.synapse(rows)
            currents.append(tuple(rows.shape[1:]))
            rows = block.pool(rows)
            outputs.append(tuple(rows.shape[1:]))
            kept.put(name, rows)
    weights = tuple(
        tuple(tuple(p.shape) for p in block.synapse.parameters() if p.dim() > 1) for block in blocks
    )
    return Layout(classes, tuple(inputs), tuple(currents), tuple(outputs), gain, weights)
