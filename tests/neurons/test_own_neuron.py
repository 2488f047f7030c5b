"""A neuron in a user's file: at most 15 lines, nothing to register, and it trains."""

from __future__ import annotations

import runpy

import pytest
import torch
from torch import nn

from sigprop_snn.data import load
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import SurrogateRule, VoltageRule, mlp
from sigprop_snn.neurons import Neuron, State, impulse_response, run
from sigprop_snn.training import LocalOptimizers, evaluate

VOLTAGE_ALONE = """
import torch
from sigprop_snn.neurons import Neuron, State

class Mine(Neuron):
    def integrate(self, current, state):
        beta = torch.where(state.voltage > 0.5 * self.threshold, 0.7, 0.95)
        return State(beta * state.voltage + current)
"""
OWN_STATE = """
from typing import NamedTuple
import torch
from sigprop_snn.neurons import Neuron

class TiredState(NamedTuple):
    voltage: torch.Tensor
    tired: torch.Tensor

class Mine(Neuron[TiredState]):
    def initial_state(self, current):
        return TiredState(torch.zeros_like(current), torch.zeros_like(current))
    def integrate(self, current, state):
        return state._replace(voltage=0.9 * state.voltage + current - state.tired)
    def reset(self, state, spike):
        return super().reset(state._replace(tired=0.8 * state.tired + 0.2 * spike), spike)
"""


@pytest.mark.filterwarnings("ignore:.*has no fixed linear filter")
@pytest.mark.parametrize("rule", [VoltageRule(), SurrogateRule()], ids=["voltage", "surrogate"])
@pytest.mark.parametrize("text", [VOLTAGE_ALONE, OWN_STATE], ids=["voltage-alone", "own-state"])
def test_a_neuron_of_15_lines_in_a_users_file_learns_digits(tmp_path, text, rule):
    assert sum(bool(line.strip()) for line in text.splitlines()) <= 15
    path = tmp_path / "mine.py"
    path.write_text(text, encoding="utf-8")
    model = runpy.run_path(str(path))["Mine"]
    torch.manual_seed(0)
    data = load("digits", steps=5, batch_size=32)
    network = mlp(data.shape, 10, hidden=(100,), neuron=model, rule=rule)
    optimizers = LocalOptimizers(network, lambda weights: torch.optim.Adam(weights, lr=5e-3))
    for x, labels in data.train:
        network.learn(x, labels, optimizers.step)
    assert evaluate(network, data.test).accuracy > 0.6  # chance is 0.1


def test_a_linear_neuron_needs_one_more_line_for_the_closed_form():
    class Forgetful(Neuron):
        """Forgets everything at each step."""

        linear = True

        def integrate(self, current, state):
            return State(current)

    ran = run(Forgetful(), torch.tensor([[0.5], [2.0], [0.5]]), record=("voltage",))
    assert ran.spike.flatten().tolist() == [0, 1, 0]
    assert ran.recorded["voltage"].flatten().tolist() == [0.5, 2.0, 0.5]
    assert Forgetful().closed_form
    assert impulse_response(Forgetful(), 3).tolist() == [1.0, 0.0, 0.0]


class Learnable(Neuron):
    """A linear neuron with a parameter in its filter."""

    linear = True

    def __init__(self):
        super().__init__()
        self.leak = nn.Parameter(torch.tensor(0.8))

    def integrate(self, current, state):
        return State(self.leak * state.voltage + current)


@pytest.mark.filterwarnings("ignore:.*has no fixed linear filter")
@pytest.mark.parametrize("rule", [VoltageRule(), SurrogateRule()], ids=["voltage", "surrogate"])
def test_a_parameter_in_the_filter_gets_its_gradient(rule):
    torch.manual_seed(0)
    neuron = Learnable()
    assert not neuron.closed_form
    network = mlp((6,), 3, hidden=(5,), neuron=lambda: neuron, rule=rule)
    network.learn(torch.rand(4, 8, 6), torch.arange(8) % 3)
    assert neuron.leak.grad is not None and neuron.leak.grad.abs() > 0


def test_a_filter_whose_parameter_does_not_learn_is_fixed():
    neuron = Learnable().requires_grad_(False)
    assert neuron.closed_form
    torch.testing.assert_close(
        impulse_response(neuron, 4), 0.8 ** torch.arange(4, dtype=torch.float64)
    )


def test_a_forward_of_its_own_is_refused():
    class Habit(Neuron):
        def forward(self, current, state=None):
            return super().forward(2 * current, state)

    with pytest.raises(SigpropError, match=r"Habit has a forward of its own.*integrate"):
        mlp((6,), 3, hidden=(5,), neuron=Habit)


def test_a_neuron_that_only_says_it_is_linear_is_refused_when_it_learns():
    class Bent(Neuron):
        linear = True

        def integrate(self, current, state):
            return State(0.9 * torch.tanh(state.voltage) + current)

    network = mlp((6,), 3, hidden=(5,), neuron=Bent)
    with pytest.raises(SigpropError, match=r"Bent says that it is linear.*linear = False"):
        network.learn(torch.rand(4, 2, 6), torch.tensor([0, 1]))
