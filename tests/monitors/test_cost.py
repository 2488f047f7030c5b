"""The cost of a network: means, energy, and the table."""

import pytest
import torch

from sigprop_snn.errors import SigpropError
from sigprop_snn.monitors import EnergyModel, cost, count_operations, format_energy
from sigprop_snn.network import mlp


@pytest.fixture
def network():
    torch.manual_seed(0)
    return mlp((6,), 3, hidden=(5, 4))


def batch(steps: int, rows: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(seed)
    return torch.randint(0, 2, (steps, rows, 6), generator=made).float(), torch.arange(rows) % 3


def test_means_are_over_samples_not_over_batches(network):
    large, small = batch(4, 5), batch(4, 2, seed=1)
    found = cost(network, [large, small])
    counts = [count_operations(network, inputs) for inputs, _ in (large, small)]
    for layer in found.layers:
        every = torch.cat([count[layer.name].additions for count in counts])
        assert layer.additions == pytest.approx(float(every.mean()))
        assert len(every) == found.samples == 7
    assert found.steps == 4
    first = found.layers[0]
    assert first.spike_rate == pytest.approx(first.spikes / (5 * 4))
    assert found.total.spike_rate == pytest.approx(found.total.spikes / (9 * 4))


def test_the_energy_is_the_sum_of_the_operations_times_their_energy(network):
    model = EnergyModel(mac=1000.0, addition=10.0, update=1.0, about="mine")
    found = cost(network, [batch(4, 5)], model)
    for layer in found.layers:
        by_hand = (1000 * layer.macs + 10 * layer.additions + layer.updates) / 1000
        assert layer.energy == pytest.approx(by_hand)
    assert found.total.energy == pytest.approx(sum(layer.energy for layer in found.layers))
    assert found.dense_energy == pytest.approx(6 * 5 + 5 * 4 + 4 * 3)
    assert found.total.updates == 4 * (5 + 4 + 3)


def test_the_table_names_every_layer_and_the_source(network):
    text = str(cost(network, [batch(4, 5)]))
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[1:6]] == [
        "layer", "block1", "block2", "readout", "total",
    ]  # fmt: skip
    assert len({len(line) for line in lines[1:6]}) == 1
    assert "Horowitz, ISSCC 2014" in text
    assert "62 MACs" in text


@pytest.mark.parametrize("batches", [[], [batch(4, 5), batch(3, 5)]])
def test_no_batch_or_two_lengths_are_refused(network, batches):
    with pytest.raises(SigpropError, match=r"cost .*\[\]|\[3, 4\]"):
        cost(network, batches)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_an_energy_that_is_negative_or_not_finite_is_refused(value):
    with pytest.raises(SigpropError, match=f"addition of EnergyModel is {value}"):
        EnergyModel(addition=value)


def test_energies_have_a_unit_that_gives_short_numbers():
    assert [format_energy(e) for e in (0.0004, 0.5, 12.345, 4321.0, 2.5e6)] == [
        "0.4 pJ", "500 pJ", "12.3 nJ", "4.32 uJ", "2.5 mJ",
    ]  # fmt: skip
