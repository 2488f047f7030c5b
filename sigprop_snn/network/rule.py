"""Rules: how the voltage of a layer becomes a representation with a gradient.

Both rules attach the local loss *before* the spike. Neither goes through the spike function, and
the input of a block is always held constant, so no gradient leaves the layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.errors import UnknownNameError
from sigprop_snn.network.block import Block
from sigprop_snn.neurons import Neuron, Run, filter_matrix, impulse_response, mean_trace, run

Statistic = Literal["rectified", "mean", "sigmoid"]
STATISTICS: tuple[Statistic, ...] = ("rectified", "mean", "sigmoid")


class Response(NamedTuple):
    """How a block responds to its input.

    Attributes:
        run: spikes and voltages, without a gradient.
        representation: what the loss compares, `[N, ...]`; its gradient reaches this block's
            weights (and the signal's, in the first block) and nothing else.
    """

    run: Run
    representation: Tensor


class Rule(ABC):
    """How a block's voltage becomes a representation that a local loss can learn from."""

    @abstractmethod
    def respond(
        self,
        block: Block,
        inputs: Tensor,
        *,
        context: Tensor | None = None,
        rows: int,
        learn: bool,
        record: tuple[str, ...] = (),
    ) -> Response:
        """Run the block on `inputs` and return its response.

        Args:
            block: the layer.
            inputs: what it receives, `[T, N, ...]`.
            context: the current of the learning signal, `[C, ...]`, in the first block.
            rows: how many of the rows are samples; the others are contexts.
            learn: whether the representation carries a gradient.
            record: what the run keeps of every step.
        """


@dataclass(frozen=True)
class VoltageRule(Rule):
    """Learning from the membrane voltage alone: no spike derivative anywhere.

    The representation is a pointwise function of the voltage's mean over time. With the reset
    held constant the mean voltage is `gain * (W xbar + b)` plus constants, where xbar is the mean
    presynaptic trace, so one static pass over xbar carries the exact gradient of the layer's
    unrolled graph. Where the synapse or the normaliser is not affine, the currents of all steps
    are averaged instead, which is exact too and costs T times as much.

    Args:
        statistic: "rectified" max(0, mean U), "mean", or "sigmoid" f(mean U - threshold) with the
            neuron's surrogate.
    """

    statistic: Statistic = "rectified"

    def __post_init__(self) -> None:
        if self.statistic not in STATISTICS:
            raise UnknownNameError("statistic", self.statistic, STATISTICS)

    def respond(
        self,
        block: Block,
        inputs: Tensor,
        *,
        context: Tensor | None = None,
        rows: int,
        learn: bool,
        record: tuple[str, ...] = (),
    ) -> Response:
        """Run the block; let a gradient into the mean voltage through one static pass."""
        observed = rows if block.training and learn else 0
        with torch.no_grad():
            current = block.current(inputs, context=context, observed_rows=observed)
            ran = run(block.neuron, current, record=record)
        voltage = ran.mean_voltage
        if learn:
            driven = self._driven(block, inputs, context)
            voltage = voltage + (driven - driven.detach())
        return Response(ran, self._representation(voltage, block.neuron))

    def _driven(self, block: Block, inputs: Tensor, context: Tensor | None) -> Tensor:
        """Return the part of the mean voltage that the current drives, with its gradient."""
        response = impulse_response(block.neuron, inputs.shape[0])
        if block.affine:
            trace, gain = mean_trace(inputs, response)
            current = block.static_current(trace)
            if context is not None:
                current = torch.cat([current, context])
        else:
            current, gain = mean_trace(block.current(inputs, context=context), response)
        return gain * current

    def _representation(self, voltage: Tensor, neuron: Neuron) -> Tensor:
        if self.statistic == "rectified":
            return F.relu(voltage)
        if self.statistic == "sigmoid":
            return neuron.surrogate.f(voltage - neuron.threshold)
        return voltage


@dataclass(frozen=True)
class SurrogateRule(Rule):
    """Learning through the neuron's surrogate, attached to the voltage before the spike.

    The representation is the mean over time of f(U[t] - threshold); the update is
    dL/df * df(U[t]) * presynaptic trace, summed over the steps.
    """

    def respond(
        self,
        block: Block,
        inputs: Tensor,
        *,
        context: Tensor | None = None,
        rows: int,
        learn: bool,
        record: tuple[str, ...] = (),
    ) -> Response:
        """Run the block; let the gradient of every step's voltage into the current."""
        observed = rows if block.training and learn else 0
        with torch.set_grad_enabled(learn and torch.is_grad_enabled()):
            current = block.current(inputs, context=context, observed_rows=observed)
        with torch.no_grad():
            ran = run(block.neuron, current, record=("voltage", *record))
        voltage = _Membrane.apply(current, ran.recorded["voltage"], block.neuron)
        smooth = block.neuron.surrogate.f(voltage - block.neuron.threshold)
        return Response(ran, smooth.mean(0))


class _Membrane(torch.autograd.Function):
    """The voltage of a run as a function of its current, resets held constant."""

    @staticmethod
    def forward(ctx: Any, current: Tensor, voltage: Tensor, neuron: Neuron) -> Tensor:
        ctx.neuron = neuron
        return voltage.view_as(voltage)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (grad,) = grads
        response = impulse_response(ctx.neuron, grad.shape[0])
        adjoint = filter_matrix(response).t().to(grad)
        return (adjoint @ grad.flatten(1)).view_as(grad), None, None


RULES: dict[str, type[Rule]] = {
    "voltage": VoltageRule,
    "surrogate": SurrogateRule,
}
