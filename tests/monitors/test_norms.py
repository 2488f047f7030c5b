"""The norms of weights and updates."""

import pytest
import torch

from sigprop_snn.monitors import UpdateNorms, weight_norms
from sigprop_snn.network import mlp
from sigprop_snn.training import LocalOptimizers

INPUTS, LABELS = torch.rand(1, 12, 6).expand(4, 12, 6), torch.arange(12) % 3


@pytest.fixture
def network():
    torch.manual_seed(0)
    return mlp((6,), 3, hidden=(5, 4))


def flat(network) -> dict[str, torch.Tensor]:
    groups = network.local_parameters()
    return {n: torch.cat([w.detach().flatten() for w in ws]) for n, ws in groups.items()}


def test_every_layer_is_measured_over_a_step(network):
    optimizers = LocalOptimizers(network, lambda weights: torch.optim.SGD(weights, lr=0.5))
    norms = UpdateNorms(network, optimizers.step)
    before = flat(network)
    network.learn(INPUTS, LABELS, norms)
    after = flat(network)
    assert set(norms.latest) == {"block1", "block2", "readout"}
    for name, measured in norms.latest.items():
        moved = float((after[name] - before[name]).norm())
        assert measured.update == pytest.approx(moved, rel=1e-5)
        assert measured.weight == pytest.approx(float(before[name].norm()), rel=1e-5)
        assert measured.ratio == pytest.approx(measured.update / measured.weight)
        assert measured.steps == 1
    assert weight_norms(network)["block2"] == pytest.approx(float(after["block2"].norm()), rel=1e-5)


def test_measuring_changes_nothing(network):
    torch.manual_seed(0)
    twin = mlp((6,), 3, hidden=(5, 4))
    for which in (network, twin):
        optimizers = LocalOptimizers(which, lambda weights: torch.optim.Adam(weights))
        step = UpdateNorms(which, optimizers.step) if which is network else optimizers.step
        for _ in range(3):
            which.learn(INPUTS, LABELS, step)
    for one, other in zip(network.parameters(), twin.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_mean_is_over_the_steps_since_it_was_cleared(network):
    optimizers = LocalOptimizers(network, lambda weights: torch.optim.SGD(weights, lr=0.1))
    norms = UpdateNorms(network, optimizers.step)
    network.learn(INPUTS, LABELS, norms)
    norms.clear()
    seen = []
    for _ in range(3):
        network.learn(INPUTS, LABELS, norms)
        seen.append(norms.latest["block1"].ratio)
    found = norms.mean()["block1"]
    assert found.steps == 3
    assert found.ratio == pytest.approx(sum(seen) / 3)


def test_a_frozen_layer_is_not_updated_and_not_measured(network):
    network.blocks[1].requires_grad_(False)
    optimizers = LocalOptimizers(network, lambda weights: torch.optim.SGD(weights, lr=0.1))
    norms = UpdateNorms(network, optimizers.step)
    network.learn(INPUTS, LABELS, norms)
    assert set(norms.latest) == {"block1", "readout"}
    assert weight_norms(network)["block2"] == 0.0
