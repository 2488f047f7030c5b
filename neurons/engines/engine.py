"""The boundary behind which speed lives: what an engine takes and gives.

An engine runs layers. How it stores spikes, and how it computes, is its own business: the rest of
the toolkit sees `Spikes` and `Engine`, and every method of every engine equals the same method of
`ReferenceEngine` within rounding. A new engine is a folder beside `cpu` and `triton`.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeGuard, runtime_checkable

import torch
from torch import Tensor, nn

from sigprop_snn.neurons.base import Neuron
from sigprop_snn.neurons.joining import Join
from sigprop_snn.neurons.module_kinds import Weighted


class Spikes(Protocol):
    """The activity that travels from layer to layer, `[T, N, ...]`, as an engine stores it."""

    @property
    def shape(self) -> torch.Size:
        """The shape of the activity, `[T, N, ...]`."""

    @property
    def constant(self) -> bool:
        """Whether all steps are known to be the same."""

    def dense(self) -> Tensor:
        """Return the activity as numbers, `[T, N, ...]`."""

    def weighted_sum(self, weights: Tensor) -> Tensor:
        """Return the sum over time of each step's weight times its activity, `[N, ...]`.

        Args:
            weights: `[T]`.
        """

    def count(self) -> Tensor:
        """Return the sum of the activity over time, `[N, ...]`, float32 or wider."""

    def rows(self, first: int, last: int | None = None) -> Spikes:
        """Return the rows `first` to `last`."""

    def flatten(self) -> Spikes:
        """Return the same with one axis of neurons, `[T, N, K]`."""

    def pooled(self, pool: nn.Module) -> Spikes:
        """Return the output of a module for every step, without a gradient."""


class Scale(NamedTuple):
    """What a current goes through on its way into the membrane: gain * current + offset.

    Attributes:
        gain: broadcasts against one row of the current, `[...]`.
        offset: the same, or none.
    """

    gain: Tensor
    offset: Tensor | None = None


@runtime_checkable
class Normaliser(Protocol):
    """A normaliser of the current that a layer's kernel can apply: one scale for all rows."""

    def observe(self, current: Tensor) -> None:
        """Take currents `[N, ...]` into the running statistics."""

    def scale(self, current: Tensor) -> Scale:
        """Return the scale for rows of the shape of `current`, `[N, ...]`."""


@runtime_checkable
class MapNormaliser(Normaliser, Protocol):
    """A normaliser whose running statistics are the mean and the mean square of every map."""

    def take(self, statistics: Tensor, count: int) -> None:
        """Take the statistics of some currents, `[2, C]`, into the running ones.

        Args:
            statistics: mean and mean square of every map.
            count: how many currents they are of.
        """


def is_normaliser(module: object) -> TypeGuard[Normaliser]:
    """Return whether a module is a `Normaliser`; asking the protocol itself takes 40 us."""
    kind: Any = type(module)  # mypy takes no class for hashable
    return _is_normaliser(kind)


@functools.cache
def _is_normaliser(kind: type[object]) -> bool:
    return issubclass(kind, Normaliser)


@dataclass(frozen=True)
class Run:
    """What a layer's neurons did over T steps.

    Attributes:
        spikes: their spikes, `[T, N, ...]`; the activity of a graded neuron.
        mean_voltage: the voltage before the reset, averaged over the steps, `[N, ...]`.
        state: the state after the last step. Give it to the next run to go on from there. A layer
            whose state is not asked for may have none.
        recorded: what `record` asked for, by name, each `[T, N, ...]`; detached unless the run
            was asked to detach its spikes alone.
    """

    spikes: Spikes
    mean_voltage: Tensor
    state: Any
    recorded: dict[str, Tensor]

    @functools.cached_property
    def spike(self) -> Tensor:
        """The spikes as numbers, 0 or 1, or the activity of a graded neuron, `[T, N, ...]`."""
        return self.spikes.dense()

    @functools.cached_property
    def spike_count(self) -> Tensor:
        """The number of spikes of each neuron, `[N, ...]`."""
        return self.spikes.count()


class MapStatistics(NamedTuple):
    """Statistics of every map over its positions, `[N, C]`, float32 or wider.

    Attributes:
        mean: its mean.
        deviation: its standard deviation.
    """

    mean: Tensor
    deviation: Tensor


class CosineCrossEntropy(NamedTuple):
    """The cross-entropy of the cosines of N rows with M others, and its gradient.

    Attributes:
        scores: the scaled cosines, `[N, M]`.
        losses: the cross-entropy of every row, `[N]`.
        grad_rows: the gradient of the mean loss, `[N, D]`.
        grad_others: the same, `[M, D]`.
    """

    scores: Tensor
    losses: Tensor
    grad_rows: Tensor
    grad_others: Tensor


