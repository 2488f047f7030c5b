"""The distribution of the membrane voltages of every layer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from sigprop_snn.arguments import first_of, instance, refused, whole
from sigprop_snn.device import to_device
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import Network
from sigprop_snn.network.mode import evaluation_mode

_WIDE = 4.0  # standard deviations of the first batch that the bins cover on each side


@dataclass(frozen=True)
class VoltageHistogram:
    """The distribution of a layer's membrane voltages before the reset.

    Voltages are relative to the threshold, in the neuron's unit: 0 is the threshold. With a
    threshold of 1 and rest at 0, -1 is rest.

    Attributes:
        edges: borders of the bins, rising, `[N + 1]`.
        counts: voltages in each bin, int64 `[N]`; a value on a border counts above it.
        below: number of voltages below the first border.
        above: number of voltages at or above the last border.
        not_finite: number of voltages that are NaN or infinite.
    """

    edges: Tensor
    counts: Tensor
    below: int
    above: int
    not_finite: int

    @property
    def firing(self) -> float:
        """The fraction of voltages above the threshold, to the precision of the bins."""
        middle = (self.edges[:-1] + self.edges[1:]) / 2
        total = int(self.counts.sum()) + self.below + self.above
        return (int(self.counts[middle > 0].sum()) + self.above) / max(total, 1)


@torch.no_grad()
def voltage_histograms(
    network: Network, batches: Iterable[tuple[Tensor, Tensor]], bins: int = 120
) -> dict[str, VoltageHistogram]:
    """Return the voltages of every block over batches of `(x [T, B, ...], labels [B])`.

    The bins of a layer cover the voltages of its first batch, up to four standard deviations from
    their mean; one border is the threshold.

    Args:
        network: the network; its training mode is restored afterwards.
        batches: the batches.
        bins: about how many bins.

    Raises:
        SigpropError: if there is no batch or `bins` is below 2.
    """
    instance("network", network, Network, "a Network")
    bins = whole("bins", bins, 2)
    if not isinstance(batches, Iterable):
        raise refused("batches", batches, "batches (x [T, B, ...], labels [B])")
    with evaluation_mode(network):
        device = next(network.parameters()).device
        blocks = dict(network.named_blocks())
        found: dict[str, VoltageHistogram] = {}
        for batch in batches:
            inputs = first_of(batch)
            network.check_inputs(inputs)
            for name, recorded in network.record(to_device(inputs, device), ("voltage",)).items():
                voltage = blocks[name].neuron.above(recorded["voltage"]).flatten().float().cpu()
                edges = found[name].edges if name in found else _edges(voltage, bins)
                counted = _count(voltage, edges)
                found[name] = _added(found[name], counted) if name in found else counted
    if not found:
        raise SigpropError("voltage_histograms got no batch; expected at least one")
    return found


def _edges(voltage: Tensor, bins: int) -> Tensor:
    """Return borders around most of the voltages; one border is 0."""
    finite = voltage[voltage.isfinite()].double()
    if len(finite) == 0:
        return torch.linspace(-1, 1, bins + 1, dtype=torch.float64)
    mean, deviation = float(finite.mean()), float(finite.std(correction=0))
    low = min(max(mean - _WIDE * deviation, float(finite.min())), 0.0)
    high = max(min(mean + _WIDE * deviation, float(finite.max())), 0.0)
    width = max((high - low) / bins, 1e-6)
    first, last = int(low // width), int(high // width) + 1
    return width * torch.arange(first, last + 1, dtype=torch.float64)


def _count(voltage: Tensor, edges: Tensor) -> VoltageHistogram:
    finite = voltage[voltage.isfinite()]
    place = torch.bucketize(finite, edges.to(finite), right=True)
    counts = torch.bincount(place, minlength=len(edges) + 1)
    return VoltageHistogram(
        edges, counts[1:-1], int(counts[0]), int(counts[-1]), len(voltage) - len(finite)
    )


def _added(one: VoltageHistogram, other: VoltageHistogram) -> VoltageHistogram:
    return VoltageHistogram(
        one.edges,
        one.counts + other.counts,
        one.below + other.below,
        one.above + other.above,
        one.not_finite + other.not_finite,
    )
