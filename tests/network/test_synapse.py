"""Learning leaves its input alone."""

import torch
from torch import nn

from sigprop_snn.network import VoltageRule, mlp


def test_learning_leaves_the_input_as_it_was():
    torch.manual_seed(0)
    network = mlp((6,), 3, hidden=(5,), rule=VoltageRule()).train()
    network.blocks[0].synapse = nn.Identity()
    inputs = torch.rand(4, 8, 5)
    before = inputs.clone()
    network.learn(inputs, torch.arange(8) % 3)
    assert torch.equal(inputs, before)
