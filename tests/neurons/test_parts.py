"""Refractory period, voltage floor and noise, alone and around each other."""

from __future__ import annotations

import itertools
import math

import pytest
import snntorch
import torch

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons import (
    ALIF,
    IF,
    LIF,
    AdEx,
    CurrentLIF,
    EscapeNoise,
    GaussianNoise,
    Izhikevich,
    LeakyIntegrator,
    OneToOne,
    ParametricLIF,
    Rate,
    Recurrent,
    Refractory,
    SnnTorch,
    VoltageFloor,
    impulse_response,
    run,
)

F64 = torch.float64
MODELS = [IF, LIF, ParametricLIF, CurrentLIF, ALIF, AdEx, Izhikevich]
# Each part with settings that change nothing.
IDLE = {
    "refractory": lambda neuron: Refractory(neuron, steps=0),
    "floor": lambda neuron: VoltageFloor(neuron, floor=-1e6),
    "noise": lambda neuron: GaussianNoise(neuron, sigma=0.0),
    "escape": lambda neuron: EscapeNoise(neuron, width=1e-12),
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("part", IDLE)
def test_a_part_that_changes_nothing_gives_the_same_run(model, part):
    current = 1.5 * torch.randn(30, 4, 3, dtype=F64) + 0.5
    neuron = IDLE[part](model())
    ours = run(neuron, current, record=("voltage",))
    theirs = run(model(), current, record=("voltage",))
    assert torch.equal(ours.spike, theirs.spike)
    torch.testing.assert_close(ours.recorded["voltage"], theirs.recorded["voltage"])


@pytest.mark.parametrize("part", IDLE)
def test_a_part_has_the_attributes_of_the_inner_neuron(part):
    inner = AdEx()
    neuron = IDLE[part](inner)
    for name in ("threshold", "surrogate", "rest", "unit", "fixed_filter"):
        assert getattr(neuron, name) == getattr(inner, name)
    assert IDLE[part](Rate(threshold=1.0)).graded
    learnable = ParametricLIF()
    around = IDLE[part](learnable)
    with torch.no_grad():
        learnable.log_threshold.fill_(math.log(3.0))
    torch.testing.assert_close(around.threshold, torch.tensor(3.0))


@pytest.mark.parametrize("order", list(itertools.permutations(["floor", "noise", "escape"])))
def test_parts_go_around_each_other_in_any_order(order):
    neuron = Recurrent(LIF(), OneToOne((3,)))
    for part in order:
        neuron = IDLE[part](neuron)
    neuron = Refractory(neuron, steps=1)
    ran = run(neuron, torch.rand(20, 2, 3))
    assert ran.spike.sum() > 0
    assert ((ran.spike[1:] + ran.spike[:-1]) <= 1).all()


@pytest.mark.parametrize("part", list(IDLE))
def test_the_refractory_period_is_the_outermost_part(part):
    with pytest.raises(SigpropError, match="Refractory"):
        IDLE[part](Refractory(LIF()))


def test_golden_trace_of_a_refractory_neuron():
    """IF, current 7/8: for two steps the voltage keeps its value after the reset."""
    ran = run(Refractory(IF(), 2), torch.full((8, 1, 1), 0.875), record=("voltage", "waiting"))
    voltages = [0.875, 1.75, 0.75, 0.75, 1.625, 0.625, 0.625, 1.5]
    assert ran.recorded["voltage"].flatten().tolist() == voltages
    assert ran.spike.flatten().tolist() == [0, 1, 0, 0, 1, 0, 0, 1]
    assert ran.recorded["waiting"].flatten().tolist() == [0, 2, 1, 0, 2, 1, 0, 2]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("steps", [1, 3])
def test_no_neuron_fires_within_its_refractory_period(model, steps):
    ran = run(Refractory(model(), steps), 40.0 * torch.ones(40, 2, 2))
    for lag in range(1, steps + 1):
        assert (ran.spike[lag:] * ran.spike[:-lag] == 0).all()
    fires = model is not AdEx
    assert (ran.spike.sum() > 0) == fires


def test_a_waiting_neuron_does_not_fire_although_its_voltage_is_above_the_threshold():
    ran = run(Refractory(IF(), 2), torch.tensor([5.0, 0.0, 0.0, 0.0]).view(4, 1, 1))
    assert ran.spike.flatten().tolist() == [1, 0, 0, 1]


def test_the_synaptic_current_continues_while_a_neuron_waits():
    current = torch.tensor([3.0, 1.0, 0.0]).view(3, 1, 1)
    ran = run(Refractory(CurrentLIF(0.5, 0.5), 2), current)
    assert ran.state.inner.synaptic.item() == 0.5 * (0.5 * 3.0 + 1.0)
    assert ran.state.voltage.item() == 2.0


def test_the_voltage_stays_above_its_floor_and_rises_from_it():
    current = torch.tensor([-5.0, -5.0, 0.75, 0.75]).view(4, 1, 1)
    ran = run(VoltageFloor(IF(), -0.5), current, record=("voltage",))
    assert ran.recorded["voltage"].flatten().tolist() == [-0.5, -0.5, 0.25, 1.0]
    assert not VoltageFloor(IF()).linear


def test_gaussian_noise_has_its_sigma_and_is_filtered_by_the_membrane():
    torch.manual_seed(0)
    noisy = GaussianNoise(LeakyIntegrator(0.8), sigma=0.3)
    ran = run(noisy, torch.zeros(200, 400, dtype=F64), record=("voltage",))
    voltage = ran.recorded["voltage"]
    # In equilibrium the variance is sigma^2 / (1 - 0.8^2) and the correlation 0.8.
    assert voltage[50:].std().item() == pytest.approx(0.3 / 0.6, rel=0.02)
    lagged = (voltage[51:] * voltage[50:-1]).mean() / voltage[50:].var()
    assert lagged.item() == pytest.approx(0.8, abs=0.01)


def test_noise_leaves_the_closed_form():
    noisy = GaussianNoise(LIF(0.7))
    recurrent = Recurrent(GaussianNoise(LIF(0.7)), OneToOne((1,)))
    for neuron in (noisy, recurrent, EscapeNoise(noisy), EscapeNoise(recurrent)):
        assert neuron.closed_form
        assert torch.equal(impulse_response(neuron, 6), impulse_response(LIF(0.7), 6))


@pytest.mark.parametrize("u", [-0.3, -0.1, 0.0, 0.1, 0.3])
def test_escape_noise_fires_with_the_logistic_probability(u):
    torch.manual_seed(0)
    neuron = EscapeNoise(LIF(), width=0.1)
    rate = neuron.fire(torch.full((200_000,), 1.0 + u)).mean().item()
    expected = 1 / (1 + math.exp(-u / 0.1))
    assert rate == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 200_000))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_escape_noise_is_finite_in_every_dtype(dtype):
    voltage = torch.zeros(100_000, dtype=dtype)
    assert EscapeNoise(LIF(), width=1.0).fire(voltage).dtype == dtype
    torch.manual_seed(0)
    rate = EscapeNoise(LIF(), width=1.0).fire(voltage).float().mean().item()
    assert rate == pytest.approx(1 / (1 + math.e), abs=0.01)


