"""The pictures of a run show one pass of one sample."""

from __future__ import annotations

import pytest
import torch

from sigprop_snn import plots
from sigprop_snn.figures import draw_run, observe
from sigprop_snn.network import Network, SurrogateRule, conv, mlp
from sigprop_snn.neurons import LIF, GaussianNoise
from sigprop_snn.training import TrainConfig, train


def noisy():
    """Return a neuron that gives another run each time."""
    return GaussianNoise(LIF(), 0.5)


def quiet(_):
    """Ignore a line."""


@pytest.fixture
def shown(monkeypatch):
    """What the pictures got, by the name of the function."""
    found = {}
    for name in ("network_raster", "voltage_traces"):
        draw = getattr(plots, name)

        def kept(*given, name=name, draw=draw, **options):
            found[name] = (given, options)
            return draw(*given, **options)

        monkeypatch.setattr(plots, name, kept)
    return found


@pytest.mark.parametrize("steps", [1, 4])
def test_raster_winner_and_voltages_are_of_one_run_of_a_noisy_network(steps, shown, tmp_path):
    settings = {"epochs": 1, "train_samples": 40, "test_samples": 20, "device": "cpu"}
    config = TrainConfig(
        "digits", steps=steps, neuron="lif-noise", out=tmp_path / "run", **settings
    )
    trained = train(config, quiet)
    runs = []
    trained.network.block("block1").register_forward_hook(lambda *_: runs.append(1))
    files = draw_run(trained, 3, layer="block2")
    assert len(runs) == 1
    (layers,), options = shown["network_raster"]
    assert options["winner"] == int(layers["readout"].mean(0).argmax())
    assert len(files) == 3 - (steps == 1)
    assert ("voltage_traces" in shown) == (steps > 1)
    if steps > 1:
        (voltage, spikes), _ = shown["voltage_traces"]
        assert torch.equal(spikes, layers["block2"])
        assert (voltage[spikes > 0] > 0).all()


@pytest.mark.parametrize("predict", ["readout", "context", "both", "vote", "neutral", "subset"])
def test_the_scores_are_those_of_the_network(predict):
    torch.manual_seed(0)
    network = mlp((6,), 3, hidden=(8, 5), predict=predict).eval()
    sample = torch.rand(5, 6)
    seen = observe(network, sample)
    torch.testing.assert_close(seen.scores, network(sample.unsqueeze(1))[0])


@pytest.mark.parametrize("rule", [None, SurrogateRule()], ids=str)
def test_every_step_is_what_record_returns(rule):
    torch.manual_seed(0)
    network = conv((1, 8, 8), 3, channels=(4, 6), rule=rule)
    sample = torch.rand(5, 1, 8, 8)
    seen = observe(network, sample)
    assert network.training
    inputs = sample.unsqueeze(1)
    kept = network.eval().record(inputs, ("spike", "voltage"), ["block1", "block2", "readout"])
    assert list(seen.spikes) == list(seen.voltages) == ["block1", "block2"]
    for name in seen.spikes:
        torch.testing.assert_close(seen.spikes[name], kept[name]["spike"][:, 0])
        torch.testing.assert_close(seen.voltages[name], kept[name]["voltage"][:, 0])
    torch.testing.assert_close(seen.readout, kept["readout"]["voltage"][:, 0])


def test_the_scores_of_a_noisy_network_are_of_the_run_that_is_seen():
    torch.manual_seed(0)
    network = mlp((6,), 3, hidden=(8,), neuron=noisy)
    seen = observe(network, torch.rand(5, 6))
    torch.testing.assert_close(seen.scores, seen.readout.mean(0))


def test_a_network_without_a_readout_is_observed():
    torch.manual_seed(0)
    whole = mlp((6,), 3, hidden=(8,))
    seen = observe(Network(whole.signal, list(whole.blocks)), torch.rand(5, 6))
    assert seen.readout is None
    assert seen.scores.shape == (3,)
    assert list(seen.layers()) == ["input", "block1"]
