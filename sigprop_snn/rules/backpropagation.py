"""Backpropagation (through time): the baseline for the other rules."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from sigprop_snn.layers.contracts import Learned, Needs, Update
from sigprop_snn.layers.rule import LearningNetwork, Rule
from sigprop_snn.rules.passes import full_graph, learn_from, readout_of, reported, update_all


class Backpropagation(Rule):
    """Backpropagates the readout's cross-entropy through every block and every step.

    Spikes use the neuron's surrogate derivative, and the reset is held constant (Neftci, Mostafa
    and Zenke 2019). With rate neurons and one step this is ordinary backpropagation. It accepts
    any neuron.
    """

    needs: ClassVar[Needs] = Needs(
        backward_pass=True, symmetric_weights=True, stored_activations="both"
    )

    def learn(
        self, network: LearningNetwork, inputs: Tensor, labels: Tensor, update: Update | None
    ) -> Learned:
        """Pass the batch forward and the error back."""
        readout = readout_of(network, "backpropagation")
        scores = readout(full_graph(network, inputs))
        loss = readout.loss(scores, labels)
        learn_from(loss)
        update_all(update, network)
        return reported(network, scores, loss, labels)
