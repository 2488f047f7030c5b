"""The Triton engine: LIF layers on a GPU, with fused kernels around torch's products."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from sigprop_snn.neurons.base import Neuron
from sigprop_snn.neurons.engines.dense import DenseSpikes
from sigprop_snn.neurons.engines.engine import MapStatistics, Run, Scale, Spikes
from sigprop_snn.neurons.engines.fused import FusedEngine
from sigprop_snn.neurons.engines.plain import (
    is_plain_normaliser,
    lif_run,
    plain_synapse,
    why_not_lif,
    why_not_neurons,
)
from sigprop_snn.neurons.engines.reference import at_one_size, check_finite, deviation_factor
from sigprop_snn.neurons.engines.triton import statistics, surrogate
from sigprop_snn.neurons.engines.triton.layer import convolved, run_maps
from sigprop_snn.neurons.engines.triton.lif import run_lif
from sigprop_snn.neurons.engines.triton.maps import grid_mean, grid_mean_gradient, rectified
from sigprop_snn.neurons.engines.triton.spikes import BitSpikes, DeviceSpikes, side_by_side
from sigprop_snn.neurons.joining import Join
from sigprop_snn.neurons.lif import LIF
from sigprop_snn.neurons.module_kinds import Weighted


class TritonEngine(FusedEngine):
    """Runs LIF neurons in one kernel over all steps; the rest as the reference engine does.

    Products are torch's own: one over all rows and steps. Feature maps are kept channels-last,
    which is the order that a GPU's convolutions compute in.
    """

    name = "triton"
    dtypes = (torch.float32, torch.bfloat16, torch.float16)
    fast_sigmoid_mean = staticmethod(surrogate.surrogate_mean)
    fast_sigmoid_gradient = staticmethod(surrogate.surrogate_gradient)

    def why_not(self, synapse: nn.Module, normaliser: nn.Module, neuron: Neuron) -> str | None:
        """Return why the kernel does not run a layer's neurons, or none."""
        return why_not_lif(neuron)

    def spikes(self, inputs: Tensor) -> Spikes:
        """Return activity `[T, N, ...]`, checked to be finite.

        Raises:
            SigpropError: if a number is not finite; on a GPU perhaps in a later call.
        """
        check_finite(inputs)
        plain = inputs.requires_grad or inputs.device.type != _device()
        return DenseSpikes(inputs) if plain else DeviceSpikes(inputs)

    def join(self, parts: Sequence[Spikes], join: Join) -> Spikes:
        """Return the activity of several layers as the input of one, without a gradient."""
        parts = at_one_size(parts, join)
        bits = [part for part in parts if isinstance(part, BitSpikes)]
        alike = len({(part.shape[0], part.shape[3:]) for part in parts}) == 1
        if join == "side-by-side" and len(bits) == len(parts) and alike:
            return side_by_side(bits)
        whole = super().join(parts, join)
        values = whole.dense()
        return DeviceSpikes(values) if values.device.type == _device() else whole

    def layer(
        self,
        synapse: nn.Module,
        normaliser: nn.Module,
        neuron: Neuron,
        spikes: Spikes,
        state: Any = None,
        *,
        contexts: Tensor | None = None,
        observed_rows: int = 0,
        record: tuple[str, ...] = (),
        keeps_state: bool = True,
    ) -> Run:
        """Run a layer; feature maps in parts of their rows, so that few currents exist at once.

        The bias of a convolution joins the normaliser's offset: a GPU adds it in a pass of its
        own, which takes as long as the neurons.
        """
        if not _runs_in_parts(synapse, normaliser, neuron, spikes, state, contexts, record):
            return super().layer(
                synapse, normaliser, neuron, spikes, state, contexts=contexts,
                observed_rows=observed_rows, record=record, keeps_state=keeps_state,
            )  # fmt: skip
        assert isinstance(neuron, LIF)
        with torch.no_grad():
            return run_maps(
                synapse, normaliser, neuron, spikes, contexts=contexts,
                observed_rows=observed_rows, record=record, keeps_state=keeps_state,
            )  # fmt: skip

    def currents(self, synapse: nn.Module, spikes: Spikes) -> Tensor:
        """Return a synapse's output for every step; that of feature maps is channels-last."""
        if _is_convolution(synapse, spikes):
            return convolved(synapse, spikes, synapse.bias)
        return super().currents(synapse, spikes)

    @property
    def device(self) -> str:
        """The type of the device of its kernels."""
        return _device()

    def run_lif(
        self,
        neuron: LIF,
        current: Tensor,
        state: Any,
        *,
        contexts: Tensor | None,
        scale: Scale | None,
        record: tuple[str, ...],
        keeps_state: bool = True,
    ) -> Run:
        """Run LIF through a current."""
        ran = run_lif(
            neuron, current, state, contexts=contexts, scale=scale,
            record_voltage="voltage" in record, keeps_state=keeps_state,
        )  # fmt: skip
        return lif_run(ran.spikes, ran.mean_voltage, ran.last_voltage, ran.voltage, record)

    def weight_gradient(
        self,
        synapse: Weighted,
        inputs: Spikes | Tensor,
        grad: Tensor,
        precision: torch.dtype | None = None,
    ) -> Tensor:
        """Return the gradient of a synapse's weight; feature maps stay channels-last."""
        dense = inputs if isinstance(inputs, Tensor) else inputs.dense()
        if precision is not None and dense.dtype == torch.float32:
            dense, grad = dense.to(precision), grad.to(precision)
        if isinstance(synapse, nn.Conv2d):
            dense = dense.flatten(0, -4)
            if dense.is_contiguous(memory_format=torch.channels_last):
                grad = grad.flatten(0, -4).contiguous(memory_format=torch.channels_last)
        return super().weight_gradient(synapse, dense, grad).to(synapse.weight.dtype)

    def grid_mean(self, maps: Tensor, grid: int) -> Tensor:
        """Return feature maps `[N, C, H, W]` averaged to `grid` x `grid` positions."""
        if not _takes_maps(maps, grid):
            return super().grid_mean(maps, grid)
        return grid_mean(maps.detach(), grid)

    def grid_mean_gradient(self, maps: Tensor, grid: int, grad: Tensor) -> Tensor:
        """Return the gradient of the maps, given that of `grid_mean`."""
        if not _takes_maps(maps, grid):
            return super().grid_mean_gradient(maps, grid, grad)
        return grid_mean_gradient(maps.detach(), grid, grad.detach())

    def rectified(self, voltage: Tensor, dtype: torch.dtype) -> Tensor:
        """Return max(0, U) in a dtype."""
        if voltage.device.type != _device() or voltage.dtype != torch.float32:
            return super().rectified(voltage, dtype)
        return rectified(voltage.detach(), dtype)

    def rectified_grid_mean(self, voltage: Tensor, grid: int) -> Tensor:
        """Return `grid_mean` of max(0, U)."""
        if not _takes_maps(voltage, grid):
            return super().rectified_grid_mean(voltage, grid)
        return grid_mean(voltage.detach(), grid, rectifies=True)

    def rectified_grid_gradient(
        self, voltage: Tensor, grid: int, grad: Tensor, more: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        """Return the gradient of voltages in a dtype."""
        if not _takes_maps(voltage, grid):
            return super().rectified_grid_gradient(voltage, grid, grad, more, dtype)
        voltage = voltage.detach()
        found = grid_mean_gradient(voltage, grid, grad.detach(), rectified=voltage, dtype=dtype)
        if more is not None:
            # Not in the kernel: compiled by Triton 3.6 it lost the windows' part, on an H100.
            found[: len(more)] += torch.where(voltage[: len(more)] > 0, more, 0)
        return found

    def channel_sums(self, maps: Tensor) -> Tensor:
        """Return the sum of every channel of `[N, C, ...]`."""
        return statistics.channel_sums(maps) if self._takes(maps) else super().channel_sums(maps)

    def map_statistics(self, maps: Tensor) -> MapStatistics:
        """Return mean and standard deviation of every map `[N, C, ...]` over its positions."""
        if not self._takes(maps):
            return super().map_statistics(maps)
        return statistics.map_statistics(maps)

    def deviation_gradient(self, maps: Tensor, found: MapStatistics, grad: Tensor) -> Tensor:
        """Return the gradient of the maps, in their dtype, given that of the deviations."""
        if not self._takes(maps):
            return super().deviation_gradient(maps, found, grad)
        return statistics.deviation_gradient(maps, found, deviation_factor(maps, found, grad))

    def _takes(self, maps: Tensor) -> bool:
        """Return whether the kernels of statistics take maps."""
        known = maps.dtype in self.dtypes and maps.device.type == _device()
        return known and statistics.takes_maps(maps)


def _is_convolution(synapse: nn.Module, spikes: Spikes) -> TypeGuard[nn.Conv2d]:
    """Return whether a synapse is a plain convolution of feature maps, alone."""
    plain = plain_synapse(synapse)
    return (
        plain is not None
        and not plain.flattens
        and isinstance(plain.layer, nn.Conv2d)
        and len(spikes.shape) == 5
    )


def _runs_in_parts(
    synapse: nn.Module,
    normaliser: nn.Module,
    neuron: Neuron,
    spikes: Spikes,
    state: Any,
    contexts: Tensor | None,
    record: Sequence[str],
) -> TypeGuard[nn.Conv2d]:
    """Return whether `run_maps` runs a layer from the start of its samples."""
    if state is not None or not _is_convolution(synapse, spikes) or not spikes.shape[1]:
        return False
    if type(normaliser) is not nn.Identity and not is_plain_normaliser(normaliser):
        return False
    # The currents have the weights' device, and their dtype or that of autocast.
    given = None if contexts is None else contexts.detach()
    reason = why_not_neurons(
        neuron, synapse.weight.detach()[None], None, given, record,
        dtypes=TritonEngine.dtypes, device=_device(),
    )  # fmt: skip
    return reason is None


def _takes_maps(maps: Tensor, grid: int) -> bool:
    return (
        maps.dtype == torch.float32
        and maps.device.type == _device()
        and grid <= min(maps.shape[-2:])
    )


def _device() -> str:
    return "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
