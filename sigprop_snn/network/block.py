"""A block: synapse, normaliser, neuron, pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.network.affine import Affine
from sigprop_snn.network.norm import RunningNorm, RunningScale
from sigprop_snn.network.synapse import EventLinear, stepwise
from sigprop_snn.neurons import Neuron
from sigprop_snn.neurons.filters import is_constant
from sigprop_snn.neurons.kernels import Scale

if TYPE_CHECKING:
    from sigprop_snn.network.local import LocalRule
    from sigprop_snn.network.loss import LocalLoss

_AFFINE = (
    nn.Linear, EventLinear, nn.Conv1d, nn.Conv2d, nn.Conv3d,
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.Flatten, nn.Unflatten, nn.Identity,
    RunningScale, RunningNorm,
)  # fmt: skip
_OBSERVED = 6  # steps, evenly spread, whose currents stand for those of all steps


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
        if like is not None and like.shape[1:] != current.shape[2:]:
            raise SigpropError(
                f"input of shape {list(inputs.shape)} gives the first block a current of shape "
                f"{list(current.shape[2:])}; expected {list(like.shape[1:])}, the signal's"
            )
        if observed_rows and isinstance(self.norm, RunningScale | RunningNorm):
            seen = current[:: max(1, len(current) // _OBSERVED), :observed_rows]
            self.norm.observe(seen if isinstance(self.norm, RunningScale) else seen.flatten(0, 1))
        return current

    def pooled(self, spike: Tensor) -> Tensor:
        """Return the spikes as the next block receives them, `[T, N, ...]`."""
        if isinstance(self.pool, nn.Identity):
            return spike
        with torch.no_grad():
            return stepwise(self.pool, spike)
