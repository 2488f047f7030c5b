"""Current-based, adaptive and learnable LIF against closed forms, hand arithmetic and libraries."""

from __future__ import annotations

import math

import numpy as np
import pytest
import snntorch
import torch
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons import ALIF, LIF, CurrentLIF, ParametricLIF, impulse_response, run

F64 = torch.float64


def test_the_impulse_response_of_a_current_based_neuron_is_a_difference_of_exponentials():
    alpha, beta, t = 0.6, 0.9, torch.arange(12, dtype=F64)
    expected = (alpha ** (t + 1) - beta ** (t + 1)) / (alpha - beta)
    torch.testing.assert_close(impulse_response(CurrentLIF(alpha, beta), 12), expected)


def test_a_current_based_neuron_without_memory_in_the_synapse_is_a_lif():
    current = torch.randn(20, 8, dtype=F64)
    assert torch.equal(run(CurrentLIF(0.0, 0.8), current).spike, run(LIF(0.8), current).spike)


@pytest.mark.parametrize("reset", ["zero", "none"])
def test_a_current_based_neuron_is_snntorchs_synaptic(reset):
    """Step by step from our state, since snnTorch resets one step later."""
    ours = CurrentLIF(0.625, 0.8125, 1.25, reset)
    theirs = snntorch.Synaptic(
        alpha=0.625, beta=0.8125, threshold=1.25, reset_mechanism=reset
    ).double()
    state = ours.initial_state(torch.zeros(40, dtype=F64))
    fired = 0
    for _ in range(30):
        current = torch.randn(40, dtype=F64)
        spike, syn, mem = theirs(current, state.synaptic, state.voltage)
        step = ours.step(current, state)
        torch.testing.assert_close(step.voltage, mem)
        torch.testing.assert_close(step.state.synaptic, syn)
        assert torch.equal(step.spike, spike.double())
        fired += int(spike.sum())
        state = step.state
    assert fired > 50


def test_a_current_based_neuron_is_snntorchs_synaptic_through_time_without_delay():
    current = 0.25 * torch.rand(40, 30, dtype=F64)
    ran = run(CurrentLIF(0.625, 0.8125), current, record=("reset_voltage", "synaptic"))
    theirs = snntorch.Synaptic(alpha=0.625, beta=0.8125, reset_delay=False)
    syn = mem = torch.zeros(30, dtype=F64)
    for t, step_current in enumerate(current):
        spike, syn, mem = theirs.double()(step_current, syn, mem)
        torch.testing.assert_close(ran.recorded["reset_voltage"][t], mem)
        torch.testing.assert_close(ran.recorded["synaptic"][t], syn)
        assert torch.equal(ran.spike[t], spike.double())
    assert ran.spike.sum() > 100


@pytest.mark.parametrize(
    ("reset", "membrane", "spikes"),
    [
        # beta 1/2, rho 1/2, jump 1, threshold 1, worked by hand: a = 0, 0, 1, 1/2, 5/4.
        ("subtract", [0.75, 1.375, 1.6875, 2.34375, 1.671875], [0, 1, 0, 1, 0]),
        ("zero", [0.75, 1.375, 1.5, 2.25, 1.0], [0, 1, 0, 1, 0]),
        ("none", [0.75, 1.375, 2.1875, 2.59375, 2.296875], [0, 1, 1, 1, 0]),
    ],
)
def test_golden_trace_of_an_adaptive_neuron(reset, membrane, spikes):
    neuron = ALIF(beta=0.5, rho=0.5, jump=1.0, reset=reset)
    current = torch.tensor([0.75, 1.0, 1.5, 1.5, 1.0], dtype=F64).view(-1, 1)
    state = neuron.initial_state(current[0])
    seen, fired = [], []
    for step_current in current:
        adaptation = state.adaptation
        step = neuron.step(step_current, state)
        state = step.state
        seen.append((step.voltage + adaptation).item())
        fired.append(step.spike.item())
    assert seen == membrane and fired == spikes


def test_an_adaptive_neuron_is_a_lif_with_a_moving_threshold():
    """Bellec's equations in numpy, with a moving threshold."""
    beta, rho, jump, threshold = 0.9, 0.95, 0.3, 0.8
    current = torch.rand(200, 16, dtype=F64)
    ran = run(ALIF(beta, rho, jump, threshold), current, record=("voltage",))
    u, a = np.zeros(16), np.zeros(16)
    for t, x in enumerate(current.numpy()):
        u = beta * u + x
        spike = (u > threshold + a).astype(float)
        np.testing.assert_array_equal(ran.spike[t].numpy(), spike)
        np.testing.assert_allclose(ran.recorded["voltage"][t].numpy(), u - a, atol=1e-12)
        u, a = u - threshold * spike, rho * a + jump * spike
    assert ran.spike.sum() > 100


def test_adaptation_slows_a_neuron_down_and_a_jump_of_zero_is_a_lif():
    current = torch.full((300, 1), 0.5, dtype=F64)
    assert torch.equal(run(ALIF(jump=0.0), current).spike, run(LIF(), current).spike)
    times = run(ALIF(jump=0.5, rho=0.99), current).spike.flatten().nonzero().flatten()
    gaps = times.diff()
    assert gaps[-5:].float().mean() > 2 * gaps[:3].float().mean()


