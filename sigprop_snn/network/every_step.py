"""Learning at every time step without an autograd graph, for the usual network.

At one time step the products of a layer are small: most of the time of the general path is Python
and autograd around them. Here a block takes one product, one step of its neurons, one loss in
closed form and one weight gradient, on tensors that stay from step to step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sigprop_snn.layers.block import Block, LayerRule
from sigprop_snn.layers.contracts import Stage, Update
from sigprop_snn.layers.hooks import is_hooked
from sigprop_snn.layers.layer_pass import as_spikes, check_voltage
from sigprop_snn.layers.sources import first_branch, sources_by_name
from sigprop_snn.network.network import Network
from sigprop_snn.network.past import Past
from sigprop_snn.neurons.engines import engine_for
from sigprop_snn.neurons.engines.engine import Membrane
from sigprop_snn.neurons.engines.plain import why_not_lif
from sigprop_snn.neurons.state import State
from sigprop_snn.rules.rectified import MeanVoltage, Rectified
from sigprop_snn.signals.base import Entry


@dataclass(frozen=True)
class _Layer:
    """One block, with what does not change from step to step.

    Attributes:
        name: "block1" for the first block.
        rectified: the block, its current and its loss.
        synapse: the layer with the weights.
    """

    name: str
    rectified: Rectified
    synapse: nn.Linear

    @property
    def block(self) -> Block:
        """The block."""
        return self.rectified.block

    @classmethod
    def of(cls, network: Network, name: str, block: Block, layer_rule: LayerRule) -> _Layer | None:
        """Return a block of a network, or none if it needs the general path."""
        rule = block.rule if block.rule is not None else layer_rule
        rectified = Rectified.of(block, rule, network.loss_of(block))
        if rectified is None or rectified.among is not None:
            return None
        current, pool = rectified.current, block.pool
        if (
            not isinstance(current.layer, nn.Linear)
            or why_not_lif(block.neuron) is not None
            or type(pool) is not nn.Identity
        ):
            return None
        return cls(name, rectified, current.layer)

    def advance(self, past: Past, inputs: Tensor, entry: Entry, window: int | None) -> Tensor:
        """Run the block for one step, and return its spikes `[N, F]`.

        Args:
            past: the past of the block; it is updated.
            inputs: of this step, `[rows, ...]`; where contexts are missing, they enter as currents.
            entry: what enters the network.
            window: as in `Online`.
        """
        block, weight = self.block, past.count(1, window)
        assert past.mean is not None and past.input_trace is not None
        return engine_for(inputs.device).advance(
            self.synapse, block.norm, block.neuron, inputs.flatten(1),
            Membrane(past.state.voltage, past.mean, weight), past.input_trace.next_step(weight),
            contexts=None if len(inputs) == len(past.mean) else entry.contexts,
            observed_rows=entry.observed_rows if block.training else 0,
        )  # fmt: skip

    def learn(self, past: Past, entry: Entry) -> tuple[Stage, bool]:
        """Leave the gradient of the local loss of the mean voltage so far in the parameters.

        Returns:
            The stage, and whether a parameter has a gradient.
        """
        assert past.mean is not None and past.input_trace is not None and entry.targets is not None
        mean = MeanVoltage.of(
            self.block, past.mean, past.input_trace.mean, past.input_trace.gain, entry.samples
        )
        found = self.rectified.compare(mean.value, entry.samples, entry.targets)
        contexts = None if len(mean.trace) == len(mean.value) else entry.contexts
        learns = self.rectified.backward(mean, found.grad, contexts)
        return Stage(self.name, found.scores, found.losses.mean(), None, entry.targets), learns


@dataclass(frozen=True)
class EveryStep:
    """A network whose blocks all learn at a time step without an autograd graph.

    Attributes:
        network: the network.
        layers: its blocks.
    """

    network: Network
    layers: tuple[_Layer, ...]

    @classmethod
    def of(cls, network: Network, layer_rule: LayerRule) -> EveryStep | None:
        """Return the layers of a network, or none if a part needs the general path."""
        blocks = list(network.named_blocks())
        made = (_Layer.of(network, name, block, layer_rule) for name, block in blocks)
        layers = tuple(layer for layer in made if layer is not None)
        row = first_branch(sources_by_name(blocks)) is None
        fits = row and network.predict != "neutral"
        return cls(network, layers) if fits and len(layers) == len(blocks) else None

    def takes(self, inputs: Tensor, pasts: Mapping[str, Past]) -> bool:
        """Return whether the next part is one step of a sample that has begun.

        The first step takes the general path, which checks the shapes and makes the past.
        """
        return (
            len(inputs) == 1
            and all(
                layer.name in pasts
                and type(pasts[layer.name].state) is State
                and pasts[layer.name].takes(layer.rectified.current)
                and not is_hooked(layer.block)
                and not is_hooked(layer.block.neuron)
                for layer in self.layers
            )
            and not torch.is_autocast_enabled(inputs.device.type)
        )

    def stages(
        self, entry: Entry, update: Update | None, pasts: Mapping[str, Past], window: int | None
    ) -> Iterator[tuple[Stage, Tensor]]:
        """Yield the stage of every block and its spikes `[N, F]`, when the block has learned.

        Args:
            entry: what enters the network, of one step.
            update: called with the name of every block as soon as its gradient is ready.
            pasts: the past of every block; they are updated.
            window: as in `Online`.
        """
        spikes = as_spikes(entry.inputs).dense()[0]
        for layer in self.layers:
            past = pasts[layer.name]
            past.check_rows(layer.name, spikes.shape)
            with torch.no_grad():
                spikes = layer.advance(past, spikes, entry, window)
                if layer is self.layers[0]:
                    assert past.mean is not None
                    check_voltage(past.mean)
                stage, learns = layer.learn(past, entry)
            if learns and update is not None:
                update(layer.name)
            yield stage, spikes
