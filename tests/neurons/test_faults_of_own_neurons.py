"""A new model with a fault is refused by its name, where it is used first."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import Block, mlp
from sigprop_snn.neurons import Neuron, State, run


class Counted(NamedTuple):
    voltage: Any
    count: Any


class Potential(NamedTuple):
    potential: Any


class CountsInAnInt(Neuron):
    def initial_state(self, current):
        return Counted(torch.zeros_like(current), 0)

    def integrate(self, current, state):
        return Counted(state.voltage + current, state.count + 1)


class WithoutVoltage(Neuron):
    def initial_state(self, current):
        return Potential(torch.zeros_like(current))

    def integrate(self, current, state):
        return Potential(state.potential + current)


class BareTensor(Neuron):
    def initial_state(self, current):
        return torch.zeros_like(current)

    def integrate(self, current, state):
        return state + current


class BareTuple(Neuron):
    def step(self, current, state, *, detach_spikes=False):
        return current > 1, State(current)


class BareSpike(Neuron):
    def step(self, current, state, *, detach_spikes=False):
        return (current > 1).float()


class WithoutSuper(Neuron):
    def __init__(self) -> None:
        pass


class WithoutNeuron(Neuron):
    def __init__(self) -> None:
        nn.Module.__init__(self)


class ChangesTheShape(Neuron):
    def integrate(self, current, state):
        return State((state.voltage + current).sum(0))


class FiresAWord(Neuron):
    def fire(self, voltage):
        return "spike"


class FiresAnotherShape(Neuron):
    def fire(self, voltage):
        return (voltage > 1).float()[:, :1]


class ResetsToNothing(Neuron):
    def reset(self, state, spike):
        state.voltage.zero_()


class ResetsToATensor(Neuron):
    def reset(self, state, spike):
        return state.voltage - spike


class RestsAtNothing(Neuron):
    def initial_state(self, current):
        return None


FAULTS = {
    BareTuple: r"BareTuple\.step returned a tuple",
    BareSpike: r"BareSpike\.step returned a Tensor",
    FiresAWord: "fire of FiresAWord returned a str",
    FiresAnotherShape: r"fire of FiresAnotherShape returned .*, 1\].*, (4|5)\]",
    ResetsToNothing: "reset of ResetsToNothing returned a NoneType.*`voltage`",
    ResetsToATensor: "reset of ResetsToATensor returned a Tensor.*`voltage`",
    RestsAtNothing: "state is a NoneType",
    CountsInAnInt: "count of Counted is 0",
    WithoutVoltage: "Potential has potential; .*`voltage`",
    BareTensor: "state is a Tensor.*`voltage`",
    WithoutSuper: r"WithoutSuper .*super\(\)\.__init__\(\)",
    WithoutNeuron: r"WithoutNeuron .*super\(\)\.__init__\(\)",
    ChangesTheShape: r"ChangesTheShape returned a State with a voltage of shape .*\[(4|5)\]",
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("model", FAULTS)
def test_a_fault_is_named(model):
    x, labels = torch.rand(4, 5, 6), torch.arange(5) % 3
    uses = [
        lambda: run(model(), torch.rand(3, 2, 4)),
        lambda: mlp((6,), 3, hidden=(5, 4), neuron=model).learn(x, labels),
        lambda: mlp((6,), 3, hidden=(5, 4), neuron=model).record(x, ["voltage"]),
    ]
    for use in uses:
        with pytest.raises(SigpropError, match=FAULTS[model]):
            use()


@pytest.mark.parametrize("model", [WithoutSuper, WithoutNeuron])
def test_a_block_refuses_a_model_that_is_not_made_whole(model):
    with pytest.raises(SigpropError, match=model.__name__):
        Block(nn.Linear(6, 5), model())
