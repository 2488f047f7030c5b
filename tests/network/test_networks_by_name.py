"""The parts a network is made of by name: catalogue, signal, readout."""

from __future__ import annotations

import pytest
import torch

from sigprop_snn.network import NETWORKS, ProjectedContext, Readout, RunningScale, conv, mlp
from sigprop_snn.rules import RULES


def test_readout_is_its_integrators_run_step_by_step(batch):
    torch.manual_seed(0)
    readout = Readout(6, 3, beta=0.7).double()
    x, _ = batch()
    voltage, total = torch.zeros(8, 3).double(), torch.zeros(8, 3).double()
    traced = readout.trace(x).recorded["voltage"]
    for step, shown in zip(x, traced, strict=True):
        voltage = 0.7 * voltage + readout.synapse(step)
        torch.testing.assert_close(shown, voltage)
        total += voltage
    torch.testing.assert_close(readout(x), total / 5)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("rule", ["voltage", "surrogate"])
def test_networks_by_name_learn_on_pictures(name, rule):
    torch.manual_seed(0)
    network = NETWORKS[name]((1, 8, 8), 5, rule=RULES[rule].make)
    x, labels = torch.rand(4, 6, 1, 8, 8), torch.arange(6) % 5
    learned = network.learn(x, labels)
    assert learned.scores.shape == (6, 5)
    assert all(p.grad is not None for p in network.parameters())
    assert network.eval()(x).shape == (6, 5)


def test_signal_is_drawn_and_scaled_as_it_says():
    torch.manual_seed(0)
    signal = ProjectedContext(3, (2, 4, 4), gain=1.5)
    current = signal()
    assert current.shape == (3, 2, 4, 4)
    rows = current.flatten(1)
    torch.testing.assert_close(
        rows.square().mean(1).sqrt(), torch.full((3,), 1.5), rtol=1e-4, atol=0
    )
    torch.testing.assert_close(rows.mean(1), torch.zeros(3), rtol=0, atol=1e-6)
    raw = signal.projection
    unit = (raw - raw.mean(1, keepdim=True)) / raw.std(1, keepdim=True, correction=0)
    torch.testing.assert_close(rows, 1.5 * unit, rtol=1e-4, atol=1e-5)


def test_the_shapes_of_networks_by_name():
    torch.manual_seed(0)
    network = conv((3, 16, 16), 7, channels=(4, 6, 8, 5))
    stages = network.stages(torch.rand(2, 3, 3, 16, 16))
    responses = [stage.response for stage in stages if stage.response is not None]
    assert [tuple(response.run.spike.shape[2:]) for response in responses] == [
        (4, 16, 16),
        (6, 8, 8),
        (8, 4, 4),
        (5, 4, 4),
    ]
    assert network.readout.synapse.in_features == 5 * 4 * 4
    flat = mlp((3, 4), 5, hidden=(9, 6), gain=3.0)
    assert [b.norm.gain.unique().item() for b in flat.blocks] == [3.0, 3.0]
    assert isinstance(flat.blocks[0].norm, RunningScale)
    assert flat(torch.rand(2, 3, 3, 4)).shape == (3, 5)
