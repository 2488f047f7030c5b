"""Each neuron learns, and each surrogate, on a budget that shows only that it can.

A diagonal of pairs is enough: a rule uses a surrogate through `f` and `df` of `neuron.above` alone,
and `test_every_model.py` checks for each pair that any neuron takes any surrogate there.
"""

import math
from itertools import cycle, islice

import pytest
import torch

from sigprop_snn.neurons import NEURONS
from sigprop_snn.surrogates import SURROGATES
from sigprop_snn.training import TrainConfig, train

# A leaky integrator never fires: as a hidden block it would silence all blocks after it.
FIRING = sorted(set(NEURONS) - {"leaky-integrator"})
# Each neuron at least once, and each surrogate; "lif" takes all of them, which adds the rest.
DIAGONAL = sorted(
    set(zip(FIRING, islice(cycle(sorted(SURROGATES)), len(FIRING)), strict=True))
    | {("lif", surrogate) for surrogate in SURROGATES}
)

pytestmark = pytest.mark.filterwarnings("ignore:.*has no fixed linear filter")


@pytest.mark.parametrize(("neuron", "surrogate"), DIAGONAL)
def test_the_surrogate_rule_trains_the_pair(tmp_path, neuron, surrogate):
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


@pytest.mark.filterwarnings("ignore:.*gives no gradient to .*log_threshold")
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


def test_the_diagonal_holds_each_neuron_and_each_surrogate():
    neurons, surrogates = zip(*DIAGONAL, strict=True)
    assert set(neurons) == set(FIRING) and set(surrogates) == set(SURROGATES)
    assert len(DIAGONAL) < 40
