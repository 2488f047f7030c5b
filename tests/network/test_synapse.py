"""The synapse made for spikes."""

import pytest
import torch
from torch import nn

from sigprop_snn.network import Block, EventLinear, VoltageRule, mlp
from sigprop_snn.neurons import LIF


@pytest.mark.parametrize("density", [0.0, 0.05, 0.9])
def test_events_give_the_dense_product_and_its_gradients(density):
    torch.manual_seed(0)
    sparse, dense = EventLinear(300, 400), nn.Linear(300, 400)
    dense.load_state_dict(sparse.state_dict())
    inputs = (torch.rand(200, 300) < density).float()
    outputs = sparse(inputs), dense(inputs)
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
    for out in outputs:
        out.square().sum().backward()
    torch.testing.assert_close(sparse.weight.grad, dense.weight.grad, rtol=1e-4, atol=1e-2)
    torch.testing.assert_close(sparse.bias.grad, dense.bias.grad, rtol=1e-4, atol=1e-2)


def test_it_is_affine_and_learns_by_the_closed_form():
    block = Block(EventLinear(6, 5), LIF())
    assert block.affine


def test_learning_leaves_the_input_as_it_was():
    torch.manual_seed(0)
    network = mlp((6,), 3, hidden=(5,), rule=VoltageRule()).train()
    network.blocks[0].synapse = nn.Identity()
    inputs = torch.rand(4, 8, 5)
    before = inputs.clone()
    network.learn(inputs, torch.arange(8) % 3)
    assert torch.equal(inputs, before)
