from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.neurons import LIF, LeakyIntegrator, State
from sigprop_snn.neurons.base import RESETS
from sigprop_snn.neurons.kernels import Scale, choice, cpu
from sigprop_snn.neurons.run import run
from sigprop_snn.surrogates import FastSigmoid

SIZES = [1, 3, 17, 1025]


def assert_same(ran, expected):
    # Same operations in the same order: equal to the bit, not merely close.
    assert torch.equal(ran.spike, expected.spike)
    assert torch.equal(ran.mean_voltage, expected.mean_voltage)
    assert torch.equal(ran.spike_count, expected.spike_count)
    assert torch.equal(ran.state.voltage, expected.state.voltage)
    assert ran.recorded.keys() == expected.recorded.keys()
    for name, kept in expected.recorded.items():
        assert torch.equal(ran.recorded[name], kept), name


def compare(backend, neuron, current, **options):
    expected = run(neuron, current, backend="eager", **options)
    ran = run(neuron, current, backend=backend, **options)
    for name in ("spike", "mean_voltage", "spike_count"):
        assert getattr(ran, name).dtype == getattr(expected, name).dtype, name
        assert getattr(ran, name).shape == getattr(expected, name).shape, name
    assert_same(ran, expected)
    return ran


def random_current(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * 0.8 + 0.1).to(dtype)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("reset", RESETS)
def test_cpu_equals_eager(reset, dtype, size):
    neuron = LIF(0.87, 0.73, reset=reset, scale_current=reset == "zero")
    current = 3 * random_current(13, 2, size, dtype=dtype)
    ran = compare("cpu", neuron, current, record=("spike", "voltage"))
    assert 0 < ran.spike.float().mean() < 1
    assert ran.spike.dtype == dtype
    assert ran.mean_voltage.dtype == torch.float32


@pytest.mark.parametrize("steps", [1, 2, 33])
def test_cpu_equals_eager_for_any_length(steps):
    compare("cpu", LIF(), random_current(steps, 4, 5))


def test_cpu_reads_a_constant_current_once_and_equals_eager():
    current = random_current(4, 9).expand(20, 4, 9)
    compare("cpu", LIF(), current, record=("voltage",))


def test_a_voltage_at_the_threshold_does_not_fire():
    current = torch.tensor([[[0.5, 0.5000001, 0.75, -1.0]]])
    ran = compare("cpu", LIF(threshold=0.5), current)
    assert ran.spike.tolist() == [[[0.0, 1.0, 1.0, 0.0]]]


def test_cpu_goes_on_from_a_state_and_leaves_it_as_it_was():
    neuron, current = LIF(), random_current(12, 3, 7)
    whole = run(neuron, current, backend="cpu")
    first = run(neuron, current[:5], backend="cpu")
    kept = first.state.voltage.clone()
    second = run(neuron, current[5:], first.state, backend="cpu")
    assert torch.equal(torch.cat([first.spike, second.spike]), whole.spike)
    assert torch.equal(second.state.voltage, whole.state.voltage)
    assert torch.equal(first.state.voltage, kept)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("constant", [False, True])
def test_riding_rows_equal_the_same_current_joined_at_every_step(dtype, constant):
    current, riding = random_current(9, 5, 3, 4, dtype=dtype), random_current(2, 3, 4, seed=1)
    if constant:
        current = current[0].expand_as(current)
    joined = torch.cat([current, riding.to(dtype).expand(9, 2, 3, 4)], dim=1)
    expected = run(LIF(), joined, record=("voltage",), backend="eager")
    ran = compare("cpu", LIF(), current, riding=riding, record=("voltage",))
    assert_same(ran, expected)


def some_scale(*neurons, offset=True):
    gain = 0.5 + random_current(neurons[0], *[1] * (len(neurons) - 1), seed=2).abs()
    return Scale(gain, random_current(*neurons, seed=3) if offset else None)


