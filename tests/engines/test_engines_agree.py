"""Every method of every engine equals the reference engine's within rounding."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from llvmlite.binding import get_host_cpu_features
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import HalvingPool, RunningNorm, RunningScale
from sigprop_snn.neurons import ALIF, LIF, Rate
from sigprop_snn.neurons.base import RESETS
from sigprop_snn.neurons.engines import ReferenceEngine, Scale
from sigprop_snn.neurons.engines.cpu.engine import CpuEngine
from sigprop_snn.neurons.engines.engine import InputTrace, Membrane

MARGIN = 1e-4  # in units of voltage: closer to the threshold, rounding may decide on a spike


# A test below runs this file again in Triton's interpreter, which is slow: it takes fewer cases.
# benchmarks/gpu.py runs the engine on a GPU.
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


@pytest.fixture(params=["triton" if INTERPRETED else "cpu"])
def engine(request):
    if request.param == "cpu":
        return CpuEngine(worth=0, pack_from=0)  # its kernels take every size
    from sigprop_snn.neurons.engines.triton.engine import TritonEngine

    return TritonEngine()


@pytest.fixture(scope="session")
def reference():
    return ReferenceEngine()


def assert_runs_agree(ran, expected, threshold=1.0, *, voltage):
    """Compare two runs in all neurons that stay clear of the threshold.

    Args:
        ran: the run of an engine.
        expected: that of the reference engine.
        threshold: of the neurons.
        voltage: the recorded voltages of the reference, `[T, N, ...]`.
    """
    clear = ((voltage - threshold).abs() > MARGIN).all(dim=0)
    assert clear.float().mean() > 0.9 or clear.numel() < 20
    assert ran.spikes.shape == expected.spikes.shape
    assert torch.equal(ran.spike[:, clear], expected.spike[:, clear])
    assert torch.equal(ran.spike_count[clear], expected.spike_count[clear])
    close = dict(rtol=1e-4, atol=2e-5)
    torch.testing.assert_close(ran.mean_voltage[clear], expected.mean_voltage[clear], **close)
    torch.testing.assert_close(ran.state.voltage[clear], expected.state.voltage[clear], **close)
    assert ran.recorded.keys() == expected.recorded.keys()
    for name, kept in expected.recorded.items():
        torch.testing.assert_close(ran.recorded[name][:, clear], kept[:, clear], **close)


def spikes_of(*shape, rate=0.2, seed=0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator) < rate).to(dtype)


STEPS = (1, 4, 9) if INTERPRETED else tuple(range(1, 10))
DTYPES = (torch.float32, torch.bfloat16, torch.float64)


def cases(*options):
    """Return every combination of options; a diagonal through them for the slow interpreter."""
    if not INTERPRETED:
        return list(itertools.product(*options))
    length = max(len(each) for each in options)
    return [
        tuple(each[(row + row // len(each)) % len(each)] for each in options)
        for row in range(length)
    ]


RATES = {"empty": 0.0, "sparse": 0.15, "full": 1.0}
SYNAPSES = {
    "linear": (lambda: nn.Linear(45, 70), (45,)),
    "unbiased": (lambda: nn.Linear(45, 13, bias=False), (45,)),
    "flattened": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(45, 17)), (5, 3, 3)),
    "wide": (lambda: nn.Linear(33, 300), (33,)),
    "conv": (lambda: nn.Conv2d(3, 17, 3, padding=1), (3, 7, 6)),
    "conv 5x5": (lambda: nn.Conv2d(1, 40, 5, padding=2, bias=False), (1, 8, 9)),
    "conv 1x1": (lambda: nn.Conv2d(4, 1, 1), (4, 5, 5)),
    "strided": (lambda: nn.Conv2d(2, 6, 3, stride=2, padding=1), (2, 7, 7)),
    "conv1d": (lambda: nn.Conv1d(2, 6, 3), (2, 9)),
    "sequence": (lambda: nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 8)), (20,)),
}


def layer_of(name, norm="none"):
    torch.manual_seed(1)
    synapse, shape = SYNAPSES[name][0](), SYNAPSES[name][1]
    with torch.no_grad():
        channels = synapse(torch.zeros(1, *shape)).shape[1]
    made = {"none": nn.Identity(), "scale": RunningScale(channels, 1.5)}
    made["norm"] = RunningNorm(channels, 1.2, -0.1)
    with torch.no_grad():
        for value in made[norm].parameters():
            value.add_(0.2 * torch.rand_like(value))
    return synapse, made[norm], shape


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("steps", STEPS)
def test_spikes_are_the_same_numbers_in_any_form(engine, steps, rate):
    x = spikes_of(steps, 3, 2, 5, 7, rate=RATES[rate])
    spikes = engine.spikes(x)
    assert spikes.shape == x.shape
    assert torch.equal(spikes.dense(), x)
    assert torch.equal(spikes.rows(1).dense(), x[:, 1:])
    assert torch.equal(spikes.rows(1, 2).dense(), x[:, 1:2])
    assert torch.equal(spikes.flatten().dense(), x.flatten(2))
    assert torch.equal(spikes.count(), x.sum(0))
    weights = torch.rand(steps)
    torch.testing.assert_close(
        spikes.weighted_sum(weights), torch.einsum("t,t...->...", weights, x)
    )
    for pool in (
        nn.MaxPool2d(2),
        HalvingPool(),
        nn.AvgPool2d(2),
        nn.MaxPool2d(3, 1),
        nn.Identity(),
    ):
        expected = pool(x.flatten(0, 1)).unflatten(0, (steps, 3))
        torch.testing.assert_close(spikes.pooled(pool).dense(), expected)


JOINED = {
    "one size": [(2, 6, 6), (3, 6, 6), (1, 6, 6)],
    "halved": [(2, 3, 3), (3, 13, 14), (1, 6, 7)],
    "pooled to fit": [(2, 4, 3), (3, 6, 6)],
    "vectors": [(7,), (12,), (3,)],
    "mixed": [(7,), (2, 3, 3)],
    "of one axis": [(2, 9), (3, 5)],
}


@pytest.mark.parametrize(
    ("steps", "shapes", "join"), cases([1, 4, 9], list(JOINED), ["side-by-side", "sum"])
)
def test_activity_is_joined_bit_for_bit(engine, reference, steps, shapes, join):
    shapes = JOINED[shapes]
    if join == "sum":  # as many maps, or neurons
        count = max(math.prod(shape) for shape in shapes)
        maps = len({len(shape) for shape in shapes}) == 1
        shapes = [(2, *shape[1:]) for shape in shapes] if maps else [(count,)] * 2
    x = [spikes_of(steps, 3, *shape, seed=seed) for seed, shape in enumerate(shapes)]
    graded = [each * torch.rand_like(each) for each in x]
    for parts in (x, graded, [*graded[:1], *x[1:]]):
        stored = [engine.spikes(part) for part in parts]
        expected = reference.join([reference.spikes(part) for part in parts], join).dense()
        assert torch.equal(engine.join(stored, join).dense(), expected)
        later = engine.join([each.rows(1) for each in stored], join)
        assert torch.equal(later.dense(), expected[:, 1:])
        weights = torch.rand(steps)
        torch.testing.assert_close(
            later.weighted_sum(weights), torch.einsum("t,t...->...", weights, expected[:, 1:])
        )


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused_by_place(engine, bad):
    x = spikes_of(6, 3, 40)
    x[5, 1, 17] = bad
    with pytest.raises(SigpropError, match=rf"{bad} at \[5, 1, 17\]"):
        engine.spikes(x)


@pytest.mark.parametrize("values", ["spikes", "counts", "currents", "constant"])
@pytest.mark.parametrize("synapse", SYNAPSES)
def test_currents(engine, reference, synapse, values):
    module, _, shape = layer_of(synapse)
    x = {
        "spikes": lambda: spikes_of(7, 4, *shape),
        "counts": lambda: 3 * spikes_of(7, 4, *shape) + spikes_of(7, 4, *shape, seed=1, rate=0.1),
        "currents": lambda: torch.randn(7, 4, *shape),
        "constant": lambda: torch.randn(4, *shape).expand(7, 4, *shape),
    }[values]()
    with torch.no_grad():
        found = engine.currents(module, engine.spikes(x))
        expected = reference.currents(module, reference.spikes(x))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("synapse", "norm", "contexts"), cases(list(SYNAPSES), ["none", "scale", "norm"], [0, 3])
)
def test_layers_learning_and_recorded(engine, reference, synapse, norm, contexts):
    module, normaliser, shape = layer_of(synapse, norm)
    twin = layer_of(synapse, norm)[1]
    x, neuron = spikes_of(9, 5, *shape), LIF(0.9)
    with torch.no_grad():
        row = module(x[0]).shape[1:]
    given = torch.randn(contexts, *row) if contexts else None
    options = {"contexts": given, "observed_rows": 5, "record": ("voltage", "spike")}
    expected = reference.layer(module, twin, neuron, reference.spikes(x), **options)
    ran = engine.layer(module, normaliser, neuron, engine.spikes(x), **options)
    for one, other in zip(normaliser.buffers(), twin.buffers(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert_runs_agree(ran, expected, voltage=expected.recorded["voltage"])


@pytest.mark.parametrize(
    ("synapse", "steps", "rate"), cases(["linear", "conv", "flattened"], STEPS, list(RATES))
)
def test_layers_of_every_length(engine, reference, synapse, steps, rate):
    module, normaliser, shape = layer_of(synapse, "norm")
    x, neuron = spikes_of(steps, 4, *shape, rate=RATES[rate]), LIF(0.8, 0.6)
    parts = (module, normaliser, neuron)
    expected = reference.layer(*parts, reference.spikes(x), record=("voltage",))
    ran = engine.layer(*parts, engine.spikes(x))
    assert ran.recorded == {}
    expected = type(expected)(expected.spikes, expected.mean_voltage, expected.state, {}), expected
    assert_runs_agree(ran, expected[0], 0.6, voltage=expected[1].recorded["voltage"])


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("synapse", ["linear", "conv"])
def test_layers_with_every_reset(engine, reference, synapse, reset):
    module, normaliser, shape = layer_of(synapse, "scale")
    neuron = LIF(0.7, 0.5, reset=reset, scale_current=True)
    x = spikes_of(9, 4, *shape, rate=0.4)
    parts = (module, normaliser, neuron)
    expected = reference.layer(*parts, reference.spikes(x), record=("voltage",))
    ran = engine.layer(*parts, engine.spikes(x), record=("voltage",))
    assert_runs_agree(ran, expected, 0.5, voltage=expected.recorded["voltage"])


@pytest.mark.parametrize(
    "neuron", [ALIF(), Rate(), LIF(surrogate=None)], ids=lambda n: type(n).__name__
)
def test_layers_go_on_from_a_state(engine, reference, neuron):
    module, normaliser, shape = layer_of("linear", "scale")
    x = spikes_of(12, 4, *shape)
    whole = reference.layer(module, normaliser, neuron, reference.spikes(x), record=("voltage",))
    first = engine.layer(module, normaliser, neuron, engine.spikes(x[:5]))
    second = engine.layer(
        module, normaliser, neuron, engine.spikes(x[5:]), first.state, record=("voltage",)
    )
    clear = ((whole.recorded["voltage"] - 1.0).abs() > 1e-4).all(dim=0)
    torch.testing.assert_close(
        second.recorded["voltage"][:, clear], whole.recorded["voltage"][5:, clear],
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("size", "reset", "dtype"),
    [
        (size, reset, dtype)
        for turn, size in enumerate((1, 3, 17, 1025))
        for reset, dtype in cases(RESETS, (DTYPES * 2)[turn % 3 :][:3])
    ],
    ids=str,
)
def test_neurons_do_the_same_operations(engine, reference, size, reset, dtype):
    """With the same currents, spikes and voltages are equal to the bit."""
    generator = torch.Generator().manual_seed(size)
    current = (2 * torch.randn(13, 2, size, generator=generator) + 0.3).to(dtype)
    neuron = LIF(0.87, 0.73, reset=reset, scale_current=reset == "zero")
    contexts = torch.randn(3, size, generator=generator)
    scale = Scale(torch.rand(size, generator=generator) + 0.5, torch.randn(size))
    for constant in (False, True):
        steps = current[:1].expand_as(current) if constant else current
        options = {"contexts": contexts, "scale": scale, "record": ("voltage", "spike")}
        expected = reference.neurons(neuron, steps, **options)
        ran = engine.neurons(neuron, steps, **options)
        assert torch.equal(ran.spike, expected.spike)
        assert ran.spike.dtype == expected.spike.dtype
        assert torch.equal(ran.mean_voltage, expected.mean_voltage)
        assert torch.equal(ran.state.voltage, expected.state.voltage)
        for name, kept in expected.recorded.items():
            assert torch.equal(ran.recorded[name], kept)


def test_a_voltage_at_the_threshold_does_not_fire(engine):
    current = torch.tensor([[[0.5, 0.5000001, 0.75, -1.0]]])
    assert engine.neurons(LIF(threshold=0.5), current).spike.tolist() == [[[0.0, 1.0, 1.0, 0.0]]]


@pytest.mark.parametrize(
    ("synapse", "steps", "rate"),
    cases(["linear", "unbiased", "wide", "conv", "conv 5x5", "strided"], [1, 4, 6, 9], list(RATES)),
)
def test_weight_gradients(engine, reference, synapse, steps, rate):
    module, _, shape = layer_of(synapse)
    x = spikes_of(steps, 6, *shape, rate=RATES[rate])
    with torch.no_grad():
        current = reference.currents(module, reference.spikes(x))
    grad = torch.randn(steps, 9, *current.shape[2:])[:, :6]  # part of a larger tensor
    found = engine.weight_gradient(module, engine.spikes(x), grad)
    expected = reference.weight_gradient(
        module, reference.spikes(x).dense().double(), grad.double()
    )
    torch.testing.assert_close(found.double(), expected.double(), rtol=1e-4, atol=1e-3)
    trace = torch.rand(6, *shape)
    expected = reference.weight_gradient(module, trace, grad[0])
    for order in ORDERS if grad.dim() == 5 else ORDERS[:1]:
        found = engine.weight_gradient(module, trace, in_order(grad[0], order))
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 1), (6, 5, 33), (4, 2, 3, 5, 5)], ids=str)
@pytest.mark.parametrize("neuron", [LIF(0.8, 0.7), ALIF(), Rate()], ids=lambda n: type(n).__name__)
def test_surrogates(engine, reference, neuron, shape, dtype):
    torch.manual_seed(0)
    voltage = torch.randn(shape, dtype=dtype)
    grad = torch.randn(shape[1:], dtype=dtype)
    torch.testing.assert_close(
        engine.surrogate_mean(neuron, voltage), reference.surrogate_mean(neuron, voltage)
    )
    if neuron.closed_form:
        torch.testing.assert_close(
            engine.surrogate_gradient(neuron, voltage, grad),
            reference.surrogate_gradient(neuron, voltage, grad),
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(
    ("rows", "others", "width"), [(1, 2, 1), (7, 10, 33), (40, 3, 100), (5, 40, 7)]
)
def test_cosine_cross_entropy(engine, reference, rows, others, width, smoothing, dtype):
    torch.manual_seed(0)
    s, t = torch.randn(rows, width, dtype=dtype), torch.randn(others, width, dtype=dtype)
    s[0] = 0.0  # a silent row has no direction
    columns = torch.arange(rows) % others
    found = engine.cosine_cross_entropy(s, t, columns, 20.0, smoothing)
    expected = reference.cosine_cross_entropy(s, t, columns, 20.0, smoothing)
    for name in ("scores", "losses", "grad_others"):
        one, other = getattr(found, name), getattr(expected, name)
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4, msg=name)
    torch.testing.assert_close(found.grad_rows[1:], expected.grad_rows[1:], rtol=1e-4, atol=1e-4)


def in_order(values, order):
    """Return maps `[..., C, H, W]` with the same numbers, in an order of memory."""
    return values if order == "maps" else values.movedim(-3, -1).contiguous().movedim(-1, -3)


ORDERS = ("maps", "channels last")


@pytest.mark.parametrize(("grid", "order"), cases([1, 3, 5, 6], ORDERS))
def test_grid_means_of_rectified_voltages(engine, reference, grid, order):
    added = 2 if grid == 6 else 0
    voltage = in_order(torch.randn(3, 17, 7, 6), order)
    expected = reference.rectified_grid_mean(voltage, grid)
    torch.testing.assert_close(engine.rectified_grid_mean(voltage, grid), expected)
    if engine.name == "cpu":
        voltage[1, 2, 3, 4] = torch.nan  # must not pass for silence
        expected = reference.rectified_grid_mean(voltage, grid)
        found = engine.rectified_grid_mean(voltage, grid)
        torch.testing.assert_close(found, expected, equal_nan=True)
    grad = torch.randn(expected.shape)
    more = torch.randn(added, 17, 7, 6) if added else None
    given = voltage, grid, grad, more, torch.float32
    torch.testing.assert_close(
        engine.rectified_grid_gradient(*given), reference.rectified_grid_gradient(*given)
    )


@pytest.mark.parametrize(("grid", "order"), cases([1, 3, 5, 6], ORDERS))
def test_grid_means_and_their_gradient(engine, grid, order):
    maps = in_order(torch.randn(3, 4, 7, 6), order)
    wide = maps.double().requires_grad_()
    expected = torch.nn.functional.adaptive_avg_pool2d(wide, grid)
    grad = torch.randn(expected.shape)
    expected.backward(grad.double())
    found = engine.grid_mean(maps, grid)
    torch.testing.assert_close(found, expected.detach().float())
    gradient = engine.grid_mean_gradient(maps, grid, in_order(grad, order))
    torch.testing.assert_close(gradient, wide.grad.float())


@pytest.mark.parametrize("steps", [1, 4, 6])
def test_neurons_and_spikes_keep_the_order_of_maps(engine, reference, steps):
    current = 2 * torch.randn(steps, 3, 5, 7, 6)
    scale = Scale(torch.rand(5, 1, 1) + 0.5, torch.randn(5, 1, 1))
    options = {"contexts": torch.randn(2, 5, 7, 6), "scale": scale, "record": ("voltage",)}
    expected = reference.neurons(LIF(0.9), current, **options)
    ran = engine.neurons(LIF(0.9), in_order(current, "channels last"), **options)
    assert torch.equal(ran.spike, expected.spike)
    assert torch.equal(ran.recorded["voltage"], expected.recorded["voltage"])
    weights = torch.rand(steps)
    torch.testing.assert_close(
        ran.spikes.weighted_sum(weights), expected.spikes.weighted_sum(weights)
    )
    pooled = ran.spikes.pooled(nn.MaxPool2d(2))
    assert torch.equal(pooled.dense(), expected.spikes.pooled(nn.MaxPool2d(2)).dense())


@pytest.mark.parametrize(("steps", "order"), cases([3, 8, 11], ORDERS))
def test_spikes_of_a_run_are_the_same_numbers_in_any_form(engine, reference, steps, order):
    current = in_order(2 * torch.randn(steps, 3, 5, 7, 6), order)
    with torch.no_grad():
        spikes = engine.neurons(LIF(0.9), current).spikes
    x = reference.neurons(LIF(0.9), current).spike
    assert torch.equal(spikes.dense(), x)
    assert torch.equal(spikes.rows(1, 2).dense(), x[:, 1:2])
    assert torch.equal(spikes.rows(2).flatten().dense(), x[:, 2:].flatten(2))
    assert torch.equal(spikes.count(), x.sum(0))
    weights = torch.rand(steps)
    total = torch.einsum("t,t...->...", weights, x)
    torch.testing.assert_close(spikes.weighted_sum(weights), total)
    for pool in (nn.MaxPool2d(2), HalvingPool(), nn.AvgPool2d(2), nn.Identity()):
        expected = pool(x.flatten(0, 1)).unflatten(0, (steps, 3))
        torch.testing.assert_close(spikes.pooled(pool).dense(), expected)
    half = spikes.pooled(HalvingPool())
    expected = reference.join([reference.spikes(x), reference.spikes(half.dense())], "side-by-side")
    assert torch.equal(engine.join([spikes, half], "side-by-side").dense(), expected.dense())
    assert torch.equal(engine.join([half, half.rows(0)], "sum").dense(), 2 * half.dense())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("order", ORDERS)
def test_statistics_of_maps_and_their_gradient(engine, order, dtype):
    maps = in_order(3 + torch.randn(3, 70, 5, 4, dtype=dtype), order)
    maps[0, 0] = 2.0  # its deviation has no direction
    wide = maps.double().requires_grad_()
    deviation = wide.std((2, 3), correction=0)
    grad = torch.randn(deviation.shape, dtype=torch.promote_types(dtype, torch.float32))
    deviation[:, 1:].backward(grad.double()[:, 1:])
    found = engine.map_statistics(maps)
    wide_dtype = grad.dtype
    torch.testing.assert_close(found.mean, wide.detach().mean((2, 3)).to(wide_dtype))
    torch.testing.assert_close(found.deviation, deviation.detach().to(wide_dtype))
    gradient = engine.deviation_gradient(maps, found, grad)
    assert gradient.dtype == dtype
    assert gradient[0, 0].abs().max() < 1e-3
    torch.testing.assert_close(gradient[:, 1:], wide.grad.to(dtype)[:, 1:])


@pytest.mark.skipif(not INTERPRETED, reason="only Triton's engine runs maps in parts")
@pytest.mark.parametrize(
    ("steps", "rows", "part", "norm"),
    # Of more than 24 windows of four steps a normaliser observes some.
    [(1, 5, 2, "norm"), (4, 5, 2, "none"), (9, 9, 4, "norm"), (9, 9, 9, "norm"),
     (11, 3, 2, "scale")],
)  # fmt: skip
def test_maps_that_run_in_parts_equal_the_whole(
    monkeypatch, engine, reference, steps, rows, part, norm
):
    from sigprop_snn.neurons.engines.triton import layer

    module, twin, _ = layer_of("conv", norm)
    shape = (3, 4, 3)
    monkeypatch.setattr(layer, "_PART", 4 * 17 * 12 * part * steps)  # bytes
    module.to(memory_format=torch.channels_last)
    current = 2 * torch.randn(steps, rows, *shape)
    with torch.no_grad():
        before = engine.neurons(LIF(0.9), current).spikes
    x = before.dense()
    options = {"contexts": torch.randn(2, 17, *shape[1:]), "observed_rows": rows}
    expected = reference.layer(
        module, twin, LIF(0.9), reference.spikes(x), **options, record=("voltage",)
    )
    for given in (before, engine.spikes(x)):
        again = layer_of("conv", norm)[1]
        ran = engine.layer(module, again, LIF(0.9), given, **options, record=("voltage",))
        assert_runs_agree(ran, expected, voltage=expected.recorded["voltage"])
        for name, figure in twin.state_dict().items():
            torch.testing.assert_close(again.state_dict()[name], figure, msg=name)
        if norm != "norm":  # its statistics are slow, and nothing here depends on the state
            brief = engine.layer(module, layer_of("conv", norm)[1], LIF(0.9), given, **options,
                                 keeps_state=False)  # fmt: skip
            assert torch.equal(brief.spike, ran.spike)
            assert brief.state is None


def run_again(select, **environment):
    """Run this file in a process of its own, under another environment."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-n0",
            "-p",
            "no:cacheprovider",
            __file__,
            "-k",
            select,
        ],
        env={**os.environ, **environment, "SIGPROP_AGAIN": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "[100%]" in done.stdout


once = pytest.mark.skipif("SIGPROP_AGAIN" in os.environ, reason="it runs this file, which it is in")


@once
def test_triton_agrees_in_its_interpreter():
    pytest.importorskip("triton", reason="Triton is not installed")
    run_again("triton", TRITON_INTERPRET="1")


def has_avx512():
    try:
        return get_host_cpu_features().get("avx512f", False)
    except RuntimeError:  # LLVM does not know the processor
        return False


@once
@pytest.mark.skipif(not has_avx512(), reason="every test here runs without AVX-512")
def test_kernels_agree_without_avx512():
    run_again(
        "cpu and (every_length or weight_gradients) and (4 or 9)",
        NUMBA_CPU_NAME="haswell",
        NUMBA_CPU_FEATURES="+avx2,+fma,+avx,+sse4.2,+f16c,+bmi,+bmi2,+popcnt",
    )


@pytest.mark.parametrize(
    ("reset", "dtype", "norm", "contexts"),
    cases(RESETS, [torch.float32, torch.float64], ["none", "scale", "norm"], [0, 3]),
    ids=str,
)
def test_one_step_updates_the_state_in_place(engine, reference, reset, dtype, norm, contexts):
    neuron = LIF(0.8, 0.6, reset=reset, scale_current=reset == "zero")
    torch.manual_seed(0)
    parts = []
    for each in (engine, reference):
        module, normaliser, shape = layer_of("linear", norm)
        torch.manual_seed(1)
        rows = 5 + contexts
        width = module.weight.shape[0]
        voltage, mean = torch.randn(2, rows, width, dtype=dtype).unbind()
        trace, mean_trace = torch.rand(2, 5, *shape, dtype=dtype).unbind()
        given = torch.randn(contexts, width, dtype=dtype) if contexts else None
        inputs = spikes_of(5, *shape, dtype=dtype)
        spikes = each.advance(
            module.to(dtype), normaliser.to(dtype), neuron, inputs,
            Membrane(voltage, mean, 0.3), InputTrace(trace, mean_trace, 0.7, 0.2),
            contexts=given, observed_rows=4,
        )  # fmt: skip
        parts.append((spikes, voltage, mean, trace, mean_trace, *normaliser.buffers()))
    clear = (parts[1][1] - 0.6).abs() > MARGIN
    for found, expected in zip(*parts, strict=True):
        kept = clear if found.shape == clear.shape else ...
        torch.testing.assert_close(found[kept], expected[kept], rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(
    ("samples", "others", "width"), [(1, 2, 1), (7, 10, 33), (40, 3, 100), (5, 40, 7)]
)
def test_rectified_voltages_are_compared(
    engine, reference, samples, others, width, smoothing, dtype
):
    torch.manual_seed(0)
    voltage = torch.randn(samples + others, width, dtype=dtype)
    voltage[0] = -1.0  # a silent row has no direction
    columns = torch.arange(samples) % others
    found = engine.compare_rectified(voltage, samples, columns, 20.0, smoothing)
    expected = reference.compare_rectified(voltage, samples, columns, 20.0, smoothing)
    for name in ("scores", "losses", "grad"):
        one, other = getattr(found, name), getattr(expected, name)
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4, msg=name)
    outside = torch.full_like(columns, others)
    assert engine.compare_rectified(voltage, samples, outside, 20.0, 0.0).losses.isnan().all()


@pytest.mark.parametrize("left_out", [None, "one row", "a row for each channel"])
@pytest.mark.parametrize("errors", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("synapse", ["linear", "unbiased", "wide", "conv"])
def test_scaled_weight_gradients(engine, reference, synapse, errors, left_out):
    module, _, shape = layer_of(synapse)
    trace = torch.rand(37, *shape)
    with torch.no_grad():
        current = module(trace)
    grad = torch.randn_like(current) * (torch.rand_like(current) < errors)
    factors = torch.randn(current.shape[1])
    given = None
    if left_out is not None:
        weight = module.weight if left_out == "a row for each channel" else module.weight[:1]
        given = torch.randn(current.shape[1]), torch.randn_like(weight)
    for found, expected in zip(
        engine.scaled_weight_gradient(module, trace, grad, factors, left_out=given),
        reference.scaled_weight_gradient(module, trace, grad, factors, left_out=given),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
