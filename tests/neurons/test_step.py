"""One time step: a neuron called like a module, and errors that name the model."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons import (
    ALIF,
    LIF,
    GaussianNoise,
    LeakyIntegrator,
    Neuron,
    OneToOne,
    Recurrent,
    Refractory,
    State,
    Step,
    run,
    state_tensors,
)


def test_a_call_without_a_state_is_one_step_from_rest():
    current = torch.tensor([[0.5, 1.5]])
    step = LIF(0.5)(current)
    assert isinstance(step, Step)
    assert step.spike.tolist() == [[0.0, 1.0]] and step.voltage.tolist() == [[0.5, 1.5]]
    assert step.state.voltage.tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize("model", [LIF, ALIF, lambda: Refractory(ALIF()), LeakyIntegrator])
def test_calls_in_a_loop_are_a_run(model):
    neuron, state = model(), None
    generator = torch.Generator().manual_seed(0)
    current = 2.0 * torch.rand(9, 3, 4, generator=generator, dtype=torch.float64)
    spikes = []
    for step_current in current:
        spike, _, state = neuron(step_current, state)
        spikes.append(spike)
    ran = run(neuron, current)
    assert torch.equal(torch.stack(spikes), ran.spike)
    assert torch.equal(state.voltage, ran.state.voltage)


def test_a_neuron_stands_in_a_sequential_and_takes_hooks():
    seen = []
    lif = LIF()
    lif.register_forward_hook(lambda _, __, out: seen.append(out.spike))
    out = torch.nn.Sequential(torch.nn.Linear(3, 2), lif)(torch.rand(4, 3))
    assert out.spike.shape == (4, 2) and seen[0] is out.spike


@pytest.mark.parametrize("neuron", [LIF(), GaussianNoise(LIF())])
def test_a_bare_tensor_is_no_state(neuron):
    x = torch.ones(2, 3)
    with pytest.raises(SigpropError, match=f"state of {type(neuron).__name__} is a Tensor"):
        neuron(x, torch.zeros(2, 3))


@pytest.mark.parametrize("current", [np.ones((2, 3)), [1.0], 1.0])
def test_a_current_that_is_no_tensor_is_refused(current):
    with pytest.raises(SigpropError, match=f"current of LIF is a {type(current).__name__}"):
        LIF()(current)


class Volts(NamedTuple):
    """A state without `voltage`."""

    volts: Tensor


class Counted(NamedTuple):
    """A state with a number in it."""

    voltage: Tensor
    count: int


def model_that(returns):
    class Mine(Neuron):
        """A model with a mistake in `integrate`."""

        def integrate(self, current, state):
            return returns(current)

    return Mine()


@pytest.mark.parametrize(
    ("returns", "match"),
    [
        (lambda x: x, "integrate of Mine returned a Tensor"),
        (lambda x: None, "integrate of Mine returned a NoneType"),
        (lambda x: Volts(x), "integrate of Mine returned a Volts"),
        (lambda x: State(x[..., :2]), r"integrate of Mine .* \[2, 2\]; .* \[2, 3\]"),
        (lambda x: State(1.0), "integrate of Mine returned a State"),
    ],
)
def test_an_integrate_that_returns_no_state_is_named(returns, match):
    neuron = model_that(returns)
    for around in (neuron, Refractory(neuron), GaussianNoise(Recurrent(neuron, OneToOne((3,))))):
        with pytest.raises(SigpropError, match=match):
            around(torch.ones(2, 3))
        with pytest.raises(SigpropError, match=match):
            run(around, torch.ones(4, 2, 3))


def test_a_state_with_anything_but_tensors_names_the_field():
    with pytest.raises(SigpropError, match="count of Counted is 3"):
        state_tensors(Counted(torch.zeros(2), 3))
    with pytest.raises(SigpropError, match="state is a Tensor"):
        state_tensors(torch.zeros(2))
