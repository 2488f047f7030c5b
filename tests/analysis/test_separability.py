"""Linear probes on spike counts."""

import pytest
import torch

from sigprop_snn.analysis import linear_probe, ridge_probe, separability, spike_counts
from sigprop_snn.errors import SigpropError


def toy(count, seed):
    made = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    return 6 * torch.eye(3)[labels] + torch.rand(count, 3, generator=made), labels


def test_separable_classes_are_separated_and_noise_is_not():
    features, labels = toy(30, 1)
    assert linear_probe(*toy(60, 0), features.flip(0), labels.flip(0)) == 1.0
    made = torch.Generator().manual_seed(2)
    noise = [torch.randn(600, 5, generator=made), torch.arange(600) % 3]
    fresh = [torch.randn(600, 5, generator=made), torch.arange(600) % 3]
    assert 0.2 < linear_probe(*noise, *fresh) < 0.45


def test_the_order_of_the_labels_decides_nothing():
    made = torch.Generator().manual_seed(0)
    labels = torch.arange(300) % 10
    features = torch.eye(10)[labels] + 0.3 * torch.randn(300, 10, generator=made)
    other = torch.eye(10)[labels] + 0.3 * torch.randn(300, 10, generator=made)
    assert ridge_probe(features, labels, other, labels) > 0.85
    counts = (4 * features).round().long()
    assert ridge_probe(counts, labels, (4 * other).round().long(), labels) > 0.85


def test_exclusive_or_is_not_linearly_separable():
    points = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).repeat(5, 1)
    labels = torch.tensor([0, 1, 1, 0]).repeat(5)
    assert linear_probe(points, labels, points, labels) <= 0.75


def test_every_layer_is_probed_on_its_output(network, batch):
    net = network().train()
    counts, labels = spike_counts(net, [batch, batch])
    assert {name: tuple(of.shape) for name, of in counts.items()} == {
        "input": (18, 5), "block1": (18, 7), "block2": (18, 6),
    }  # fmt: skip
    recorded = net.eval().record(batch[0], ["spike"])
    assert torch.equal(counts["block2"][:9], recorded["block2"]["spike"].sum(0))
    assert labels.tolist() == 2 * batch[1].tolist()
    net.train()
    found = separability(net, [batch], [batch])
    assert [layer.name for layer in found] == ["input", "block1", "block2"]
    assert [layer.features for layer in found] == [5, 7, 6]
    assert found[0].accuracy == 1.0
    assert net.training


def test_no_batches_and_a_single_class_are_refused(network, batch):
    with pytest.raises(SigpropError, match="spike_counts got no batches"):
        separability(network(), [], [batch])
    with pytest.raises(SigpropError, match="4 samples"):
        linear_probe(torch.rand(4, 2), torch.zeros(4), torch.rand(4, 2), torch.zeros(4))
