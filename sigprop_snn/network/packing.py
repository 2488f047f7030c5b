"""Blocks that run from packed spikes to packed spikes, and what their normalisers see then."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sigprop_snn.network.affine import Affine
from sigprop_snn.network.synapse import EventLinear
from sigprop_snn.neurons import Neuron
from sigprop_snn.neurons.kernels import (
    WINDOW,
    Convolution,
    Packed,
    Synapse,
    fits_convolution,
    fits_layer,
)

_OBSERVED = 32  # windows, whose currents stand for those of a batch,
_OBSERVED_MAPS = 24  # or of maps, which have many places each


def packs(parts: Affine | None, neuron: Neuron, activity: Tensor | Packed) -> bool:
    """Return whether a block has a kernel for the whole of it, and one that takes this.

    Args:
        parts: the block's synapse and normaliser, or none where they are not that simple.
        neuron: its neuron.
        activity: what comes in, `[T, N, ...]`.
    """
    if parts is None:
        return False
    if type(parts.synapse) is EventLinear:
        return fits_layer(neuron, activity, parts.synapse.weight, parts.synapse.bias)
    if type(parts.synapse) is nn.Conv2d:
        return not parts.flat and fits_convolution(neuron, activity, parts.synapse)
    return False


def packed_synapse(parts: Affine, activity: Packed) -> Synapse | Convolution:
    """Return the synapse of a block that packs, ready for what comes in."""
    layer = parts.synapse
    if isinstance(layer, nn.Conv2d):
        assert not isinstance(layer.padding, str)  # `packs` saw to it
        above, beside = layer.padding
        return Convolution.of(activity, layer.weight, layer.bias, (above, beside))
    return Synapse.of(activity.flatten(), layer.weight, layer.bias)


class Observed(NamedTuple):
    """What a normaliser takes for the currents of all rows and steps: some windows of some rows.

    Attributes:
        rows: the row of every window, `[R]`.
        windows: which of the row's, `[R]`.
        steps: its steps, `[4, R]`, none above the last.
        inside: which of them there are, where not all windows are whole.
    """

    rows: Tensor
    windows: Tensor
    steps: Tensor
    inside: Tensor | None

    def among(self, currents: Tensor) -> Tensor:
        """Return those that there are of the windows' currents `[4, R, ...]`, as `[N, ...]`."""
        return currents.flatten(0, 1) if self.inside is None else currents[self.inside]


@functools.lru_cache(maxsize=64)
def observed(steps: int, rows: int, *, maps: bool) -> Observed:
    """Return all windows where there are few, else whole ones, spread over steps and rows.

    Whoever asks for the same is given the same, and leaves it as it is.
    """
    most = _OBSERVED_MAPS if maps else _OBSERVED
    count, whole = -(-steps // WINDOW), steps // WINDOW
    if rows * count <= most:
        places = torch.arange(rows * count)
        row, windows = places // count, places % count
    else:
        count = max(1, whole)
        places = torch.arange(min(rows * count, most))
        row, windows = places % rows, places * count // len(places)
    at = WINDOW * windows + torch.arange(WINDOW)[:, None]
    return Observed(row, windows, at.clamp(max=steps - 1), None if count == whole else at < steps)
