"""QIF, EIF, AdEx and Izhikevich against their integrals, published regimes and other libraries."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
import torch

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons import EIF, QIF, AdEx, EscapeNoise, Izhikevich, run

F64 = torch.float64


@torch.no_grad()
def spike_times(neuron, duration, *currents):
    """Times of the spikes under each constant current, in the unit of the neuron's dt."""
    steps = round(duration / neuron.dt)
    ran = run(neuron, torch.tensor(currents, dtype=F64).expand(steps, 1, len(currents)))
    return [
        neuron.dt * (spike.nonzero().flatten().double().numpy() + 1) for spike in ran.spike[:, 0].T
    ]


def assert_periods(neuron, exact, *, first=1.0):
    """The last interval under each current is its exact one.

    Neurons start at rest, from where the first spike comes within `first` periods.
    """
    found = spike_times(neuron, (first + 1.2) * max(exact.values()), *exact)
    last = [np.diff(times)[-1] for times in found]
    np.testing.assert_allclose(last, list(exact.values()), rtol=5e-3)


def time_to_cross(slope, start, end):
    """The integral of dU / (dU/dt), by the midpoint rule."""
    edges = np.linspace(start, end, 200_001)
    middle = (edges[1:] + edges[:-1]) / 2
    return float((np.diff(edges) / slope(middle)).sum())


def test_the_period_of_a_qif_is_its_closed_form():
    """tau dU/dt = U^2 + I from reset to cutoff takes tau (arctan(th/s) - arctan(r/s)) / s."""
    neuron = QIF(
        tau=10.0, dt=0.02, rest=0.0, critical=0.0, threshold=10.0, reset_voltage=-10.0
    )  # fmt: skip
    roots = {current: math.sqrt(current) for current in (0.5, 1.0, 2.0)}
    assert_periods(
        neuron,
        {
            current: 10.0 * (math.atan(10.0 / s) - math.atan(-10.0 / s)) / s
            for current, s in roots.items()
        },
    )


def test_the_period_of_a_qif_with_another_rest_is_the_integral():
    def exact(current):
        return 10.0 * time_to_cross(lambda u: 1.5 * (u + 0.2) * (u - 0.4) + current, -0.5, 1.0)

    neuron = QIF(tau=10.0, dt=0.02, gain=1.5, rest=-0.2, critical=0.4, reset_voltage=-0.5)
    assert_periods(neuron, {current: exact(current) for current in (0.2, 0.6, 1.5)})


def test_the_period_of_an_eif_is_the_integral():
    def exact(current):
        return 10.0 * time_to_cross(
            lambda u: -u + 0.15 * np.exp((u - 0.6) / 0.15) + current, 0.0, 1.0
        )

    neuron = EIF(tau=10.0, dt=0.01)
    assert_periods(neuron, {current: exact(current) for current in (0.6, 1.0, 3.0)})


@pytest.mark.parametrize(("neuron", "rheobase"), [(QIF(dt=0.2), 0.0625), (EIF(dt=0.2), 0.45)])
def test_it_fires_above_its_rheobase_and_not_below(neuron, rheobase):
    """The current that lifts the lowest point of dU/dt to zero: a (critical - rest)^2 / 4 for the
    QIF, rheobase - slope - rest for the EIF. It is the same for any dt."""
    current = rheobase * torch.tensor([0.97, 1.03], dtype=F64)
    with torch.no_grad():
        below, above = run(neuron, current.expand(3000, 1, 2)).spike_count.flatten().tolist()
    assert below == 0 < above


@pytest.mark.parametrize("neuron", [QIF(dt=0.2), EIF(dt=0.2)])
def test_below_rheobase_the_voltage_settles_where_the_slope_is_zero(neuron):
    settled = run(neuron, torch.full((4000, 1), 0.05, dtype=F64)).state.voltage.item()
    still = neuron.integrate(torch.tensor([0.05], dtype=F64), neuron.initial_state(torch.zeros(1)))
    moved = neuron.integrate(
        torch.tensor([0.05], dtype=F64), still._replace(voltage=torch.tensor([settled], dtype=F64))
    )
    assert moved.voltage.item() == pytest.approx(settled, abs=1e-12)
    if isinstance(neuron, QIF):  # u (u - 1/2) + 0.05 = 0
        assert settled == pytest.approx((0.5 - math.sqrt(0.25 - 0.2)) / 2)


