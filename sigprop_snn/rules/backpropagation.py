"""Backpropagation (through time): the measure that the other rules are held against."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from sigprop_snn.network.rule import Needs, Rule, Update
from sigprop_snn.network.stage import Learned
from sigprop_snn.rules.passes import learn_from, readout_of, reported, through, update_all

if TYPE_CHECKING:
    from sigprop_snn.network.network import Network


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
        self, network: Network, inputs: Tensor, labels: Tensor, update: Update | None
    ) -> Learned:
        """Pass the batch through, and the error back."""
        readout = readout_of(network, "backpropagation")
        inputs = network.signal.plain(inputs)
        for index, block in enumerate(network.each_block()):
            _, inputs = through(block, inputs, network.signal if index == 0 else None)
        scores = readout(inputs)
        loss = readout.loss(scores, labels)
        learn_from(loss)
        update_all(update, network)
        return reported(network, scores, loss, labels)