def test_invalid_settings_are_refused_by_name():
    for bad in ({"rho": 1.5}, {"beta": -0.1}, {"jump": float("inf")}):
        with pytest.raises(SigpropError, match="of ALIF is"):
            ALIF(**bad)
    with pytest.raises(SigpropError, match="alpha of CurrentLIF is"):
        CurrentLIF(alpha=2.0)


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("scaled", [True, False])
def test_a_learnable_lif_starts_as_the_lif_it_was_given(reset, scaled):
    current = torch.randn(30, 8, dtype=F64)
    theirs = run(LIF(0.8, 1.2, reset, scale_current=scaled), current, record=("voltage",))
    neuron = ParametricLIF(0.8, 1.2, reset=reset, scale_current=scaled)
    ours = run(neuron, current, record=("voltage",))
    torch.testing.assert_close(
        ours.recorded["voltage"], theirs.recorded["voltage"], atol=1e-5, rtol=0
    )
    assert torch.equal(ours.spike, theirs.spike)


def test_a_value_for_each_neuron_acts_on_that_neuron_alone():
    betas, thresholds = torch.tensor([0.5, 0.7, 0.9]), torch.tensor([0.5, 1.0, 1.5])
    current = torch.randn(25, 4, 3)
    ran = run(ParametricLIF(betas, thresholds), current, record=("voltage",))
    for n, (beta, threshold) in enumerate(zip(betas.tolist(), thresholds.tolist(), strict=True)):
        alone = run(LIF(beta, threshold), current[..., n], record=("voltage",))
        kept = ran.recorded["voltage"][..., n]
        torch.testing.assert_close(kept, alone.recorded["voltage"], atol=1e-5, rtol=0)


def test_the_gradient_of_decay_and_threshold_is_the_finite_difference():
    """Below the threshold, without spikes, through the primitive."""
    current = 0.05 * torch.rand(12, 3, 2, dtype=F64)

    def loss(logit, log_threshold):
        neuron = ParametricLIF(features=(2,)).double()
        neuron.decay_logit = nn.Parameter(logit)
        neuron.log_threshold = nn.Parameter(log_threshold)
        mean = run(neuron, current).mean_voltage
        return neuron, neuron.surrogate.f(neuron.above(mean)).sum()

    start = (torch.tensor([0.3, 1.5], dtype=F64), torch.tensor([0.1, -0.2], dtype=F64))
    neuron, value = loss(*(x.clone() for x in start))
    value.backward()
    grads = (neuron.decay_logit.grad, neuron.log_threshold.grad)
    for which, n in ((0, 0), (0, 1), (1, 0), (1, 1)):
        ends = []
        for step in (1e-6, -1e-6):
            moved = [x.clone() for x in start]
            moved[which][n] += step
            ends.append(loss(*moved)[1].item())
        assert grads[which][n].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)


def test_decay_and_threshold_stay_in_range_after_large_updates():
    neuron = ParametricLIF(features=(3,))
    for direction in (1.0, -1.0):
        optimizer = torch.optim.SGD(neuron.parameters(), lr=1.0)
        for parameter in neuron.parameters():
            parameter.grad = torch.full_like(parameter, 5.0 * direction)
        optimizer.step()
        assert ((neuron.beta > 0) & (neuron.beta < 1)).all() and (neuron.threshold > 0).all()


def test_the_arguments_decide_what_learns_and_whether_the_filter_is_fixed():
    assert len(list(ParametricLIF().parameters())) == 2
    still = ParametricLIF(learn_beta=False)
    assert not still.decay_logit.requires_grad and still.log_threshold.requires_grad
    assert still.closed_form and not ParametricLIF().closed_form
    assert not ParametricLIF(torch.tensor([0.5, 0.6]), learn_beta=False).closed_form
    torch.testing.assert_close(
        impulse_response(still, 5), 0.9 ** torch.arange(5, dtype=F64), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"beta": 1.0}, "beta of ParametricLIF is 1.0"),
        ({"beta": torch.tensor([0.5, 0.0])}, r"beta of ParametricLIF is 0\.0"),
        ({"threshold": 0.0}, "threshold of ParametricLIF is"),
        ({"threshold": math.inf}, "threshold of ParametricLIF is"),
        ({"beta": torch.rand(3), "features": (4,)}, r"has shape \[3\]; expected \[4\]"),
    ],
)
def test_invalid_learnable_settings_are_refused_by_name(settings, match):
    with pytest.raises(SigpropError, match=match):
        ParametricLIF(**settings)


def test_a_learnable_lif_is_spikingjellys():
    library = pytest.importorskip(
        "spikingjelly.activation_based.neuron", reason="spikingjelly is not installed"
    )
    current = 1.5 * torch.randn(40, 16)
    for v_reset, reset in ((0.0, "zero"), (None, "subtract")):
        theirs = library.ParametricLIFNode(init_tau=4.0, v_reset=v_reset)
        ours = ParametricLIF(0.75, reset=reset, scale_current=True)
        spikes = torch.stack([theirs(x) for x in 3.0 * current])
        assert torch.equal(run(ours, 3.0 * current).spike, spikes) and spikes.sum() > 50
