"""Rules: how the voltage of a layer becomes a representation with a gradient.

Both rules attach the local loss *before* the spike. Neither goes through the spike function, and
the input of a block is always held constant, so no gradient leaves the layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.errors import UnknownNameError
from sigprop_snn.network.block import Block
from sigprop_snn.network.drive import (
    mean_drive,
    mean_of_currents,
    mean_of_surrogate,
    unrolled,
    with_context,
)
from sigprop_snn.neurons import Neuron, Run, run

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
    unrolled graph: one weight-gradient product for a layer and batch, and no graph in time.

    Where the closed form does not apply, the gradient is the same and costs more: over the
    currents of all steps behind a synapse or normaliser that is not affine, over the layer's own
    dynamics for a neuron without a fixed linear filter (said once, as a warning).

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
        neuron = block.neuron
        closed = neuron.closed_form and block.affine
        with torch.set_grad_enabled(learn and not closed and torch.is_grad_enabled()):
            current = block.current(inputs, like=context, observed_rows=observed)
        if learn and not neuron.closed_form:
            ran, voltages = unrolled(neuron, with_context(current, context), record)
            return Response(ran, self._representation(voltages.mean(0), neuron))
        with torch.no_grad():
            ran = run(neuron, current, riding=context, record=record)
        voltage = ran.mean_voltage
        if learn:
            driven = (
                mean_drive(block, inputs, context, ran.spike)
                if closed
                else mean_of_currents(neuron, with_context(current, context), ran.spike)
            )
            voltage = voltage + (driven - driven.detach())
        return Response(ran, self._representation(voltage, neuron))

    def _representation(self, voltage: Tensor, neuron: Neuron) -> Tensor:
        if self.statistic == "rectified":
            return F.relu(neuron.depolarisation(voltage))
        if self.statistic == "sigmoid":
            return neuron.surrogate.f(neuron.above(voltage))
        return neuron.depolarisation(voltage)


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
        neuron = block.neuron
        with torch.set_grad_enabled(learn and torch.is_grad_enabled()):
            current = block.current(inputs, like=context, observed_rows=observed)
            current = with_context(current, context)
        if learn and not neuron.closed_form:
            ran, voltage = unrolled(neuron, current, record)
            return Response(ran, neuron.surrogate.f(neuron.above(voltage)).mean(0))
        with torch.no_grad():
            ran = run(neuron, current, record=("voltage", *record))
        return Response(ran, mean_of_surrogate(neuron, current, ran))


RULES: dict[str, type[Rule]] = {
    "voltage": VoltageRule,
    "surrogate": SurrogateRule,
}