def test_an_eif_with_a_sharp_slope_is_a_lif():
    current = 0.4 * torch.rand(300, 8, dtype=F64)
    ran = run(EIF(tau=4.0, slope=1e-3, rheobase=5.0), 3.0 * current, record=("voltage",))
    u = np.zeros(8)
    for t, x in enumerate(3.0 * current.numpy()):
        u = u + (x - u) / 4.0
        np.testing.assert_allclose(ran.recorded["voltage"][t].numpy(), u, atol=1e-12)
        u = np.where(u > 1.0, 0.0, u)


@pytest.mark.parametrize(("ours", "theirs"), [(QIF, "QIFNode"), (EIF, "EIFNode")])
def test_each_step_is_spikingjellys(ours, theirs):
    library = pytest.importorskip(
        "spikingjelly.activation_based.neuron", reason="spikingjelly is not installed"
    )
    torch.manual_seed(0)
    if ours is QIF:
        neuron = QIF(tau=2.5, gain=0.7, rest=0.1, critical=0.6, reset_voltage=-0.1)
        node = library.QIFNode(tau=2.5, a0=0.7, v_rest=0.1, v_c=0.6, v_reset=-0.1)
    else:
        neuron = EIF(tau=2.5, slope=0.2, rheobase=0.6, rest=0.1, reset_voltage=-0.1)
        node = library.EIFNode(tau=2.5, delta_T=0.2, theta_rh=0.6, v_rest=0.1, v_reset=-0.1)
    current = torch.randn(60, 20) + 0.4
    node.v = torch.full((20,), 0.1)
    spikes = torch.stack([node(x) for x in current])
    assert torch.equal(run(neuron, current).spike, spikes) and spikes.sum() > 50


def test_an_adex_without_adaptation_is_an_eif_in_millivolts():
    """tau = C / g, and the current is divided by the leak."""
    adex = AdEx(200.0, 10.0, -70.0, -50.0, 2.0, a=0.0, b=0.0, reset_voltage=-60.0)
    eif = EIF(20.0, 0.1, 2.0, -50.0, -70.0, -40.4, -60.0)
    current = 300.0 + 200.0 * torch.rand(3000, 5, dtype=F64)
    ours, theirs = run(adex, current), run(eif, current / 10.0)
    assert torch.equal(ours.spike, theirs.spike) and ours.spike.sum() > 20
    torch.testing.assert_close(ours.mean_voltage, theirs.mean_voltage)


def test_the_period_of_an_adex_without_adaptation_is_the_integral():
    neuron = AdEx(200.0, 10.0, -70.0, -50.0, 2.0, a=0.0, b=0.0, reset_voltage=-60.0, dt=0.01)
    exact = time_to_cross(
        lambda v: (10.0 * (-70.0 - v + 2.0 * np.exp((v + 50.0) / 2.0)) + 500.0) / 200.0,
        -60.0,
        -40.4,
    )
    assert_periods(neuron, {500.0: exact}, first=2.0)


# Naud et al. 2008, "Firing patterns in the adaptive exponential integrate-and-fire model", table 1:
# capacitance, leak, rest, a, tau_w, b, reset, current; slope 2 mV and V_T -50 mV throughout. The
# last number is how many milliseconds show the pattern.
NAUD = {
    "tonic": (200, 10, -70, 2, 30, 0, -58, 500, 300),
    "adaptation": (200, 12, -70, 2, 300, 60, -58, 500, 450),
    "initial burst": (130, 18, -58, 4, 150, 120, -50, 400, 300),
    "regular bursting": (200, 10, -58, 2, 120, 100, -46, 210, 600),
    "delayed accelerating": (200, 12, -70, -10, 300, 0, -58, 300, 400),
    "delayed regular bursting": (100, 10, -65, -10, 90, 30, -47, 110, 450),
    "transient": (100, 10, -65, 10, 90, 100, -47, 180, 300),
    "irregular": (100, 12, -60, -11, 130, 30, -48, 160, 600),
}


@cache
def naud(pattern):
    c, g, rest, a, tau_w, b, reset, current, duration = NAUD[pattern]
    neuron = AdEx(
        c, g, rest, -50.0, 2.0, tau_w, a, b, reset_voltage=reset, threshold=-40.0, dt=0.1
    )  # fmt: skip
    (times,) = spike_times(neuron, duration, current)
    return times, np.diff(times)


def test_adex_tonic_intervals_are_all_alike():
    times, gaps = naud("tonic")
    assert len(times) > 25
    assert gaps[10:].std() < 0.01 * gaps[10:].mean() and gaps[0] > 0.9 * gaps[-1]


