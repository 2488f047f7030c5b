"""How to add an engine: a subclass of `ReferenceEngine` that replaces what it does faster.

In a program, pass it to `use_engine`, as here. In the package, it is a folder beside
`neurons/engines/cpu`, and one entry in `neurons/engines/choice.py`.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sigprop_snn.network import SurrogateRule, VoltageRule, mlp
from sigprop_snn.neurons import LIF, run, use_engine
from sigprop_snn.neurons.engines import ReferenceEngine, Spikes
from sigprop_snn.training import LocalOptimizers


class SparseEngine(ReferenceEngine):
    """Multiplies linear layers with the spikes as a sparse matrix."""

    name = "sparse"

    def __init__(self) -> None:
        self.products = 0

    def currents(self, synapse: nn.Module, spikes: Spikes) -> Tensor:
        """Return the synapse's output for every step; by a sparse product where it is linear."""
        if type(synapse) is not nn.Linear:
            return super().currents(synapse, spikes)
        self.products += 1
        dense = spikes.dense()
        product = torch.sparse.mm(dense.flatten(0, 1).to_sparse(), synapse.weight.t())
        return (product + synapse.bias).view(*dense.shape[:2], -1)


def batch():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(16) % 4
    rates = torch.rand(4, 12, generator=generator)[labels]
    return (torch.rand(5, 16, 12, generator=generator) < rates).float(), labels


def learned(rule, engine):
    torch.manual_seed(0)
    network = mlp((12,), 4, hidden=(20, 20), rule=rule)
    optimizers = LocalOptimizers(network, lambda weights: torch.optim.Adam(weights, lr=1e-3))
    x, labels = batch()
    with use_engine(engine):
        for _ in range(5):
            network.learn(x, labels, optimizers.step)
        return network, network(x)


@pytest.mark.parametrize("rule", [VoltageRule(), SurrogateRule()], ids=["voltage", "surrogate"])
def test_a_network_trains_on_an_added_engine_as_on_the_reference(rule):
    engine = SparseEngine()
    network, scores = learned(rule, engine)
    expected_network, expected = learned(rule, "reference")
    # One linear layer without a flattening before it: five batches of learning, one prediction.
    assert engine.products == 6
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-4)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(
            value, expected_network.state_dict()[name], atol=1e-5, rtol=1e-4, msg=name
        )


def test_an_added_engine_runs_neurons_and_is_named_by_the_network():
    current = torch.full((4, 2, 3), 0.6)
    found = run(LIF(), current, engine=SparseEngine())
    assert torch.equal(found.spike, run(LIF(), current, engine="reference").spike)
    with use_engine(SparseEngine()):
        assert repr(mlp((12,), 4, hidden=(20,))).count("engine=sparse") == 1
