"""The voltage rule of signal propagation: learning only from the membrane voltage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch.nn.functional as F
from torch import Tensor

from sigprop_snn.arguments import one_of
from sigprop_snn.layers.block import Block
from sigprop_snn.layers.contracts import Needs, Response
from sigprop_snn.layers.gradient_paths import gradient_path
from sigprop_snn.neurons import Neuron
from sigprop_snn.neurons.engines import Spikes

Statistic = Literal["rectified", "mean", "sigmoid"]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)


@dataclass(frozen=True)
class VoltageRule:
    """Learns only from the membrane voltage, without a spike derivative.

    The representation is a pointwise function of the voltage's mean over time. With the reset
    held constant the mean voltage is `gain * (W xbar + b)` plus constants, with the mean
    presynaptic trace xbar. One static pass over xbar therefore gives the exact gradient of the
    layer's unrolled graph: one weight-gradient product per layer and batch, and no graph in time.

    Without the closed form the gradient is the same but costs more. If the synapse or the
    normaliser is not affine, the graph contains the currents of all steps; if the neuron has no
    fixed linear filter, it contains the layer's dynamics (a warning is given once).

    Args:
        statistic: "rectified" is max(0, mean U), "mean" is mean U, and "sigmoid" is
            f(mean U - threshold) with the neuron's surrogate f.

    Raises:
        UnknownNameError: if the statistic is none of these.
    """

    needs: ClassVar[Needs] = Needs()
    uses_mean_voltage: ClassVar[bool] = True

    statistic: Statistic = "rectified"

    def __post_init__(self) -> None:
        one_of("statistic", self.statistic, STATISTICS)

    def respond(
        self,
        block: Block,
        inputs: Spikes,
        *,
        contexts: Tensor | None = None,
        observed_rows: int = 0,
        learn: bool,
        record: tuple[str, ...] = (),
    ) -> Response:
        """Run the block; when `learn` is set, its mean voltage has the gradient."""
        if learn:
            path = gradient_path(block, inputs)
            ran, voltage = path.mean_voltage(inputs, contexts, observed_rows, record)
        else:
            ran = block.run(
                inputs, contexts=contexts, observed_rows=observed_rows, record=record,
                keeps_state=False,
            )  # fmt: skip
            voltage = ran.mean_voltage
        return Response(ran, self.represent(voltage.unsqueeze(0), block.neuron))

    def represent(self, voltage: Tensor, neuron: Neuron) -> Tensor:
        """Return the pointwise function of the mean voltage."""
        voltage = voltage.mean(0) if len(voltage) > 1 else voltage.squeeze(0)
        if self.statistic == "rectified":
            return F.relu(neuron.depolarisation(voltage))
        if self.statistic == "sigmoid":
            return neuron.surrogate.f(neuron.above(voltage))
        return neuron.depolarisation(voltage)