class Membrane(NamedTuple):
    """The membrane voltage of a layer that learns at every step.

    Attributes:
        voltage: after the last reset, `[N, F]`.
        mean: of the voltage before the reset, `[N, F]`.
        weight: that of the next step in the mean.
    """

    voltage: Tensor
    mean: Tensor
    weight: float


class InputTrace(NamedTuple):
    """The presynaptic trace of a layer between two steps; both tensors change in place.

    Attributes:
        trace: the input, filtered by the neuron, `[rows, K]`.
        mean: its mean so far, `[rows, K]`.
        keep: what the next step multiplies the mean by.
        share: the factor of the next step's trace in the mean.
    """

    trace: Tensor
    mean: Tensor
    keep: float
    share: float


class RowComparison(NamedTuple):
    """The cross-entropy of the cosines of rectified voltages, and its gradient.

    Attributes:
        scores: the scaled cosines, `[B, M]`.
        losses: the cross-entropy of every sample, `[B]`.
        grad: the gradient of the mean loss, `[B + M, F]`.
    """

    scores: Tensor
    losses: Tensor
    grad: Tensor


class Engine(Protocol):
    """Runs layers, and the products that learning needs, on one kind of device.

    No method but `neurons` leaves a gradient: the rules attach gradients themselves.
    """

    name: str

    def why_not(self, synapse: nn.Module, normaliser: nn.Module, neuron: Neuron) -> str | None:
        """Return why no kernel of this engine runs a layer, or none where one does."""

    def spikes(self, inputs: Tensor) -> Spikes:
        """Return activity `[T, N, ...]` as this engine stores it.

        Raises:
            SigpropError: if a number is not finite.
        """

    def join(self, parts: Sequence[Spikes], join: Join) -> Spikes:
        """Return the activity of several layers as the input of one, without a gradient.

        Args:
            parts: what every layer sends, `[T, N, ...]`; see `sigprop_snn.neurons.joining`.
            join: "side-by-side" or "sum".

        Raises:
            SigpropError: if a sum has parts with different numbers of maps or neurons.
        """

    def currents(self, synapse: nn.Module, spikes: Spikes) -> Tensor:
        """Return a synapse's output for every step, `[T, N, ...]`; one step for constant input."""

    def neurons(
        self,
        neuron: Neuron,
        current: Tensor,
        state: Any = None,
        *,
        contexts: Tensor | None = None,
        scale: Scale | None = None,
        record: tuple[str, ...] = (),
        detach_spikes: bool = False,
    ) -> Run:
        """Run neurons through a current; see `sigprop_snn.neurons.run`, which checks arguments."""

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
        """Run a whole layer, from the spikes that come in to those that go out.

        Args:
            synapse: makes a current of the input; any module from `[N, ...]` to `[N, ...]`.
            normaliser: scales the current; any module, `nn.Identity` for none.
            neuron: the neuron model.
            spikes: what comes in, `[T, N, ...]`.
            state: where the neurons start; at rest if not given.
            contexts: the constant current of the context rows, `[C, ...]`. They come behind the N
                rows, and neither the synapse nor the normaliser touches them.
            observed_rows: how many of the first rows a `Normaliser` takes into its statistics.
            record: what to keep of every step.
            keeps_state: whether the state is asked for; without it an engine may return none.

        Raises:
            SigpropError: if the contexts do not have the shape of the current's rows.
        """

    def advance(
        self,
        synapse: nn.Linear,
        normaliser: nn.Module,
        neuron: Neuron,
        inputs: Tensor,
        membrane: Membrane,
        trace: InputTrace,
        *,
        contexts: Tensor | None = None,
        observed_rows: int = 0,
    ) -> Tensor:
        """Run one step of a linear layer of LIF neurons, and return its spikes, `[N, F]`.

        Args:
            synapse: makes the current.
            normaliser: scales it; `nn.Identity` for none.
            neuron: a model of LIF.
            inputs: of this step, `[rows, K]`.
            membrane: that of the layer; it is updated in place.
            trace: that of the inputs; it is updated in place.
            contexts: as in `layer`.
            observed_rows: as in `layer`.
        """

    def weight_gradient(
        self, synapse: Weighted, inputs: Spikes | Tensor,
        grad: Tensor, precision: torch.dtype | None = None,
    ) -> Tensor:  # fmt: skip
        """Return the gradient of a synapse's weight, in its shape.

        Args:
            synapse: a linear layer, or a convolution padded with a number of zeros.
            inputs: spikes `[T, N, ...]`, or rows without steps, such as traces, `[N, ...]`.
            grad: the gradient of the currents, `[T, N, ...]` or `[N, ...]`.
            precision: the dtype of autocast, or none. An engine may round the factors to it.
        """

    def scaled_weight_gradient(
        self, synapse: Weighted, inputs: Spikes | Tensor,
        grad: Tensor, factors: Tensor, precision: torch.dtype | None = None,
        left_out: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Return the weight's gradient with a factor for each output channel.

        Args:
            synapse: as in `weight_gradient`.
            inputs: as there.
            grad: as there.
            factors: one for each output channel, `[F]`.
            precision: as in `weight_gradient`.
            left_out: s, one number for each output channel, `[F]`, and m, which broadcasts against
                the weight: the gradient is factor * (G - s m), with G as in `weight_gradient`. None
                leaves out nothing.

        Returns:
            The gradient, and for each channel the dot product of the weight with G, `[F]`.
        """

    def surrogate_mean(self, neuron: Neuron, voltage: Tensor) -> Tensor:
        """Return the mean over time of f(U[t] - threshold), `[N, ...]`, for `[T, N, ...]`."""

    def surrogate_gradient(
        self,
        neuron: Neuron,
        voltage: Tensor,
        grad_mean: Tensor,
        dtype: torch.dtype | None = None,
    ) -> Tensor:
        """Return the gradient of the currents `[T, N, ...]`, given that of `surrogate_mean`.

        Args:
            neuron: the model.
            voltage: U, `[T, N, ...]`.
            grad_mean: the gradient of the mean, `[N, ...]`.
            dtype: of the result, if not that of the voltage; an engine may keep a wider one.
        """

    def grid_mean(self, maps: Tensor, grid: int) -> Tensor:
        """Return feature maps `[N, C, H, W]` averaged to `grid` x `grid` positions.

        The windows are those of `torch.nn.functional.adaptive_avg_pool2d`.
        """

    def grid_mean_gradient(self, maps: Tensor, grid: int, grad: Tensor) -> Tensor:
        """Return the gradient of the maps, given that of `grid_mean`."""

    def rectified(self, voltage: Tensor, dtype: torch.dtype) -> Tensor:
        """Return max(0, U) of any shape in a dtype."""

    def rectified_grid_mean(self, voltage: Tensor, grid: int) -> Tensor:
        """Return `grid_mean` of max(0, U), for voltages `[N, C, H, W]`."""

    def rectified_grid_gradient(
        self, voltage: Tensor, grid: int, grad: Tensor, more: Tensor | None, dtype: torch.dtype
    ) -> Tensor:
        """Return the gradient of voltages in a dtype; an engine may keep a wider one.

        Args:
            voltage: U, `[N, C, H, W]`.
            grid: as in `grid_mean`.
            grad: the gradient of `rectified_grid_mean`.
            more: what is added to the gradient of max(0, U) in the first rows, or none.
            dtype: of the gradient.
        """

    def channel_sums(self, maps: Tensor) -> Tensor:
        """Return the sum of every channel of `[N, C, ...]`, `[C]`, float32 or wider."""

    def map_statistics(self, maps: Tensor) -> MapStatistics:
        """Return mean and standard deviation of every map `[N, C, ...]` over its positions."""

    def deviation_gradient(self, maps: Tensor, found: MapStatistics, grad: Tensor) -> Tensor:
        """Return the gradient of the maps, in their dtype, given that of the deviations `[N, C]`.

        ds/dx = (x - mean) / (n s), with n positions.
        """

    def cosine_cross_entropy(
        self, rows: Tensor, others: Tensor, columns: Tensor, scale: float, smoothing: float
    ) -> CosineCrossEntropy:
        """Compare rows with others: cross-entropy of `scale` times their cosines.

        Args:
            rows: `[N, D]`.
            others: `[M, D]`.
            columns: which of the others is right for every row, `[N]`.
            scale: factor of the cosines.
            smoothing: part of the target that is spread over all others.
        """

    def compare_rectified(
        self, voltage: Tensor, samples: int, columns: Tensor, scale: float, smoothing: float
    ) -> RowComparison:
        """Compare the rectified voltages of samples and contexts, as `cosine_cross_entropy` does.

        Args:
            voltage: of the samples, then of the M contexts, `[B + M, F]`.
            samples: B.
            columns: the right context of every sample, `[B]`.
            scale: factor of the cosines.
            smoothing: part of the target that is spread over all contexts.
        """
