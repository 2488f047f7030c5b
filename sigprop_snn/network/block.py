"""A block: synapse, normaliser, neuron, pool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, overload

import torch
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.network.affine import Affine
from sigprop_snn.network.inputs import check_finite
from sigprop_snn.network.norm import RunningNorm, RunningScale
from sigprop_snn.network.packing import observed, packed_synapse, packs
from sigprop_snn.network.pool import HalvingPool
from sigprop_snn.network.synapse import EventLinear, stepwise
from sigprop_snn.neurons import LIF, Neuron, Run, run, run_packed
from sigprop_snn.neurons.filters import is_constant
from sigprop_snn.neurons.kernels import Packed, Scale, pack, unpacked

if TYPE_CHECKING:
    from sigprop_snn.network.local import LocalRule
    from sigprop_snn.network.loss import LocalLoss

_AFFINE = (
    nn.Linear, EventLinear, nn.Conv1d, nn.Conv2d, nn.Conv3d,
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.Flatten, nn.Unflatten, nn.Identity,
    RunningScale, RunningNorm,
)  # fmt: skip


class Drive(NamedTuple):
    """What drives a layer's neurons.

    Attributes:
        current: `[T, N, ...]`; constant in time where the time axis has stride 0.
        scale: what it goes through on its way in, if anything.
    """

    current: Tensor
    scale: Scale | None


class Block(nn.Module):
    """One layer that learns on its own: its synapse makes a current, its neuron makes spikes.

    Args:
        synapse: any module from `[N, ...]` to `[N, ...]`, applied to every step: `nn.Linear`,
            `nn.Conv2d`, or a sequence.
        neuron: the neuron model.
        norm: a normaliser of the current, or none.
        pool: what the spikes pass through on their way out, or none.
        rule: this block's own learning rule, where it differs from the network's.
        loss: this block's own local loss, where it differs from the network's.
        frozen: whether the block keeps its weights.
    """

    def __init__(
        self,
        synapse: nn.Module,
        neuron: Neuron,
        *,
        norm: nn.Module | None = None,
        pool: nn.Module | None = None,
        rule: LocalRule | None = None,
        loss: LocalLoss | None = None,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.synapse = synapse
        self.norm = norm if norm is not None else nn.Identity()
        self.neuron = neuron
        self.pool = pool if pool is not None else nn.Identity()
        self.rule = rule
        self.loss = loss
        self.frozen = frozen
        if frozen:
            self.requires_grad_(False)

    @property
    def affine(self) -> bool:
        """Whether the current is affine in the input, so that the closed form is exact."""
        modules = [*self.synapse.modules(), *self.norm.modules()]
        return all(type(m) in (*_AFFINE, nn.Sequential) for m in modules)

    @property
    def affine_parts(self) -> Affine | None:
        """What gives the gradient of the current in closed form, where the block is that simple."""
        return Affine.of(self.synapse, self.norm)

    def static_current(self, inputs: Tensor) -> Tensor:
        """Return the current for inputs without a time axis, `[N, ...]`."""
        current: Tensor = self.norm(self.synapse(inputs))
        return current

    def current(
        self,
        inputs: Tensor,
        *,
        like: Tensor | None = None,
        observed_rows: int = 0,
        synapse: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Return the current `[T, N, ...]` for inputs `[T, N, ...]`.

        Args:
            inputs: what the block receives. A constant input is multiplied once.
            like: the learning signal's current `[C, ...]` that will ride behind it, if any.
            observed_rows: how many of the first rows the normaliser takes into its running
                figures; the contexts stay out of them.
            synapse: what stands in for the block's synapse, with the same current and another
                gradient.

        Raises:
            SigpropError: if the current's shape is not that of the signal's.
        """
        current = self._synaptic(inputs, like, observed_rows, synapse or self.synapse)
        current = stepwise(self.norm, current)
        return current.expand(len(inputs), *current.shape[1:])

    def packs(self, activity: Tensor | Packed) -> bool:
        """Return whether the block runs best on packed spikes, should `[T, N, ...]` be spikes."""
        return packs(self.affine_parts, self.neuron, activity)

    def received(self, activity: Tensor | Packed) -> Tensor | Packed:
        """Return what comes in, `[T, N, ...]`, in the form that the block runs on best.

        Raises:
            SigpropError: if it might have been packed, but is not even finite.
        """
        if not self.packs(activity):
            return unpacked(activity)
        if isinstance(activity, Packed):
            return activity
        packed = pack(activity)
        if packed is None:
            check_finite(activity)
            return activity
        return packed

    def run(
        self,
        activity: Tensor | Packed,
        *,
        riding: Tensor | None = None,
        observed_rows: int = 0,
        record: tuple[str, ...] = (),
    ) -> Run:
        """Run the block from rest, without a gradient.

        Args:
            activity: what comes in, as `received` returns it, `[T, N, ...]`.
            riding: the learning signal's current `[C, ...]` that rides behind it, if any.
            observed_rows: how many of the first rows the normaliser takes into its running
                figures; the contexts stay out of them.
            record: what the run keeps of every step.

        Raises:
            SigpropError: if the current's shape is not that of the signal's.
        """
        with torch.no_grad():
            if not set(record) <= {"spike", "voltage"}:
                activity = unpacked(activity)
            if not isinstance(activity, Packed):
                drive = self.drive(activity, like=riding, observed_rows=observed_rows)
                neuron, current = self.neuron, drive.current
                return run(neuron, current, riding=riding, scale=drive.scale, record=record)
            parts = self.affine_parts
            assert parts is not None and isinstance(self.neuron, LIF)  # `received` saw to it
            synapse, scale = packed_synapse(parts, activity), None
            _check_like(activity.shape, synapse.shape, riding)
            if parts.norm is not None:
                if observed_rows:
                    maps = len(synapse.shape) > 1
                    seen = observed(activity.steps, observed_rows, maps=maps)
                    currents = synapse.windows_at(seen.rows, seen.windows)
                    parts.norm.observe(seen.among(currents))
                scale = parts.norm.scale(parts.synapse.weight[:1])
            return run_packed(self.neuron, synapse, riding=riding, scale=scale, record=record)

    def drive(self, inputs: Tensor, *, like: Tensor | None = None, observed_rows: int = 0) -> Drive:
        """Return the same current, without a gradient, and what is left to do to it.

        The neuron's run takes both, and spares a pass over the currents of all steps.
        """
        with torch.no_grad():
            current = self._synaptic(inputs, like, observed_rows, self.synapse)
            scale = None
            if isinstance(self.norm, RunningScale | RunningNorm):
                scale = self.norm.scale(current[0])
            else:
                current = stepwise(self.norm, current)
        return Drive(current.expand(len(inputs), *current.shape[1:]), scale)

    def _synaptic(
        self,
        inputs: Tensor,
        like: Tensor | None,
        observed_rows: int,
        synapse: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Return the current before the normaliser, a constant input's for one step."""
        current = stepwise(synapse, inputs[:1] if is_constant(inputs) else inputs)
        _check_like(inputs.shape, current.shape[2:], like)
        if observed_rows and isinstance(self.norm, RunningScale | RunningNorm):
            rows = current[:, :observed_rows]
            if len(rows) > 1:
                seen = observed(*rows.shape[:2], maps=rows.dim() > 3)
                rows = seen.among(rows[seen.steps, seen.rows])
            self.norm.observe(rows.flatten(0, rows.dim() - current.dim() + 1))
        return current

    @overload
    def pooled(self, activity: Tensor) -> Tensor: ...

    @overload
    def pooled(self, activity: Tensor | Packed) -> Tensor | Packed: ...

    def pooled(self, activity: Tensor | Packed) -> Tensor | Packed:
        """Return the spikes as the next block receives them, `[T, N, ...]`."""
        if isinstance(self.pool, nn.Identity):
            return activity
        if isinstance(activity, Packed) and type(self.pool) is HalvingPool:
            return activity.halved()
        with torch.no_grad():
            return stepwise(self.pool, unpacked(activity))


def _check_like(inputs: Sequence[int], current: Sequence[int], like: Tensor | None) -> None:
    if like is not None and tuple(like.shape[1:]) != tuple(current):
        raise SigpropError(
            f"input of shape {list(inputs)} gives the first block a current of shape "
            f"{list(current)}; expected {list(like.shape[1:])}, the signal's"
        )
