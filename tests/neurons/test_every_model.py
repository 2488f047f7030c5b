"""The contract of every model in the catalogue; a new entry is tested at once."""

from __future__ import annotations

import copy
import io
from functools import partial

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons import (
    NEURONS,
    LeakyIntegrator,
    Neuron,
    SnnTorchStyle,
    filter_matrix,
    impulse_response,
    make_neuron,
    map_state,
    run,
    state_tensors,
    with_voltage,
)
from sigprop_snn.surrogates import SURROGATES, Sigmoid, StraightThrough

FEATURES = (4,)
# The only fixture is the model's name, which is the same for all examples.
quick = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
seeds = st.integers(0, 2**31 - 1)


def make(name: str, seed: int = 0) -> Neuron:
    torch.manual_seed(seed)
    return make_neuron(NEURONS[name], FEATURES)


def drive(seed: int, steps: int = 12, rows: int = 3, dtype=torch.float64):
    """A current that makes every model spike."""
    generator = torch.Generator().manual_seed(seed)
    shape = (steps, rows, *FEATURES)
    return (1.5 * torch.randn(shape, generator=generator, dtype=torch.float64) + 1.0).to(dtype)


def seeded_run(neuron, current, *args, **kwargs):
    torch.manual_seed(1)
    with torch.no_grad():
        return run(neuron, current, *args, **kwargs)