def test_adex_adaptation_stretches_the_intervals():
    _, gaps = naud("adaptation")
    assert (np.diff(gaps[:7]) > 0).all() and gaps[6] > 4 * gaps[0]
    assert gaps[-1] == pytest.approx(gaps[-2], rel=0.01)


def test_adex_initial_burst_then_tonic():
    _, gaps = naud("initial burst")
    assert gaps[0] < 10 and gaps[2:].min() > 5 * gaps[0]
    assert gaps[3:].std() < 0.02 * gaps[3:].mean()


def test_adex_regular_bursting_comes_in_pairs_of_short_and_long():
    _, gaps = naud("regular bursting")
    settled = gaps[3:]
    short, long = settled[settled < 50], settled[settled >= 50]
    assert len(short) >= 3 and len(long) >= 3 and long.min() > 10 * short.max()
    assert long.std() < 0.02 * long.mean()


def test_adex_delayed_accelerating():
    times, gaps = naud("delayed accelerating")
    assert times[0] > 1.5 * gaps[0] and (np.diff(gaps) <= 1e-9 + 0.1).all()
    assert gaps[-1] < 0.6 * gaps[0]


def test_adex_delayed_regular_bursting_in_bursts_of_four():
    times, gaps = naud("delayed regular bursting")
    assert times[0] > 40
    pauses = np.flatnonzero(gaps > 30)
    assert (np.diff(pauses) == 4).all() and len(pauses) >= 5


def test_adex_transient_fires_once():
    assert len(naud("transient")[0]) == 1


