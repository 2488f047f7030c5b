"""The surrogate rule of signal propagation: the loss uses a surrogate of the voltage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sigprop_snn.layers.block import Block
from sigprop_snn.layers.contracts import Needs, Response
from sigprop_snn.layers.gradient_paths import gradient_path
from sigprop_snn.neurons import Neuron
from sigprop_snn.neurons.engines import Spikes, engine_for


@dataclass(frozen=True)
class SurrogateRule:
    """Learns through the neuron's surrogate, which acts on the voltage before the spike.

    The representation is the mean over time of f(U[t] - threshold); the update is
    dL/df * df(U[t]) * presynaptic trace, summed over the steps.
    """

    needs: ClassVar[Needs] = Needs()
    uses_mean_voltage: ClassVar[bool] = False

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
        """Run the block; when `learn` is set, the voltage of every step has the gradient."""
        if learn:
            path = gradient_path(block, inputs)
            return Response(*path.surrogate_mean(inputs, contexts, observed_rows, record))
        ran = block.run(
            inputs,
            contexts=contexts,
            observed_rows=observed_rows,
            record=("voltage", *record),
            keeps_state=False,
        )
        voltage = ran.recorded["voltage"]
        return Response(ran, engine_for(voltage.device).surrogate_mean(block.neuron, voltage))

    def represent(self, voltage: Tensor, neuron: Neuron) -> Tensor:
        """Return the mean over time of the surrogate's primitive."""
        return neuron.surrogate.f(neuron.above(voltage)).mean(0)
