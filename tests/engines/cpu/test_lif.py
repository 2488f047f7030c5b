"""LIF on the CPU equals the reference engine to the bit."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from sigprop_snn.neurons import ALIF, LIF, LeakyIntegrator, Recurrent, State
from sigprop_snn.neurons.base import RESETS
from sigprop_snn.neurons.engines.cpu import lif
from sigprop_snn.neurons.engines.cpu.lif import run_lif
from sigprop_snn.neurons.engines.engine import Scale
from sigprop_snn.neurons.engines.plain import why_not_lif
from sigprop_snn.neurons.engines.reference import ReferenceEngine
from sigprop_snn.surrogates import FastSigmoid

SIZES = [1, 3, 17, 1025]
DTYPES = [torch.float32, torch.bfloat16]


def random_current(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * 0.8 + 0.1).to(dtype)


def compare(neuron, current, state=None, *, record=True, **options):
    names = ("voltage", "spike") if record else ()
    expected = ReferenceEngine().neurons(neuron, current, state, record=names, **options)
    ran = run_lif(neuron, current, state, record=names, **options)
    assert ran.spike.dtype == current.dtype and ran.mean_voltage.dtype == torch.float32
    assert torch.equal(ran.spike, expected.spike)
    assert torch.equal(ran.mean_voltage, expected.mean_voltage)
    assert torch.equal(ran.state.voltage, expected.state.voltage)
    assert ran.recorded.keys() == expected.recorded.keys()
    for name, kept in expected.recorded.items():
        assert torch.equal(ran.recorded[name], kept)
    return ran


@pytest.mark.parametrize("record", [True, False])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reset", RESETS)
def test_it_equals_the_reference(reset, dtype, size, record):
    neuron = LIF(0.87, 0.73, reset=reset, scale_current=reset == "zero")
    ran = compare(neuron, 3 * random_current(13, 2, size, dtype=dtype), record=record)
    assert 0 < ran.spike.float().mean() < 1


@pytest.mark.parametrize("steps", [*range(1, 10), 33])
def test_it_equals_the_reference_for_any_length(steps):
    compare(LIF(), random_current(steps, 4, 5))


def test_a_constant_current_is_read_once():
    compare(LIF(), random_current(4, 9).expand(20, 4, 9))


def test_a_voltage_at_the_threshold_does_not_fire():
    current = torch.tensor([[[0.5, 0.5000001, 0.75, -1.0]]])
    ran = compare(LIF(threshold=0.5), current)
    assert ran.spike.tolist() == [[[0.0, 1.0, 1.0, 0.0]]]


@pytest.mark.parametrize("reset", RESETS)
def test_numbers_that_are_not_finite_stay_so(reset):
    current = torch.tensor([float("inf"), float("nan"), -float("inf"), 0.5]).expand(2, 1, 4)
    ran = run_lif(LIF(reset=reset), current)
    expected = ReferenceEngine().neurons(LIF(reset=reset), current)
    assert torch.equal(ran.spike, expected.spike)
    torch.testing.assert_close(
        ran.state.voltage, expected.state.voltage, rtol=0, atol=0, equal_nan=True
    )


def test_it_goes_on_from_a_state_and_leaves_it_unchanged():
    neuron, current = LIF(), random_current(12, 3, 7)
    whole = run_lif(neuron, current)
    first = run_lif(neuron, current[:5])
    state = State(first.state.voltage.clone())
    second = compare(neuron, current[5:], state)
    assert torch.equal(torch.cat([first.spike, second.spike]), whole.spike)
    assert torch.equal(second.state.voltage, whole.state.voltage)
    assert torch.equal(state.voltage, first.state.voltage)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("constant", [False, True])
def test_context_rows_run_behind_the_batch(dtype, constant):
    current, contexts = random_current(9, 5, 3, 4, dtype=dtype), random_current(2, 3, 4, seed=1)
    if constant:
        current = current[0].expand_as(current)
    ran = compare(LIF(), current, contexts=contexts)
    joined = torch.cat([current, contexts.to(dtype).expand(9, 2, 3, 4)], dim=1)
    assert torch.equal(ran.spike, run_lif(LIF(), joined).spike)


@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("constant", [False, True])
def test_a_scale_applies_to_the_batch_alone(dtype, constant, offset):
    current, contexts = random_current(9, 5, 3, 4, dtype=dtype), random_current(2, 3, 4, seed=1)
    if constant:
        current = current[0].expand_as(current)
    gain = 0.5 + random_current(3, 1, seed=2).abs()
    scale = Scale(gain, random_current(3, 4, seed=3) if offset else None)
    compare(LIF(), current, contexts=contexts, scale=scale)


def test_memory_in_another_order():
    compare(LIF(), random_current(3, 8, 6).permute(1, 0, 2))
    compare(LIF(), random_current(10, 4, 6)[::2, 1:])


def test_it_equals_the_reference_on_several_threads(monkeypatch):
    monkeypatch.setattr(lif, "_MIN_CHUNK", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for size in (1, 65, 200, 5000):
        compare(LIF(), random_current(6, 1, size), contexts=random_current(2, size))


def test_several_python_threads_may_run_it_at_once():
    currents = [random_current(20, 8, 100, seed=seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda current: run_lif(LIF(), current), currents))
    for current, ran in zip(currents, results, strict=True):
        assert torch.equal(ran.spike, ReferenceEngine().neurons(LIF(), current).spike)


def _run_on_threads(queue):
    lif._MIN_CHUNK = 1
    torch.set_num_threads(2)
    queue.put(float(run_lif(LIF(), random_current(6, 4, 300)).spike.sum()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_runs_in_a_forked_process(monkeypatch):
    monkeypatch.setattr(lif, "_MIN_CHUNK", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    expected = float(run_lif(LIF(), random_current(6, 4, 300)).spike.sum())
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_run_on_threads, args=(queue,))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert queue.get() == expected


class SlowLeak(LIF):
    def integrate(self, current, state):
        return State(0.99 * state.voltage + current)


class OwnSpikes(FastSigmoid):
    def spike(self, u):
        return torch.ones_like(u)


@pytest.mark.parametrize(
    ("neuron", "named"),
    [
        (LeakyIntegrator(), "LeakyIntegrator"),
        (ALIF(), "ALIF"),
        (SlowLeak(), "SlowLeak"),
        (Recurrent(LIF(), torch.nn.Linear(3, 3)), "Recurrent"),
        (LIF(surrogate=OwnSpikes()), "OwnSpikes"),
    ],
)
def test_a_neuron_without_a_kernel_is_named(neuron, named):
    assert named in why_not_lif(neuron)
    assert why_not_lif(LIF()) is None


def test_a_beta_that_is_a_tensor_has_no_kernel():
    neuron = LIF()
    neuron.beta = torch.tensor(0.9)
    assert "beta" in why_not_lif(neuron)


def test_numba_is_not_imported_before_it_is_used():
    code = (
        "import sys, torch; from sigprop_snn.neurons import LIF;"
        "from sigprop_snn.neurons.engines.reference import ReferenceEngine;"
        "ReferenceEngine().neurons(LIF(), torch.zeros(2, 1, 1));"
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
