"""Online training through time: presynaptic traces replace the backward pass in time."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from sigprop_snn.layers.block import Block
from sigprop_snn.layers.contracts import Learned, Needs, Update
from sigprop_snn.layers.gradient_paths import with_gradient_of
from sigprop_snn.layers.layer_pass import joined_input, plain_pass
from sigprop_snn.layers.rule import LearningNetwork, Rule
from sigprop_snn.layers.sources import Kept, sources_by_name
from sigprop_snn.neurons import Neuron
from sigprop_snn.neurons.state import NeuronState
from sigprop_snn.rules.passes import (
    fired,
    learn_from,
    readout_of,
    reported,
    update_all,
)
from sigprop_snn.rules.traces import check_traces


class OnlineThroughTime(Rule):
    """OTTT (Xiao et al. 2022): spatial backpropagation at each step, over presynaptic traces.

    Every step t has a loss L[t], the readout's cross-entropy at that step divided by T. Its error
    passes back through the layers at step t only (dU[t] of the layer above times the transposed
    weights times the surrogate derivative) and is multiplied by each synapse's presynaptic trace:

        dE/dW = sum over t of (dL[t]/dU[t]) x[t]^T,  x[t] = sum over k <= t of beta^(t - k) s[k].

    A step's graph is freed before the next step runs, so memory does not grow with T. A first pass
    without gradients updates the normalisers' running statistics with the whole batch. The
    gradients of all steps add up to one update (the paper's OTTT_A).
    """

    needs: ClassVar[Needs] = Needs(
        backward_pass=True, symmetric_weights=True, stored_activations="layers"
    )

    def learn(
        self, network: LearningNetwork, inputs: Tensor, labels: Tensor, update: Update | None
    ) -> Learned:
        """Pass the batch through step by step; every step adds its part of the gradient."""
        readout = readout_of(network, "ottt")
        for name, block in network.named_blocks():
            check_traces(name, block, "ottt", recurrent=False)
        for _ in plain_pass(network.named_blocks(), network.signal, inputs, observe=True):
            pass  # this pass only updates the normalisers
        inputs = network.signal.plain(inputs)
        blocks = list(network.named_blocks())
        layers = {name: _OnlineLayer(block) for name, block in blocks}
        trace = _Trace(readout.neuron)
        losses, voltages = [], []
        for values in inputs:
            kept = Kept.at_start(sources_by_name(blocks), values.unsqueeze(0))
            for name, layer in layers.items():
                (values,) = joined_input(name, layer.block, kept.take(name))
                values = layer.step(values)
                kept.put(name, values.unsqueeze(0))
            seen, gain = trace.seen(values.flatten(1))
            voltage = gain * readout.synapse(seen)
            loss = readout.loss(voltage, labels) / len(inputs)
            learn_from(loss)
            losses.append(loss.detach())
            voltages.append(voltage.detach())
        update_all(update, network)
        scores = torch.stack(voltages).mean(0)
        return reported(network, scores, torch.stack(losses).sum(), labels)


class _Trace:
    """The presynaptic trace of a layer's input, updated at every step."""

    def __init__(self, neuron: Neuron) -> None:
        self.neuron = neuron
        self.held: NeuronState | None = None
        self.gained: NeuronState | None = None
        self.first: Tensor | None = None

    def seen(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the trace after one more step, as a weighted mean, and its gain.

        Only the present values have a gradient, through their part of the voltage.
        """
        held = values.detach()  # a filter without memory returns its input, with its graph
        with torch.no_grad():
            one = values.new_ones(1)
            if self.held is None:
                self.held = self.neuron.initial_state(held)
                self.gained = self.neuron.initial_state(one)
            self.held = self.neuron.filter(held, self.held)
            self.gained = self.neuron.filter(one, self.gained)
        gain: Tensor = self.gained.voltage
        self.first = gain if self.first is None else self.first
        now = self.first * (values - held)
        divisor = torch.where(gain == 0, 1.0, gain)  # 0 while no current has reached the membrane
        return (self.held.voltage + now) / divisor, gain


class _OnlineLayer:
    """One block, run a step at a time."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self.trace = _Trace(block.neuron)
        self.state: NeuronState | None = None

    def step(self, values: Tensor) -> Tensor:
        """Return the block's output for the input of one step, `[B, ...]`."""
        block = self.block
        with torch.no_grad():
            current = block.static_current(values)
            if self.state is None:
                self.state = block.neuron.initial_state(current)
            spike, voltage, self.state = block.neuron.step(current, self.state)
        seen, gain = self.trace.seen(values)
        driven = gain * block.static_current(seen)
        output: Tensor = block.pool(fired(block.neuron, with_gradient_of(driven, voltage), spike))
        return output
