"""The runner: what it records, what it keeps, what it refuses."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch

from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.neurons import ALIF, LIF, CurrentLIF, LeakyIntegrator, State, run


class Watched(LIF):
    """A LIF that remembers, weakly, every voltage it made."""

    def __init__(self):
        super().__init__(0.9)
        self.made = []

    def integrate(self, current, state):
        moved = super().integrate(current, state)
        self.made.append(weakref.ref(moved.voltage))
        return moved

    def alive(self):
        gc.collect()
        return sum(made() is not None for made in self.made)


@pytest.mark.parametrize("steps", [10, 200])
def test_no_voltage_outlives_its_step_when_nothing_is_recorded(steps):
    neuron = Watched()
    with torch.no_grad():
        ran = run(neuron, torch.rand(steps, 2, 3))
    assert len(neuron.made) == steps
    assert neuron.alive() <= 1  # the last one may be the state itself
    assert ran.recorded == {}


def test_recorded_voltages_are_all_there_and_detached():
    neuron = Watched()
    current = torch.rand(10, 2, 3, requires_grad=True)
    ran = run(neuron, current, record=("voltage", "spike", "reset_voltage"))
    assert set(ran.recorded) == {"voltage", "spike", "reset_voltage"}
    for kept in ran.recorded.values():
        assert kept.shape == (10, 2, 3) and not kept.requires_grad
    assert torch.equal(ran.recorded["spike"], ran.spike)
    torch.testing.assert_close(ran.recorded["voltage"].mean(0), ran.mean_voltage.detach())
    torch.testing.assert_close(ran.spike.sum(0), ran.spike_count)
    lost = ran.recorded["voltage"] - ran.recorded["reset_voltage"]
    torch.testing.assert_close(lost, ran.recorded["spike"])


@pytest.mark.parametrize(("neuron", "field"), [(CurrentLIF(), "synaptic"), (ALIF(), "adaptation")])
def test_any_field_of_a_models_state_can_be_recorded(neuron, field):
    current = torch.rand(6, 2, 3)
    ran = run(neuron, current, record=(field,))
    assert torch.equal(ran.recorded[field][-1], getattr(ran.state, field))


def test_a_run_starts_at_rest_or_where_it_is_told():
    current = torch.full((1, 1, 1), 0.5)
    assert run(LeakyIntegrator(0.5), current).state.voltage == 0.5
    started = run(LeakyIntegrator(0.5), current, State(torch.ones(1, 1)))
    assert started.state.voltage == 1.0


@pytest.mark.parametrize("shape", [(), (5,), (0, 3)])
def test_a_current_without_time_and_batch_is_refused(shape):
    with pytest.raises(SigpropError, match=r"expected \[T, B, ...\]"):
        run(LIF(), torch.zeros(shape))


def test_an_unknown_recording_is_refused_by_name():
    with pytest.raises(UnknownNameError, match="Did you mean 'voltage'"):
        run(LIF(), torch.zeros(2, 1), record=("voltag",))


def test_a_gradient_flows_through_a_run_when_asked_for():
    current = torch.rand(5, 2, 3, requires_grad=True)
    run(LIF(), current).mean_voltage.sum().backward()
    assert current.grad.abs().sum() > 0
