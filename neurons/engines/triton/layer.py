"""A layer of feature maps on a GPU: convolution, normaliser and LIF, part by part of its rows.

The currents of one part are read by the neurons while they may still be in the cache, and only one
part's exist at a time. What is kept is one bit a spike and the mean voltage, so memory hardly
depends on T.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sigprop_snn.neurons.engines.engine import MapNormaliser, Normaliser, Run, Scale, Spikes
from sigprop_snn.neurons.engines.observed import WINDOW, ObservedWindows, observed
from sigprop_snn.neurons.engines.order import Order
from sigprop_snn.neurons.engines.plain import lif_run
from sigprop_snn.neurons.engines.reference import check_contexts, observe
from sigprop_snn.neurons.engines.triton.lif import LifRun, fill_rows
from sigprop_snn.neurons.engines.triton.spikes import STEPS_OF_BYTE, BitSpikes, DeviceSpikes
from sigprop_snn.neurons.engines.triton.statistics import channel_statistics
from sigprop_snn.neurons.lif import LIF

_PART = 1 << 26  # bytes of the currents of one part


def run_maps(
    synapse: nn.Conv2d,
    normaliser: nn.Module,
    neuron: LIF,
    spikes: Spikes,
    *,
    contexts: Tensor | None,
    observed_rows: int,
    record: Sequence[str],
    keeps_state: bool,
) -> Run:
    """Run a layer whose neurons start at rest; see `Engine.layer`.

    The bias joins the normaliser's offset: a GPU adds it in a pass of its own, which takes as long
    as the neurons.
    """
    steps, rows = spikes.shape[:2]
    scales = isinstance(normaliser, Normaliser)
    late = synapse.bias.detach()[:, None, None] if scales and synapse.bias is not None else None
    bias = None if scales else synapse.bias
    part = _rows_of_part(synapse, spikes)
    scale, ran, order = None, None, None
    for first in range(0, rows, part):
        piece = spikes if part >= rows else spikes.rows(first, min(first + part, rows))
        current = convolved(synapse, piece, bias)
        if ran is None or order is None:
            check_contexts(spikes.shape, current.shape[2:], contexts)
            if observed_rows and scales:
                _observe(normaliser, current, synapse, spikes, observed_rows, late)
            if isinstance(normaliser, Normaliser):
                scale = _with_bias(normaliser.scale(current[0]), late)
            order = Order.of(current)
            total = rows + (0 if contexts is None else len(contexts))
            ran = LifRun.empty(
                (steps, total, *current.shape[2:]), current, order,
                records_voltage="voltage" in record, keeps_state=keeps_state,
            )  # fmt: skip
        fill_rows(neuron, current, ran, first, order, scale=scale)
        del current  # before the next part's
    assert ran is not None and order is not None  # there are rows
    if contexts is not None:
        constant = contexts.detach().to(ran.spikes.dtype)[None]
        fill_rows(neuron, constant, ran, rows, order)
    return lif_run(ran.spikes, ran.mean_voltage, ran.last_voltage, ran.voltage, record)


def convolved(synapse: nn.Conv2d, spikes: Spikes, bias: Tensor | None) -> Tensor:
    """Return the output of a convolution for every step, `[T, N, ...]`, channels-last.

    Constant input gives one step.
    """
    inputs = spikes.dense()
    rows = (inputs[:1] if spikes.constant else inputs).flatten(0, 1)
    current: Tensor = synapse._conv_forward(
        rows.contiguous(memory_format=torch.channels_last), synapse.weight, bias
    )
    steps: Tensor = current.unflatten(0, (-1, spikes.shape[1]))  # type: ignore[no-untyped-call]
    return steps


def _rows_of_part(synapse: nn.Conv2d, spikes: Spikes) -> int:
    """Return how many rows run together; all where there is one step, as in constant input."""
    steps, rows, _, height, width = spikes.shape
    if steps == 1 or spikes.constant:
        return rows
    down, across = synapse.stride
    positions = -(-height // down) * -(-width // across)
    row = steps * synapse.out_channels * positions * synapse.weight.element_size()
    return max(1, min(rows, _PART // row))


def _observe(
    normaliser: nn.Module,
    current: Tensor,
    synapse: nn.Conv2d,
    spikes: Spikes,
    rows: int,
    bias: Tensor | None,
) -> None:
    """Let a normaliser observe a layer's currents before they are scaled.

    Args:
        normaliser: the normaliser, a `Normaliser`.
        current: that of the first part, `[T, n, ...]`, without the bias.
        synapse: the convolution.
        spikes: its whole input.
        rows: how many of the first rows are observed.
        bias: what the currents lack, or none.
    """
    windows = None
    if len(current) > 1:
        windows = observed(len(current), rows, maps=True, device=current.device)
        if windows.bound > current.shape[1]:  # the first part lacks some: compute them apart
            current = windows.existing(convolved(synapse, _seen(spikes, windows), None))[None]
            windows, rows = None, current.shape[1]
    some = windows is None or len(windows.rows) > 0
    if some and isinstance(normaliser, MapNormaliser) and Order.of(current).channels_last:
        normaliser.take(*channel_statistics(current[:, :rows], windows, bias))
    else:
        observe(normaliser, current, rows, bias)


def _seen(spikes: Spikes, windows: ObservedWindows) -> Spikes:
    """Return the observed windows of a layer's input, `[4, R, ...]`."""
    if not isinstance(spikes, BitSpikes):
        return DeviceSpikes(spikes.dense()[windows.steps, windows.rows])
    order = Order.of(spikes.bits)
    of_byte = STEPS_OF_BYTE // WINDOW
    bytes_ = order.apply(spikes.bits)[windows.windows // of_byte, windows.rows]
    shifts = (WINDOW * (windows.windows % of_byte)).view(-1, *[1] * (bytes_.dim() - 1))
    bits = torch.bitwise_right_shift(bytes_, shifts.to(torch.uint8))[None]
    return BitSpikes(bits.movedim(-1, -3) if order.channels_last else bits, WINDOW, spikes.dtype)


def _with_bias(scale: Scale, bias: Tensor | None) -> Scale:
    """Return the scale for currents that lack a bias."""
    if bias is None:
        return scale
    offset = scale.gain * bias
    return Scale(scale.gain, offset if scale.offset is None else scale.offset + offset)
