"""LIF, IF and the leaky integrator against arithmetic by hand, closed forms and snnTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.neurons import (
    EIF,
    IF,
    LIF,
    LeakyIntegrator,
    State,
    decay,
    filter_matrix,
    impulse_response,
    mean_trace,
    run,
)
from sigprop_snn.neurons.filters import mean_trace_of, trace_weights

F64 = torch.float64
# snnTorch keeps its settings in float32; these two are exact there.
BETA, THRESHOLD = 0.875, 1.125


def through(neuron, current):
    """Spikes, voltages before the reset and voltages after it, each `[T]`, for one neuron."""
    ran = run(
        neuron,
        torch.as_tensor(current, dtype=F64).view(-1, 1),
        record=("voltage", "reset_voltage"),
    )
    kept = (ran.spike, ran.recorded["voltage"], ran.recorded["reset_voltage"])
    return [x.flatten().tolist() for x in kept]


@pytest.mark.parametrize(
    ("reset", "voltages", "after", "spikes"),
    [
        # beta 1/2, threshold 1: halve, add, compare, reset. All numbers are exact in binary.
        (
            "subtract",
            [0.75, 1.375, 0.9375, 2.46875, 1.734375],
            [0.75, 0.375, 0.9375, 1.46875, 0.734375],
            [0, 1, 0, 1, 1],
        ),
        ("zero", [0.75, 1.375, 0.75, 2.375, 1.0], [0.75, 0.0, 0.75, 0.0, 1.0], [0, 1, 0, 1, 0]),
        (
            "none",
            [0.75, 1.375, 1.4375, 2.71875, 2.359375],
            [0.75, 1.375, 1.4375, 2.71875, 2.359375],
            [0, 1, 1, 1, 1],
        ),
    ],
)
def test_golden_trace_worked_by_hand(reset, voltages, after, spikes):
    neuron = LIF(beta=0.5, threshold=1.0, reset=reset)
    assert through(neuron, [0.75, 1.0, 0.75, 2.0, 1.0]) == [spikes, voltages, after]


def test_a_voltage_equal_to_the_threshold_does_not_fire():
    assert through(IF(), [1.0, 0.0, 2.0**-40])[0] == [0, 0, 1]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(beta=st.floats(0.05, 0.99), current=st.floats(0.02, 3.0), threshold=st.floats(0.2, 3.0))
def test_the_firing_rate_under_constant_current_is_the_closed_form(beta, current, threshold):
    """From zero, U after n steps is I (1 - beta^n) / (1 - beta): it first exceeds the threshold
    after a whole number of steps, and "zero" makes every interval the same."""
    spikes, _, _ = through(LIF(beta, threshold, "zero"), [current] * 200)
    reached = 1 - threshold * (1 - beta) / current
    if reached < 1e-6:
        assert sum(spikes) == (0 if reached < -1e-6 else sum(spikes))
        return
    exact = math.log(reached) / math.log(beta)
    if abs(exact - round(exact)) < 1e-6:
        return  # the voltage equals the threshold, up to rounding
    period = math.ceil(exact)
    expected = [float(t % period == 0) for t in range(1, 201)]
    assert spikes == expected


@pytest.mark.parametrize("current", [0.125, 0.375, 0.5, 0.90625, 1.0])
def test_an_if_neuron_fires_at_the_rate_of_its_current(current):
    spikes, _, _ = through(IF(threshold=1.0), [current] * 64)
    # After t steps and N spikes the voltage is t I - N; the neuron fires above 1.
    expected = [math.ceil(current * t) - 1 for t in range(1, 65)]
    assert np.cumsum(spikes).tolist() == [max(0, n) for n in expected]


def test_below_threshold_the_response_to_a_step_is_the_closed_form():
    beta, current, t = 0.9, 0.05, np.arange(1, 41)
    _, voltage, _ = through(LIF(beta), [current] * 40)
    np.testing.assert_allclose(voltage, current * (1 - beta**t) / (1 - beta), rtol=1e-12)
    _, scaled, _ = through(LIF(beta, scale_current=True), [0.9] * 40)
    np.testing.assert_allclose(scaled, 0.9 * (1 - beta**t), rtol=1e-12)


@pytest.mark.parametrize("neuron", [LIF(0.8), LeakyIntegrator(0.8)])
def test_the_impulse_response_is_a_power_of_beta(neuron):
    torch.testing.assert_close(impulse_response(neuron, 6), 0.8 ** torch.arange(6, dtype=F64))
    assert impulse_response(IF(), 4).tolist() == [1.0] * 4
    scaled = impulse_response(LIF(0.8, scale_current=True), 6)
    torch.testing.assert_close(scaled, 0.2 * 0.8 ** torch.arange(6, dtype=F64))


def test_the_filter_matrix_makes_the_voltage_of_a_current():
    current = torch.randn(9, 4, dtype=F64)
    neuron = LeakyIntegrator(0.7)
    voltage = run(neuron, current, record=("voltage",)).recorded["voltage"]
    torch.testing.assert_close(filter_matrix(impulse_response(neuron, 9)) @ current, voltage)


@pytest.mark.parametrize("neuron", [LIF(0.7, reset="none"), LeakyIntegrator(0.9), IF(reset="none")])
@pytest.mark.parametrize("constant", [True, False])
def test_the_mean_trace_makes_the_mean_voltage_of_any_affine_synapse(neuron, constant):
    x = torch.rand(11, 5, 3, dtype=F64)
    x = x[:1].expand_as(x) if constant else x
    synapse = torch.nn.Linear(3, 4, dtype=F64)
    trace, gain = mean_trace(x, impulse_response(neuron, 11))
    mean = run(neuron, synapse(x)).mean_voltage
    torch.testing.assert_close(gain * synapse(trace), mean)


def test_the_mean_trace_of_a_neuron_is_that_of_its_response_as_it_is_now():
    x, neuron = torch.rand(6, 5, 3, dtype=F64), LIF(0.7)
    for beta in (0.7, 0.2, 0.7):
        neuron.beta = beta
        found, expected = mean_trace_of(neuron, x), mean_trace(x, impulse_response(neuron, 6))
        assert torch.equal(found.trace, expected.trace) and found.gain == expected.gain
    with pytest.raises(SigpropError, match="EIF"):
        mean_trace_of(EIF(), x)


def test_weights_of_the_trace_first_asked_for_in_inference_mode_pass_a_gradient():
    neuron, x = LIF(0.4375), torch.rand(7, 2, 3, dtype=F64, requires_grad=True)
    with torch.inference_mode(), torch.device("meta"):
        trace_weights(neuron, 7)
    mean_trace_of(neuron, x).trace.sum().backward()
    torch.testing.assert_close(x.grad.sum(0), torch.ones(2, 3, dtype=F64))


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
def test_each_step_is_snntorchs_leaky_when_it_starts_from_our_state(reset):
    """snnTorch resets at the next step; our state, after the reset, needs none."""
    torch.manual_seed(0)
    ours = LIF(BETA, THRESHOLD, reset)
    theirs = snntorch.Leaky(beta=BETA, threshold=THRESHOLD, reset_mechanism=reset).double()
    state = State(torch.zeros(64, dtype=F64))
    for _ in range(30):
        current = 0.6 * torch.rand(64, dtype=F64)
        spike, mem = theirs(current, state.voltage)
        step = ours.step(current, state)
        torch.testing.assert_close(step.voltage, mem)
        assert torch.equal(step.spike, spike.double())
        state = step.state
        assert reset == "none" or (state.voltage <= THRESHOLD).all()
    assert step.spike.sum() > 0


@pytest.mark.parametrize("reset", ["zero", "none"])
def test_snntorchs_delayed_reset_equals_ours_for_zero_and_none(reset):
    current = 1.5 * torch.randn(60, 32, dtype=F64)
    ran = run(LIF(BETA, THRESHOLD, reset), current, record=("voltage",))
    theirs = snntorch.Leaky(beta=BETA, threshold=THRESHOLD, reset_mechanism=reset).double()
    spikes, voltages = _loop(theirs, current)
    torch.testing.assert_close(ran.recorded["voltage"], voltages)
    assert torch.equal(ran.spike, spikes)


def test_snntorch_without_delay_subtracts_as_we_do_below_twice_the_threshold():
    """Above it snnTorch adds the threshold back one step later, to avoid a double reset."""
    current = 0.9 * torch.rand(60, 32, dtype=F64)
    ran = run(LIF(BETA, THRESHOLD), current, record=("reset_voltage",))
    theirs = snntorch.Leaky(beta=BETA, threshold=THRESHOLD, reset_delay=False).double()
    spikes, after = _loop(theirs, current)
    torch.testing.assert_close(ran.recorded["reset_voltage"], after)
    assert torch.equal(ran.spike, spikes) and spikes.sum() > 100


def test_snntorchs_delayed_subtraction_differs_by_the_leak():
    """We subtract before the leak (beta theta is missing at the next step), snnTorch after it
    (theta is missing)."""
    beta, threshold = 0.75, 1.0
    ours = run(LIF(beta, threshold), torch.tensor([[1.5], [0.0]]), record=("voltage",))
    _, theirs = _loop(snntorch.Leaky(beta=beta, threshold=threshold), torch.tensor([[1.5], [0.0]]))
    difference = ours.recorded["voltage"][1] - theirs[1]
    torch.testing.assert_close(difference, torch.tensor([(1 - beta) * threshold]))


def _loop(module, current):
    mem, spikes, voltages = torch.zeros_like(current[0]), [], []
    with torch.no_grad():
        for step_current in current:
            spike, mem = module(step_current, mem)
            spikes.append(spike.to(current.dtype))
            voltages.append(mem)
    return torch.stack(spikes), torch.stack(voltages)


def test_a_time_constant_gives_beta_in_any_unit():
    assert decay(tau=20.0, dt=1.0) == math.exp(-0.05) == decay(20e-3, 1e-3)
    neuron = LIF(beta=decay(tau=20.0))
    _, voltage, _ = through(neuron, [0.5, *[0.0] * 20])
    assert voltage[20] == pytest.approx(0.5 * math.exp(-1))
    for bad in ({"tau": 0.0}, {"tau": 1.0, "dt": -1.0}, {"tau": float("nan")}):
        with pytest.raises(SigpropError, match="expected a finite number > 0"):
            decay(**bad)


@pytest.mark.parametrize("model", [LIF, LeakyIntegrator])
@pytest.mark.parametrize("beta", [-0.1, 1.1, float("nan")])
def test_a_beta_outside_0_to_1_is_refused(model, beta):
    with pytest.raises(SigpropError, match=f"beta of {model.__name__} is"):
        model(beta)


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan"), float("inf")])
def test_a_threshold_that_is_not_positive_is_refused(threshold):
    with pytest.raises(SigpropError, match="threshold of LIF is"):
        LIF(threshold=threshold)


def test_an_unknown_reset_is_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'subtract'"):
        LIF(reset="substract")


def test_a_beta_of_one_with_a_scaled_current_is_refused():
    with pytest.raises(SigpropError, match=r"beta of LIF is 1\.0"):
        LIF(beta=1.0, scale_current=True)
