"""Recording a state whose batch is not the first axis."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import mlp
from sigprop_snn.neurons import Neuron


class Delayed(NamedTuple):
    voltage: Tensor
    delay: Tensor  # [2, N, ...]


class DelayLine(Neuron[Delayed]):
    """A current that arrives two steps late."""

    def initial_state(self, current):
        return Delayed(torch.zeros_like(current), torch.zeros(2, *current.shape))

    def integrate(self, current, state):
        delay = torch.stack([current, state.delay[0]])
        return Delayed(0.9 * state.voltage + state.delay[1], delay)


def test_the_contexts_are_cut_off_along_the_axis_of_the_batch():
    torch.manual_seed(0)
    network = mlp((6,), 3, hidden=(4,), neuron=DelayLine, predict="context")
    x = torch.rand(7, 5, 6)
    found = network.record(x, ["delay", "voltage"])["block1"]
    assert found["delay"].shape == (7, 2, 5, 4)
    assert found["voltage"].shape == (7, 5, 4)
    alone = network.record(x[:, :1], "delay")["block1"]["delay"]
    torch.testing.assert_close(found["delay"][:, :, :1], alone)


class Summed(DelayLine):
    """Its delay line has lost the axis of the batch."""

    def initial_state(self, current):
        return Delayed(torch.zeros_like(current), torch.zeros(2, *current.shape[1:]))

    def integrate(self, current, state):
        return Delayed(state.voltage + current, state.delay)


def test_a_state_without_an_axis_of_the_batch_is_refused_by_its_name():
    network = mlp((6,), 3, hidden=(4,), neuron=Summed, predict="context")
    with pytest.raises(SigpropError, match=r"delay .*\[2, 4\]"):
        network.record(torch.rand(7, 5, 6), ["delay"])
