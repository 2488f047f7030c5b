"""Recording on a whole network."""

import pytest
import torch

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import SurrogateRule, VoltageRule, mlp
from sigprop_snn.neurons import CurrentLIF


@pytest.mark.parametrize("rule", [VoltageRule(), SurrogateRule()], ids=str)
def test_every_block_is_recorded_time_first_and_detached(rule):
    torch.manual_seed(0)
    network = mlp((6,), 3, hidden=(5, 4), neuron=CurrentLIF, rule=rule).eval()
    inputs = torch.rand(7, 2, 6)
    kept = network.record(inputs, ("spike", "voltage", "synaptic"))
    assert list(kept) == ["block1", "block2"]
    for (_, block), size in zip(kept.items(), (5, 4), strict=True):
        assert set(block) == {"spike", "voltage", "synaptic"}
        assert all(value.shape == (7, 2, size) for value in block.values())
        assert not any(value.requires_grad for value in block.values())
    for stage in network.stages(inputs):
        if stage.response is not None:
            assert torch.equal(kept[stage.name]["spike"], stage.response.run.spike[:, :2])
            assert set(stage.response.run.recorded) <= {"voltage"}  # off unless asked for


def test_an_unknown_recording_is_refused():
    with pytest.raises(SigpropError, match="unknown recording 'volts'"):
        mlp((6,), 3, hidden=(5,)).record(torch.rand(7, 2, 6), ["volts"])