def test_adex_irregular_intervals_do_not_settle():
    _, gaps = naud("irregular")
    late = gaps[len(gaps) // 2 :]
    assert late.std() > 0.3 * late.mean() and len(np.unique(late.round(1))) > 8


def test_adex_of_brette_and_gerstner_adapts_by_default():
    gaps = np.diff(spike_times(AdEx(), 300.0, 1000.0)[0])
    assert len(gaps) > 8 and (np.diff(gaps) > 0).all() and gaps[-1] > 2 * gaps[0]


def test_golden_step_of_an_adex():
    """dt 1/2, C 2, g 1, rest -1, slope 1, V_T and cutoff at 0, a 2, tau_w 4: by hand at V = 0."""
    neuron = AdEx(2.0, 1.0, -1.0, 0.0, 1.0, 4.0, 2.0, 8.0, -1.0, 0.0, dt=0.5, current_scale=2.0)
    state = neuron.initial_state(torch.zeros(1))
    state = state._replace(voltage=torch.zeros(1), adaptation=torch.ones(1))
    step = neuron.step(torch.tensor([1.5]), state)
    # I = 3: dV = 0.25 (-1 + 1 - 1 + 3) = 0.5; dw = 0.125 (2 - 1) = 0.125; a spike adds 8.
    assert step.voltage.item() == 0.5 and step.spike.item() == 1.0
    assert step.state.voltage.item() == -1.0 and step.state.adaptation.item() == 9.125


# Izhikevich 2003, figure 2, with the current of his program.
IZHIKEVICH = {
    "regular spiking": {},
    "intrinsically bursting": {"c": -55.0, "d": 4.0},
    "chattering": {"c": -50.0, "d": 2.0},
    "fast spiking": {"a": 0.1, "d": 2.0},
    "low-threshold spiking": {"b": 0.25, "d": 2.0},
}


@cache
def izhikevich(pattern):
    return np.diff(spike_times(Izhikevich(dt=0.25, **IZHIKEVICH[pattern]), 400.0, 10.0)[0])


def test_izhikevich_regular_spiking_adapts_once_and_is_then_regular():
    gaps = izhikevich("regular spiking")
    assert gaps[1] > 1.5 * gaps[0] and gaps[1:].std() < 0.03 * gaps[1:].mean()


def test_izhikevich_intrinsic_bursting_begins_with_a_burst():
    gaps = izhikevich("intrinsically bursting")
    assert (gaps[:2] < 10).all() and gaps[2:].min() > 20


def test_izhikevich_chattering_repeats_bursts_of_close_spikes():
    gaps = izhikevich("chattering")
    pauses = np.flatnonzero(gaps > 30)
    assert len(pauses) >= 4 and np.diff(pauses).min() >= 3
    assert gaps[gaps < 30].max() < 8


def test_izhikevich_fast_spiking_is_fast_without_adaptation():
    fast, regular = izhikevich("fast spiking"), izhikevich("regular spiking")
    assert len(fast) > 4 * len(regular) and fast[-1] < 1.3 * fast[1]


def test_izhikevich_low_threshold_spiking_is_quick_and_adapts():
    gaps = izhikevich("low-threshold spiking")
    assert len(gaps) > 2 * len(izhikevich("regular spiking")) and gaps[-1] > 2 * gaps[0]


def test_izhikevich_rests_at_its_fixed_point():
    """0.04 v^2 + 5 v + 140 = b v has its lower root at -70 mV for b = 0.2."""
    ran = run(Izhikevich(), torch.zeros(2000, 1, dtype=F64))
    assert ran.state.voltage.item() == pytest.approx(-70.0, abs=1e-3)
    assert ran.state.recovery.item() == pytest.approx(-14.0, abs=1e-3)


def test_each_step_is_norses_izhikevich():
    library = pytest.importorskip(
        "norse.torch.functional.izhikevich", reason="norse is not installed"
    )
    p = library.IzhikevichParameters(a=0.02, b=0.2, c=-55, d=4, tau_inv=250)
    neuron = Izhikevich(c=-55.0, d=4.0, dt=0.25, threshold=float(p.v_th))
    current = 10.0 + 10.0 * torch.randn(1500, 4, dtype=F64)
    start = torch.full((4,), -65.0, dtype=F64)
    state, spikes = library.IzhikevichState(start, 0.2 * start), []
    for x in current:
        spike, state = library.izhikevich_feed_forward_step(x, state, p, dt=0.001)
        spikes.append(spike)
    ran = run(neuron, current)
    assert torch.equal(ran.spike, torch.stack(spikes).double()) and ran.spike.sum() > 50
    torch.testing.assert_close(ran.state.voltage, state.v, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("neuron", [AdEx(), Izhikevich()])
def test_models_in_millivolts_have_a_distance_of_one_from_rest_to_threshold(neuron):
    ends = torch.tensor([neuron.rest, neuron.threshold])
    torch.testing.assert_close(neuron.depolarisation(ends), torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(neuron.above(ends), torch.tensor([-1.0, 0.0]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("neuron", [QIF(), EIF(), AdEx(), Izhikevich()])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_a_voltage_far_above_the_cutoff_stays_finite_and_resets_exactly(neuron, dtype):
    current = torch.full((1, 2), 400.0 if neuron.unit == 1.0 else 4000.0, dtype=dtype)
    reset = neuron.c if isinstance(neuron, Izhikevich) else neuron.reset_voltage
    state = neuron.initial_state(current)
    for _ in range(20):
        step = neuron.step(current, state)
        state = step.state
        assert all(part.isfinite().all() for part in state)
        fired = state.voltage[step.spike > 0]
        assert torch.equal(fired, torch.full_like(fired, reset))
    assert not neuron.linear


@pytest.mark.parametrize("neuron", [EIF(), AdEx(dt=1.0, current_scale=2000.0)])
def test_a_voltage_above_the_cutoff_without_a_spike_stays_finite(neuron):
    torch.manual_seed(0)
    noisy = EscapeNoise(neuron, width=2.0 * neuron.unit)
    ran = run(noisy, torch.full((200, 50), 3.0), record=("voltage",))
    voltage = ran.recorded["voltage"]
    passed = (neuron.above(voltage) > 0) & (ran.spike == 0)
    assert passed.sum() > 100 and neuron.above(voltage).abs().max() < 20


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: QIF(tau=0.0), "tau of QIF is 0.0"),
        (lambda: QIF(critical=1.0), r"critical of QIF is 1\.0; .* 1\.0"),
        (lambda: QIF(rest=0.75), r"rest of QIF is 0\.75; .* 0\.5"),
        (lambda: QIF(reset_voltage=1.0), r"reset_voltage of QIF is 1\.0; .* 1\.0"),
        (lambda: EIF(slope=-1.0), "slope of EIF is -1.0"),
        (lambda: EIF(reset_voltage=2.0), "reset_voltage of EIF is 2.0"),
        (lambda: AdEx(capacitance=0.0), "capacitance of AdEx is 0.0"),
        (lambda: AdEx(rest=0.0), "rest of AdEx is 0.0"),
        (lambda: Izhikevich(dt=float("nan")), "dt of Izhikevich is nan"),
        (lambda: Izhikevich(c=40.0), r"c of Izhikevich is 40\.0; .* 30\.0"),
    ],
)
def test_invalid_settings_are_refused_by_name(make, match):
    with pytest.raises(SigpropError, match=match):
        make()