def test_noise_follows_torchs_seed():
    for part in (GaussianNoise, EscapeNoise):
        runs = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            runs.append(run(part(LIF(), 0.5), 0.3 * torch.ones(30, 4, 3)).spike)
        assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Refractory(LIF(), -1), "steps of Refractory is -1"),
        (lambda: Refractory(LIF(), 1.5), r"steps of Refractory is 1\.5"),
        (lambda: GaussianNoise(torch.nn.ReLU()), r"GaussianNoise got ReLU\(\)"),
        (lambda: VoltageFloor(LIF(), 1.0), r"floor of VoltageFloor is 1\.0; .* 1\.0"),
        (lambda: VoltageFloor(LIF(), float("nan")), "floor of VoltageFloor is nan"),
        (lambda: GaussianNoise(LIF(), -0.1), "sigma of GaussianNoise is -0.1"),
        (lambda: EscapeNoise(LIF(), 0.0), "width of EscapeNoise is 0.0"),
        (lambda: EscapeNoise(SnnTorch(snntorch.Leaky(0.9))), "EscapeNoise .* SnnTorch"),
        (
            lambda: Refractory(GaussianNoise(SnnTorch(snntorch.Leaky(0.9)))),
            "Refractory .* GaussianNoise",
        ),
    ],
)
def test_invalid_parts_are_refused_by_name(make, match):
    with pytest.raises(SigpropError, match=match):
        make()
