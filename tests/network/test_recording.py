"""Recording on a whole network."""

from typing import NamedTuple

import pytest
import torch

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import SurrogateRule, VoltageRule, conv, mlp
from sigprop_snn.neurons import LIF, CurrentLIF, run


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


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("mem", "voltage"),
        ("membrane", "voltage"),
        ("v", "voltage"),
        ("U", "voltage"),
        ("spikes", "spike"),
        ("spk", "spike"),
        ("spk_rec", "spike"),
    ],
)
def test_the_name_of_another_library_points_to_ours(name, ours):
    network = mlp((6,), 3, hidden=(5,))
    for record in (
        lambda: network.record(torch.rand(7, 2, 6), name),
        lambda: run(LIF(), torch.rand(7, 2, 6), record=name),
    ):
        with pytest.raises(SigpropError, match=f"'{name}'.*mean '{ours}'"):
            record()


class WithMem(NamedTuple):
    """A state with a name that another library uses for the voltage."""

    voltage: torch.Tensor
    mem: torch.Tensor


class Own(LIF):
    """A model with such a state."""

    def initial_state(self, current):
        return WithMem(torch.zeros_like(current), torch.ones_like(current))

    def integrate(self, current, state):
        return state._replace(voltage=state.voltage + current)


def test_an_own_state_of_such_a_name_is_recorded():
    ran = run(Own(), torch.rand(7, 2, 6), record="mem")
    assert (ran.recorded["mem"] == 1).all()


def test_one_name_is_as_good_as_a_list():
    network, inputs = mlp((6,), 3, hidden=(5,)).eval(), torch.rand(7, 2, 6)
    one, several = network.record(inputs, "spike"), network.record(inputs, ["spike"])
    assert torch.equal(one["block1"]["spike"], several["block1"]["spike"])


@pytest.mark.parametrize("make", [mlp, conv])
def test_the_input_and_the_readout_are_recorded_when_asked_for(make):
    torch.manual_seed(0)
    network, inputs = make((1, 8, 8), 3).eval(), torch.rand(7, 2, 1, 8, 8)
    kept = network.record(inputs, ["spike", "voltage"], ["input", "block2", "readout"])
    assert {name: list(values) for name, values in kept.items()} == {
        "input": ["spike"],
        "block2": ["spike", "voltage"],
        "readout": ["voltage"],
    }
    assert torch.equal(kept["input"]["spike"], inputs)
    assert kept["readout"]["voltage"].shape == (7, 2, 3)
    torch.testing.assert_close(kept["readout"]["voltage"].mean(0), network(inputs))


@pytest.mark.parametrize(
    ("names", "layers", "words"),
    [
        ("spike", "block9", "layer 'block9'.*block1, input, readout"),
        ("readout", None, "'readout'.*layers='readout'"),
        ("input", None, "'input'.*layers='input'"),
        ("spike", "readout", "readout.*spike.*voltage"),
        ("voltage", "input", "input.*voltage.*spike"),
        ("spike", 3, "layers is 3"),
    ],
)
def test_a_layer_or_a_name_that_is_not_there_is_refused(names, layers, words):
    with pytest.raises(SigpropError, match=words):
        mlp((6,), 3, hidden=(5,)).record(torch.rand(7, 2, 6), names, layers)


def test_a_block_is_found_by_its_name():
    network = mlp((6,), 3, hidden=(5, 4))
    assert network.block("block2") is network.blocks[1]
    with pytest.raises(SigpropError, match=r"'block3'.*block2"):
        network.block("block3")
