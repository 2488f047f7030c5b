"""Learned pictures learn from every engine's spikes, by sample and online."""

import pytest
import torch

from sigprop_snn.network import Online, mlp


@pytest.mark.parametrize("rows", [8, 300])
@pytest.mark.parametrize("online", [False, True], ids=["by sample", "online"])
def test_pictures_of_0_and_1_keep_their_graph(rows, online):
    """A large batch of 0 and 1 is packed, which would lose the graph of the pictures."""
    torch.manual_seed(0)
    network = mlp((1, 16, 16), 4, hidden=(16,), signal="learned-picture")
    x, labels = (torch.rand(4, rows, 1, 16, 16) < 0.5).float(), torch.arange(rows) % 4
    (Online(network) if online else network).learn(x, labels)
    assert network.signal.picture.grad is not None
