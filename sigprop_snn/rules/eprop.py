"""E-prop: eligibility traces, computed forward in time, times a learning signal."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from sigprop_snn.arguments import instance, one_of
from sigprop_snn.layers.contracts import Learned, Needs, Update
from sigprop_snn.layers.gradient_paths import with_gradient_of
from sigprop_snn.layers.layer_pass import Layer, plain_pass
from sigprop_snn.layers.readout import Readout
from sigprop_snn.layers.rule import LearningNetwork, Rule
from sigprop_snn.neurons import filter_matrix, impulse_response
from sigprop_snn.neurons.engines import Spikes
from sigprop_snn.neurons.stepwise import stepwise
from sigprop_snn.rules.passes import (
    Fixed,
    check_blocks,
    feedback_weights,
    fired,
    learn_from,
    learn_from_error,
    output_error,
    readout_of,
    reported,
    step_losses,
    updated,
)
from sigprop_snn.rules.traces import check_traces, driven_voltage, traces
from sigprop_snn.shapes import Layout

Feedback = Literal["random", "symmetric"]
FEEDBACKS: tuple[Feedback, ...] = ("random", "symmetric")


class EProp(nn.Module, Rule):
    """E-prop (Bellec et al. 2020) for feed-forward and recurrent layers.

    A synapse from i to j has the eligibility trace e[t] = psi_j[t] x_i[t]: the surrogate's
    derivative at the voltage, times the presynaptic trace (for a recurrent synapse, the trace of
    the layer's spikes one step earlier). The trace is filtered with the readout's decay kappa and
    multiplied by the neuron's learning signal, L_j[t] = sum over k of B_jk (softmax(y[t]) -
    target)_k:

        dE/dW_ji = sum over t of L_j[t] (sum over k <= t of kappa^(t - k) e_ji[k]).

    E is the mean over the steps of the readout's cross-entropy at every step. No graph in time is
    built. A filtered trace for every synapse and sample would be the largest array by far;
    instead the factors psi and x of every step are stored, and the same sum is computed from them.

    Args:
        layout: the network's shapes.
        feedback: "random" uses fixed random weights B for every block. "symmetric" uses the
            readout's weights for the last block, which makes e-prop exact for one hidden layer
            without recurrence, and random weights for the blocks below, which have no direct
            connection to the output.

    Raises:
        UnknownNameError: if the feedback is unknown.
    """

    needs: ClassVar[Needs] = Needs(feedback_weights=True, stored_activations="both")

    def __init__(self, layout: Layout, feedback: Feedback = "random") -> None:
        super().__init__()
        instance("layout", layout, Layout, "a Layout")
        one_of("feedback", feedback, FEEDBACKS)
        self.symmetric = feedback == "symmetric"
        self.feedback = feedback_weights(layout)

    def learn(
        self, network: LearningNetwork, inputs: Tensor, labels: Tensor, update: Update | None
    ) -> Learned:
        """Pass the batch through; every synapse learns from its trace."""
        readout = self._checked(network)
        layers = list(
            plain_pass(
                network.named_blocks(), network.signal, inputs,
                record=("voltage",), observe=True,
            )
        )  # fmt: skip
        voltages = _readout_voltages(readout, layers[-1].sent.dense())
        loss = step_losses(readout, voltages, labels)
        error = _step_error(readout, voltages, labels)
        later = _filtered_back(error, impulse_response(readout.neuron, len(error)))
        for index, layer in enumerate(layers):
            _learn_from_traces(layer, self._signal(index, later, readout))
            updated(update, layer.name, layer.block)
        learn_from(loss)
        updated(update, "readout", readout)
        return reported(network, voltages.detach().mean(0), loss, labels)

    def _checked(self, network: LearningNetwork) -> Readout:
        check_blocks(network, len(self.feedback), "e-prop")
        for name, block in network.named_blocks():
            check_traces(name, block, "e-prop", recurrent=True)
        return readout_of(network, "e-prop")

    def _signal(self, index: int, error: Tensor, readout: Readout) -> Tensor:
        """Return the learning signal of a block's flattened outputs, `[T, B, N]`."""
        fixed = self.feedback[index]
        assert isinstance(fixed, Fixed)
        last = index == len(self.feedback) - 1
        back = readout.synapse.weight.detach() if self.symmetric and last else fixed.weight
        return error @ back.to(error)


def _readout_voltages(readout: Readout, spikes: Tensor) -> Tensor:
    """Return the readout's voltage at every step, `[T, B, C]`, with the gradient of its weights."""
    trace, gain = traces(readout.neuron, spikes.flatten(2))
    return gain.view(-1, 1, 1) * stepwise(readout.synapse, trace)


def _step_error(readout: Readout, voltages: Tensor, labels: Tensor) -> Tensor:
    """Return the derivative of the loss with respect to the readout's voltages, `[T, B, C]`."""
    steps = len(voltages)
    return torch.stack([output_error(readout, step, labels) for step in voltages]) / steps


def _filtered_back(error: Tensor, response: Tensor) -> Tensor:
    """Return sum over t >= k of kappa^(t - k) error[t]; the traces then need no filter."""
    return (filter_matrix(response).t().to(error) @ error.flatten(1)).view_as(error)


def _learn_from_traces(layer: Layer[Spikes], signal: Tensor) -> None:
    """Add the sum over steps of learning signal times eligibility trace to `.grad`."""
    block, ran = layer.block, layer.run
    driven = driven_voltage(block, layer.inputs.dense(), ran.spike)
    voltage = with_gradient_of(driven, ran.recorded["voltage"])
    output = stepwise(block.pool, fired(block.neuron, voltage, ran.spike))
    learn_from_error(output, signal.to(output).view_as(output))