@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("constant", [False, True])
def test_a_scaled_current_equals_the_current_scaled_before(dtype, constant, offset):
    current, riding = random_current(9, 5, 3, 4, dtype=dtype), random_current(2, 3, 4, seed=1)
    if constant:
        current = current[0].expand_as(current)
    scale = some_scale(3, 4, offset=offset)
    ran = compare("cpu", LIF(), current, riding=riding, scale=scale, record=("voltage",))
    before = current.float() * scale.gain
    if scale.offset is not None:
        before = before + scale.offset
    expected = run(LIF(), before, riding=riding.to(dtype).float(), record=("voltage",))
    assert torch.equal(ran.spike, expected.spike.to(dtype))
    assert torch.equal(ran.recorded["voltage"], expected.recorded["voltage"])


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (3, 1, 4)])
def test_a_scale_that_does_not_fit_is_refused(shape):
    with pytest.raises(SigpropError, match="gain of scale"):
        run(LIF(), random_current(2, 5, 3, 4), scale=Scale(torch.ones(shape)))
    with pytest.raises(SigpropError, match="offset of scale"):
        run(LIF(), random_current(2, 5, 3, 4), scale=Scale(torch.ones(4), torch.ones(shape)))


def test_cpu_reads_a_current_whose_memory_is_not_in_order():
    compare("cpu", LIF(), random_current(3, 8, 6).permute(1, 0, 2))
    compare("cpu", LIF(), random_current(10, 4, 6)[::2, 1:])


