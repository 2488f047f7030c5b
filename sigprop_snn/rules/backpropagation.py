"""Backpropagation (through time): the measure that the other rules are held against."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from sigprop_snn.layers.contracts import Learned, Needs, Update
from sigprop_snn.layers.rule import LearningNetwork, Rule
from sigprop_snn.rules.passes import full_graph, learn_from, readout_of, reported, update_all


class Backpropagation(Rule):
    """The readout's cross-entropy, sent back through every block and every step.

    The gradient goes through the spikes by the neuron's surrogate derivative, the reset is held
    constant (Neftci, Mostafa and Zenke 2019). On rate neurons of one step it is ordinary
    backpropagation. It takes any neuron.
    """

    needs: ClassVar[Needs] = Needs(
        backward_pass=True, symmetric_weights=True, stored_activations="both"
    )

    def learn(
        self, network: LearningNetwork, inputs: Tensor, labels: Tensor, update: Update | None
    ) -> Learned:
        """Pass the batch through, and the error back."""
        readout = readout_of(network, "backpropagation")
        scores = readout(full_graph(network, inputs))
        loss = readout.loss(scores, labels)
        learn_from(loss)
        update_all(update, network)
        return reported(network, scores, loss, labels)