def random_state(neuron, current, seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(part):
        return torch.randn(part.shape, generator=generator, dtype=part.dtype)

    return map_state(draw, neuron.initial_state(current))


@pytest.fixture(params=list(NEURONS), name="name")
def _name(request):
    return request.param


LINEAR = [name for name in NEURONS if make(name).linear]
CLOSED = [name for name in NEURONS if make(name).closed_form]


def test_every_model_that_can_fire_spikes_on_the_test_current(name):
    ran = seeded_run(make(name), drive(0))
    fires = not isinstance(make(name), LeakyIntegrator)
    assert (ran.spike_count.sum() > 0) == fires
    if not make(name).graded:
        assert set(ran.spike.unique().tolist()) <= {0.0, 1.0}


@quick
@given(seed=seeds, cut=st.integers(1, 11))
def test_a_run_in_two_parts_equals_the_whole_run(name, seed, cut):
    neuron, current = make(name), drive(seed)
    whole = seeded_run(neuron, current, record=("voltage",))
    first = seeded_run(neuron, current[:cut], record=("voltage",))
    with torch.no_grad():  # continues the random numbers of the first part
        second = run(neuron, current[cut:], first.state, record=("voltage",))
    assert torch.equal(torch.cat([first.spike, second.spike]), whole.spike)
    voltages = [part.recorded["voltage"] for part in (first, second)]
    assert torch.equal(torch.cat(voltages), whole.recorded["voltage"])
    for name_, tensor in state_tensors(whole.state).items():
        assert torch.equal(tensor, state_tensors(second.state)[name_])


@quick
@given(seed=seeds, row=st.integers(0, 2))
def test_rows_of_a_batch_are_independent(name, seed, row):
    neuron, current = make(name), drive(seed)
    other = drive(seed + 1)
    other[:, row] = current[:, row]
    ours, theirs = (seeded_run(neuron, x, record=("voltage",)) for x in (current, other))
    assert torch.equal(ours.spike[:, row], theirs.spike[:, row])
    assert torch.equal(ours.recorded["voltage"][:, row], theirs.recorded["voltage"][:, row])


@quick
@given(seed=seeds, when=st.integers(1, 11))
def test_time_is_causal(name, seed, when):
    neuron, current = make(name), drive(seed)
    changed = current.clone()
    changed[when:] = drive(seed + 1)[when:]
    ours, theirs = (seeded_run(neuron, x, record=("voltage",)) for x in (current, changed))
    assert torch.equal(ours.spike[:when], theirs.spike[:when])
    assert torch.equal(ours.recorded["voltage"][:when], theirs.recorded["voltage"][:when])
    assert not torch.equal(ours.recorded["voltage"][when:], theirs.recorded["voltage"][when:])


@quick
@given(seed=seeds)
def test_one_neuron_object_serves_many_runs(name, seed):
    neuron, current = make(name), drive(seed)
    before = seeded_run(neuron, current)
    seeded_run(neuron, drive(seed + 1, rows=5))
    assert torch.equal(seeded_run(neuron, current).spike, before.spike)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("converted", [True, False])
def test_a_step_keeps_the_currents_dtype(name, dtype, converted):
    neuron = make(name).to(dtype) if converted else make(name)
    current = drive(0, dtype=dtype)
    state = neuron.initial_state(current[0])
    for step_current in current:
        assert all(part.dtype == dtype for part in state_tensors(state).values())
        step = neuron.step(step_current, state)
        state = step.state
        assert step.spike.dtype == step.voltage.dtype == dtype
        assert step.spike.shape == step.voltage.shape == step_current.shape
        assert all(part.isfinite().all() for part in state_tensors(state).values())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_a_run_gives_spikes_in_the_currents_dtype(name, dtype):
    assert seeded_run(make(name), drive(0, dtype=dtype)).spike.dtype == dtype


def test_every_tensor_moves_to_another_device(name):
    """An operation that mixes the meta device with another device fails."""
    neuron = make(name).to("meta")
    current = torch.empty(3, *FEATURES, device="meta")
    step = neuron.step(current, neuron.initial_state(current))
    assert step.spike.is_meta and all(x.is_meta for x in state_tensors(step.state).values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_a_gpu_gives_the_same_spikes(name):
    if "noise" in name or "escape" in name:
        pytest.skip("the two devices draw different noise")
    current = drive(0)
    ours = seeded_run(make(name), current)
    theirs = seeded_run(make(name).cuda(), current.cuda())
    assert torch.equal(ours.spike, theirs.spike.cpu())


def test_a_loaded_state_dict_gives_the_same_spikes(name):
    neuron, other = make(name, seed=0), make(name, seed=5)
    stored = io.BytesIO()
    torch.save(neuron.state_dict(), stored)
    stored.seek(0)
    other.load_state_dict(torch.load(stored, weights_only=True))
    spikes = seeded_run(neuron, drive(0)).spike
    assert torch.equal(seeded_run(other, drive(0)).spike, spikes)
    assert torch.equal(seeded_run(copy.deepcopy(neuron), drive(0)).spike, spikes)


def test_no_state_stays_on_the_module(name):
    neuron = make(name)
    before = {k: v.clone() for k, v in neuron.state_dict().items()}
    known = {module: set(vars(module)) for module in neuron.modules()}
    current = drive(0).requires_grad_()
    run(neuron, current)
    assert before.keys() == neuron.state_dict().keys()
    assert all(torch.equal(v, neuron.state_dict()[k]) for k, v in before.items())
    for module in neuron.modules():
        for kept in [*vars(module).values(), *module._buffers.values()]:
            held = isinstance(kept, torch.Tensor) and kept.grad_fn is not None
            assert not held, "the module holds a graph"
        fresh = set(vars(module)) - known[module]
        assert fresh <= {"reset"}  # an attribute of snnTorch, emptied
    copy.deepcopy(neuron)


@quick
@given(seed=seeds, a=st.floats(-3, 3), b=st.floats(-3, 3))
@pytest.mark.parametrize("name", LINEAR)
def test_superposition_holds_where_a_model_declares_itself_linear(name, seed, a, b):
    neuron = make(name).double()
    first, second = drive(seed)[:2]
    states = [random_state(neuron, first, seed + i) for i in range(2)]
    ours = neuron.filter(
        a * first + b * second,
        _combined(states[0], states[1], lambda x, y: a * x + b * y),
    )
    parts = [neuron.filter(c, s) for c, s in zip((first, second), states, strict=True)]
    theirs = state_tensors(_combined(parts[0], parts[1], lambda x, y: a * x + b * y))
    for key, value in state_tensors(ours).items():
        torch.testing.assert_close(value, theirs[key], rtol=1e-12, atol=1e-12)


def _combined(one, other, function):
    if isinstance(one, torch.Tensor):
        return function(one, other)
    return type(one)(*(_combined(x, y, function) for x, y in zip(one, other, strict=True)))


@pytest.mark.parametrize("name", CLOSED)
def test_given_the_spikes_the_voltage_is_the_filter_of_the_current(name):
    """Autograd through all steps with detached spikes gives the impulse response."""
    neuron, current = make(name).double(), drive(3, steps=7).requires_grad_()
    voltages, fired = _detached(neuron, current)
    expected = filter_matrix(impulse_response(neuron, 7))
    for t, voltage in enumerate(voltages):
        (grad,) = torch.autograd.grad(voltage.sum(), current, retain_graph=True)
        torch.testing.assert_close(grad, expected[t, :, None, None].expand_as(grad))
    assert fired > 0 or isinstance(neuron, LeakyIntegrator)


def test_a_model_without_a_fixed_filter_has_no_impulse_response(name):
    neuron = make(name)
    if neuron.closed_form:
        assert impulse_response(neuron, 3).shape == (3,)
    else:
        with pytest.raises(SigpropError, match="no fixed impulse response"):
            impulse_response(neuron, 3)


def test_a_gradient_reaches_the_current_and_every_parameter(name):
    neuron, current = make(name).double(), drive(2).requires_grad_()
    state, loss = neuron.initial_state(current[0]), 0.0
    for step_current in current:
        step = neuron.step(step_current, state)
        state = step.state
        loss = loss + (neuron.surrogate.f(neuron.above(step.voltage)) + step.spike).sum()
    loss.backward()
    for tensor in (current, *neuron.parameters()):
        assert tensor.grad is not None and tensor.grad.isfinite().all() and tensor.grad.any()


@quick
@given(seed=seeds)
def test_with_detached_spikes_the_gradient_is_the_finite_difference(name, seed):
    """The difference is so small that no spike changes."""
    neuron, current = make(name).double(), drive(seed, steps=6, rows=1)
    weights = torch.randn(current.shape, dtype=torch.float64)
    direction = torch.randn(current.shape, dtype=torch.float64)
    x = current.clone().requires_grad_()
    voltages, fired = _detached(neuron, x)
    (grad,) = torch.autograd.grad((weights * torch.stack(voltages)).sum(), x)
    step, ends = 1e-6, []
    for sign in (1.0, -1.0):
        ran = seeded_run(neuron, current + sign * step * direction, record=("voltage",))
        if ran.spike.sum() != fired:
            return  # a spike changed
        ends.append((weights * ran.recorded["voltage"]).sum().item())
    expected = (ends[0] - ends[1]) / (2 * step)
    assert (grad * direction).sum().item() == pytest.approx(expected, rel=1e-5, abs=1e-4)


def _detached(neuron, current):
    """The voltages of a run with detached spikes, and the number of spikes."""
    torch.manual_seed(1)
    state, voltages, fired = neuron.initial_state(current[0]), [], 0.0
    for step_current in current:
        step = neuron.step(step_current, state, detach_spikes=True)
        assert not step.spike.requires_grad
        state = step.state
        voltages.append(step.voltage)
        fired += step.spike.sum()
    return voltages, fired


def test_the_spike_follows_from_the_voltage_of_the_step(name):
    if "escape" in name or "refractory" in name or name == "leaky-integrator":
        pytest.skip("it fires at random, waits, or never fires")
    ran = seeded_run(make(name), drive(4), record=("voltage",))
    above = make(name).above(ran.recorded["voltage"])
    sent = make(name).surrogate.f(above) if make(name).graded else (above > 0).double()
    assert torch.equal(sent, ran.spike)


def test_a_new_voltage_reaches_the_innermost_state(name):
    neuron, current = make(name), drive(0)[0]
    state = with_voltage(neuron.initial_state(current), current)
    assert torch.equal(state.voltage, current)
    tensors = state_tensors(state)
    assert next(iter(tensors)) == "voltage" and tensors["voltage"] is current


@pytest.mark.parametrize("surrogate", list(SURROGATES))
def test_it_takes_any_surrogate(name, surrogate):
    chosen = SURROGATES[surrogate]()
    with_it = _with_surrogate(name, chosen)
    assert with_it.surrogate is chosen
    u = torch.linspace(-2.0, 2.0, 5)
    voltage = torch.as_tensor(with_it.threshold).mean() + with_it.unit * u
    torch.testing.assert_close(
        with_it.above(voltage[:, None].expand(5, 4))[:, 0], u, atol=1e-5, rtol=0
    )


def _with_surrogate(name, surrogate):
    return make_neuron(partial(NEURONS[name], surrogate=surrogate), FEATURES)


def test_the_spikes_gradient_is_the_surrogates(name):
    if name in ("leaky-integrator", "snntorch-leaky"):
        pytest.skip("it never fires, or its spikes are snnTorch's own")
    neuron = _with_surrogate(name, StraightThrough())
    voltage = torch.full((2, 4), 0.3).requires_grad_()
    (grad,) = torch.autograd.grad(neuron.fire(voltage).sum(), voltage)
    torch.testing.assert_close(grad, torch.full_like(grad, 1 / neuron.unit))


def test_a_call_is_one_step(name):
    neuron, current = make(name), drive(0)[0]
    torch.manual_seed(1)
    first = neuron(current)
    called = neuron(current, first.state)
    torch.manual_seed(1)
    stepped = neuron.step(current, neuron.initial_state(current))
    stepped = neuron.step(current, stepped.state)
    assert torch.equal(called.spike, stepped.spike)
    assert torch.equal(called.voltage, stepped.voltage)


def test_it_steps_in_a_plain_snntorch_loop(name):
    neuron, current = make(name), drive(0)
    torch.manual_seed(1)
    loop, mem, spikes = SnnTorchStyle(neuron), None, []
    for cur in current:
        spk, mem = loop(cur, mem)
        spikes.append(spk)
    assert torch.equal(torch.stack(spikes), seeded_run(neuron, current).spike)
    assert mem.voltage.shape == current[0].shape


def test_it_prints_itself_and_its_docstring_begins_with_a_sentence(name):
    assert NEURONS[name].__doc__.splitlines()[0].endswith(".")
    assert name == name.lower() and "_" not in name
    assert repr(make(name))


def test_every_model_takes_pictures(name):
    features = (2, 3, 3)
    neuron = make_neuron(NEURONS[name], features)
    current = torch.randn(5, 2, *features)
    assert seeded_run(neuron, current).spike.shape == current.shape


def test_only_models_that_ask_for_it_get_the_shape_of_the_layer():
    assert make_neuron(lambda: LeakyIntegrator(0.5), FEATURES).beta == 0.5
    asked = make_neuron(NEURONS["recurrent-lif"], (7,))
    assert asked.recurrence.weight.shape == (7, 7)
    assert make_neuron(NEURONS["plif"], (7,)).beta.shape == ()
    assert make_neuron(NEURONS["plif-per-neuron"], (7,)).beta.shape == (7,)


def test_the_default_surrogate_is_the_same_for_each_object(name):
    assert make(name).surrogate == make(name).surrogate
    assert make(name).surrogate != Sigmoid()