def test_cpu_equals_eager_when_the_work_is_shared_among_threads(monkeypatch):
    monkeypatch.setattr(cpu, "_WORTH_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for size in (1, 65, 200, 5000):
        compare("cpu", LIF(), random_current(6, 1, size), riding=random_current(2, size))


def test_cpu_serves_several_threads_at_once():
    neuron = LIF()
    currents = [random_current(20, 8, 100, seed=seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda current: run(neuron, current, backend="cpu"), currents))
    for current, ran in zip(currents, results, strict=True):
        assert_same(ran, run(neuron, current, backend="eager"))


def _run_shared(queue):
    cpu._WORTH_A_THREAD = 1
    torch.set_num_threads(2)
    queue.put(float(run(LIF(), random_current(6, 4, 300), backend="cpu").spike_count.sum()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_cpu_works_in_a_forked_process(monkeypatch):
    monkeypatch.setattr(cpu, "_WORTH_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    expected = float(run(LIF(), random_current(6, 4, 300), backend="cpu").spike_count.sum())
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_run_shared, args=(queue,))
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


UNFIT = {
    "another model": (LeakyIntegrator(), torch.float32, {}),
    "a subclass": (SlowLeak(), torch.float32, {}),
    "a surrogate with its own spikes": (LIF(surrogate=OwnSpikes()), torch.float32, {}),
    "float64": (LIF(), torch.float64, {}),
    "float16": (LIF(), torch.float16, {}),
    "a recording it does not keep": (LIF(), torch.float32, {"record": ("reset_voltage",)}),
    "a state in float64": (
        LIF(),
        torch.float32,
        {"state": State(torch.zeros(4, 6, dtype=torch.float64))},
    ),
}


@pytest.mark.parametrize(("neuron", "dtype", "options"), UNFIT.values(), ids=UNFIT)
def test_what_has_no_kernel_runs_eagerly_by_itself(neuron, dtype, options):
    current = random_current(5, 4, 6, dtype=dtype)
    assert_same(run(neuron, current, **options), run(neuron, current, backend="eager", **options))
    with pytest.raises(SigpropError, match="'cpu' backend can't run this"):
        run(neuron, current, backend="cpu", **options)


def test_a_gradient_is_followed_by_the_eager_loop():
    current = random_current(5, 4, 6).requires_grad_()
    run(LIF(), current).mean_voltage.sum().backward()
    assert current.grad is not None
    assert current.grad.abs().sum() > 0
    with pytest.raises(SigpropError, match="gradient"):
        run(LIF(), current, backend="cpu")
    with torch.no_grad():
        compare("cpu", LIF(), current)


def test_auto_takes_the_kernel_where_it_fits(monkeypatch):
    taken = []
    kernel = cpu.lif_cpu
    monkeypatch.setattr(cpu, "lif_cpu", lambda *args: taken.append(1) or kernel(*args))
    run(LIF(), random_current(5, 4, 6))
    assert taken
    taken.clear()
    run(SlowLeak(), random_current(5, 4, 6))
    assert not taken


def test_auto_runs_eagerly_without_numba(monkeypatch):
    monkeypatch.setattr(choice.importlib.util, "find_spec", lambda name: None)
    current = random_current(5, 4, 6)
    assert_same(run(LIF(), current), run(LIF(), current, backend="eager"))
    with pytest.raises(SigpropError, match="numba is not installed"):
        run(LIF(), current, backend="cpu")


def test_a_machine_without_a_place_for_the_cache_still_compiles(monkeypatch):
    import numba

    asked = []
    cfunc = numba.cfunc

    def refusing(*args, cache=False, **options):
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return cfunc(*args, **options)

    monkeypatch.setattr(numba, "cfunc", refusing)
    compiled = cpu._compiled.__wrapped__(False)
    assert asked == [True, False]
    monkeypatch.setattr(cpu, "_compiled", lambda bfloat16: compiled)
    compare("cpu", LIF(), random_current(5, 4, 6))


def test_neither_numba_nor_triton_is_imported_before_it_is_used():
    code = (
        "import sys; from sigprop_snn.neurons import LIF; from sigprop_snn.neurons.run import run;"
        "import torch; run(LIF(), torch.zeros(2, 1, 1), backend='eager');"
        "assert 'sigprop_snn.neurons.kernels.cpu' not in sys.modules;"
        "assert 'sigprop_snn.neurons.kernels.cuda' not in sys.modules;"
        "assert 'numba' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_an_unknown_backend_and_a_riding_current_that_does_not_fit_are_refused():
    with pytest.raises(UnknownNameError, match="backend"):
        run(LIF(), random_current(2, 3, 4), backend="gpu")
    with pytest.raises(SigpropError, match=r"\[2, 5\]"):
        run(LIF(), random_current(2, 3, 4), riding=random_current(2, 5))


TRITON = """
import torch
from sigprop_snn.neurons import LIF
from sigprop_snn.neurons import Scale
from sigprop_snn.neurons.run import run

for reset in ("subtract", "zero", "none"):
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for size in (1, 3, 17, 1025):
            torch.manual_seed(size)
            current = (2 * torch.randn(5, 2, size)).to(dtype)
            neuron = LIF(0.87, 0.73, reset=reset, scale_current=reset == "zero")
            options = {"riding": torch.randn(2, size)}
            for scale in (None, Scale(torch.rand(size) + 0.5, torch.randn(size))):
                options["scale"] = scale
                options["record"] = ("voltage",)
                expected = run(neuron, current, backend="eager", **options)
                ran = run(neuron, current, backend="triton", **options)
                pairs = [
                    (getattr(ran, name), getattr(expected, name))
                    for name in ("spike", "mean_voltage", "spike_count")
                ]
                pairs.append((ran.state.voltage, expected.state.voltage))
                pairs.append((ran.recorded["voltage"], expected.recorded["voltage"]))
                for one, other in pairs:
                    assert one.dtype == other.dtype, (reset, dtype, size)
                    assert torch.equal(one, other), (reset, dtype, size)
                options["state"] = ran.state
            constant = current[0].expand_as(current)
            one = run(neuron, constant, backend="triton")
            assert torch.equal(one.spike, run(neuron, constant, backend="eager").spike)
print("same")
"""


def test_triton_equals_eager_in_tritons_interpreter():
    pytest.importorskip("triton", reason="Triton is not installed")
    # The interpreter is chosen when the kernel is defined, so it needs a process of its own.
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", TRITON], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "same"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_triton_equals_eager_on_cuda(dtype, reset):
    current = random_current(9, 4, 1025, dtype=dtype).cuda()
    riding = random_current(2, 1025, seed=1).cuda()
    compare("triton", LIF(reset=reset), current, riding=riding, record=("voltage",))
