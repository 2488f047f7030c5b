"""Every neuron learns with every surrogate, on a budget that only shows that it can."""

import math

import pytest
import torch

from sigprop_snn.neurons import NEURONS
from sigprop_snn.surrogates import SURROGATES
from sigprop_snn.training import TrainConfig, train

# A leaky integrator never fires: as a hidden block it would silence all above it.
FIRING = sorted(set(NEURONS) - {"leaky-integrator"})

pytestmark = pytest.mark.filterwarnings("ignore:.*has no fixed linear filter")


@pytest.mark.parametrize("surrogate", sorted(SURROGATES))
@pytest.mark.parametrize("neuron", FIRING)
def test_train_with_every_neuron_and_surrogate(tmp_path, neuron, surrogate):
    trained = train(
        TrainConfig(
            "digits",
            rule="surrogate",
            neuron=neuron,
            surrogate=surrogate,
            epochs=1,
            steps=5,
            batch_size=20,
            train_samples=20,
            test_samples=10,
            out=tmp_path / "run",
        ),
        say=lambda _: None,
    )
    assert math.isfinite(trained.history[0]["loss"])
    assert all(torch.isfinite(weight).all() for weight in trained.network.parameters())


@pytest.mark.parametrize("neuron", FIRING)
def test_the_voltage_rule_trains_every_neuron(tmp_path, neuron):
    trained = train(
        TrainConfig(
            "digits", neuron=neuron, epochs=1, steps=8, batch_size=20, train_samples=200,
            test_samples=50, out=tmp_path / "run",
        ),
        say=lambda _: None,
    )  # fmt: skip
    layers = trained.history[0]["layers"]
    assert max(layer["accuracy"] for layer in layers) > 0.2  # chance is 0.1
    assert all(layer["spike_rate"] > 0 for layer in layers)
