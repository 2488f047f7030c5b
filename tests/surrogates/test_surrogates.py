"""Every surrogate against finite differences, for small and large inputs, in every dtype."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields

import numpy as np
import pytest
import snntorch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons import LIF, Recurrent, Refractory, run
from sigprop_snn.neurons.recurrent import OneToOne
from sigprop_snn.surrogates import (
    SURROGATES,
    Arctan,
    Erf,
    FastSigmoid,
    Gaussian,
    MultiGaussian,
    Sigmoid,
    Surrogate,
    Tanh,
)


@dataclass(frozen=True)
class Sine(Surrogate):
    """A user's surrogate: a quarter of a sine on each side of the threshold."""

    def f(self, u):
        return 0.5 + 0.5 * torch.sin(u.clamp(-1.5707963, 1.5707963))

    def df(self, u):
        return torch.where(u.abs() < 1.5707963, 0.5 * torch.cos(u), 0.0)


# The others have no shape parameter.
SHAPED = [n for n in SURROGATES if n not in ("straight-through", "relu")]
ALL = {**SURROGATES, "a user's own": Sine}
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
WIDE = torch.cat([torch.linspace(-1e4, 1e4, 4001), torch.linspace(-3, 3, 4001), torch.zeros(1)])
# No point is on a corner of the triangle or the rectangle.
SMOOTH = torch.linspace(-4.0, 4.0, 1601, dtype=torch.float64) + 1.234e-3


@pytest.fixture(params=list(ALL), name="surrogate")
def _surrogate(request):
    return ALL[request.param]()


def test_the_derivative_is_the_finite_difference_of_the_primitive(surrogate):
    step = 1e-6
    difference = (surrogate.f(SMOOTH + step) - surrogate.f(SMOOTH - step)) / (2 * step)
    torch.testing.assert_close(surrogate.df(SMOOTH), difference, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", SHAPED)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(shape=st.floats(0.05, 20.0), u=st.floats(-5.0, 5.0))
def test_the_derivative_holds_for_every_shape(name, shape, u):
    surrogate = SURROGATES[name](shape)
    where = torch.tensor([u], dtype=torch.float64)
    step = 1e-6
    corners = torch.tensor([0.0, -shape, shape, -shape / 2, shape / 2], dtype=torch.float64)
    if (where - corners).abs().min() < 2 * step:
        where = where + 5 * step
    difference = (surrogate.f(where + step) - surrogate.f(where - step)) / (2 * step)
    torch.testing.assert_close(surrogate.df(where), difference, rtol=2e-5, atol=2e-8)


def test_autograd_of_the_primitive_is_the_derivative_at_the_threshold_too(surrogate):
    u = torch.cat([SMOOTH, torch.zeros(1, dtype=torch.float64)]).requires_grad_()
    (grad,) = torch.autograd.grad(surrogate.f(u).sum(), u)
    torch.testing.assert_close(grad, surrogate.df(u.detach()), rtol=1e-9, atol=1e-12)


def test_it_rises_from_0_to_1_if_it_declares_so(surrogate):
    far = torch.tensor([-1e7, 1e7], dtype=torch.float64)
    ends = surrogate.f(far)
    slopes = surrogate.df(SMOOTH)
    if surrogate.rises:
        torch.testing.assert_close(
            ends, torch.tensor([0.0, 1.0], dtype=torch.float64), atol=1e-6, rtol=0
        )
        assert (slopes >= 0).all()
        assert (surrogate.f(SMOOTH).diff() >= 0).all()
        assert surrogate.f(torch.zeros(1)) == 0.5
    else:
        assert (slopes < 0).any() or ends[1] > 1


def test_four_surrogates_do_not_rise_from_0_to_1():
    assert {n for n, s in SURROGATES.items() if not s.rises} == {
        "leaky-relu",
        "multi-gaussian",
        "relu",
        "straight-through",
    }
    ends = MultiGaussian().f(torch.tensor([-100.0, 100.0], dtype=torch.float64))
    torch.testing.assert_close(ends, torch.tensor([0.0, 0.85], dtype=torch.float64))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtype_is_kept_and_nothing_is_nan_or_infinite(surrogate, dtype):
    u = WIDE.to(dtype).requires_grad_()
    f, df = surrogate.f(u), surrogate.df(u)
    (grad,) = torch.autograd.grad(f.sum(), u, retain_graph=True)
    spike = surrogate.spike(u)
    (through,) = torch.autograd.grad(spike.sum(), u)
    for value in (f, df, grad, spike, through):
        assert value.dtype == dtype and value.shape == u.shape
        assert value.isfinite().all()
    if surrogate.rises:
        assert ((f >= 0) & (f <= 1)).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", SHAPED)
def test_steep_and_flat_shapes_stay_finite(name, dtype):
    for shape in (0.01, 100.0):
        u = WIDE.to(dtype).requires_grad_()
        surrogate = SURROGATES[name](shape)
        f = surrogate.f(u)
        (grad,) = torch.autograd.grad(f.sum(), u)
        for value in (f, grad, surrogate.df(u)):
            assert value.dtype == dtype and value.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_close_to_double(surrogate, dtype):
    u = torch.linspace(-3, 3, 601).to(dtype)
    # After rounding, a value on a corner of the rectangle may be on either side.
    u = u[(u.abs() - 0.5).abs() > 0.02]
    for function in (surrogate.f, surrogate.df):
        expected = function(u.double())
        atol = 0.02 * (1 + float(expected.abs().max()))
        torch.testing.assert_close(function(u).double(), expected, rtol=0.02, atol=atol)


def test_the_spike_is_a_step_with_the_derivative_as_its_gradient(surrogate):
    u = torch.tensor([-1.0, -1e-6, 0.0, 1e-6, 1.0], requires_grad=True)
    spike = surrogate.spike(u)
    assert spike.tolist() == [0.0, 0.0, 0.0, 1.0, 1.0]
    weights = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    (grad,) = torch.autograd.grad((weights * spike).sum(), u)
    torch.testing.assert_close(grad, weights * surrogate.df(u.detach()))


@pytest.mark.parametrize(
    ("surrogate", "theirs"),
    [
        (FastSigmoid(25.0), snntorch.surrogate.fast_sigmoid(slope=25)),
        (Arctan(2.0), snntorch.surrogate.atan(alpha=2.0)),
        (Sigmoid(25.0), snntorch.surrogate.sigmoid(slope=25)),
    ],
    ids=["fast-sigmoid", "arctan", "sigmoid"],
)
def test_the_derivative_has_the_shape_of_snntorchs(surrogate, theirs):
    u = torch.linspace(-1, 1, 101, requires_grad=True)
    (grad,) = torch.autograd.grad(theirs(u).sum(), u)
    ours = surrogate.df(u.detach())
    ratio = (ours / ours[50]) / (grad / grad[50])
    torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=1e-4, atol=1e-4)


def test_two_ways_of_writing_one_function_agree():
    for ours, other in [
        (Tanh(1.7), Sigmoid(3.4)),
        (Erf(1.3), Gaussian(1 / (1.3 * 2**0.5))),
    ]:
        torch.testing.assert_close(ours.f(SMOOTH), other.f(SMOOTH))
        torch.testing.assert_close(ours.df(SMOOTH), other.df(SMOOTH))


def test_the_integral_of_the_derivative_is_the_last_value_of_the_primitive(surrogate):
    if not surrogate.rises and surrogate != MultiGaussian():
        pytest.skip("an unbounded primitive has no finite end")
    u = torch.linspace(-2000, 2000, 4_000_001, dtype=torch.float64)
    trapezoid = np.trapezoid if hasattr(np, "trapezoid") else np.trapz  # numpy before 2
    area = float(trapezoid(surrogate.df(u).numpy(), u.numpy()))
    assert area == pytest.approx(1.0 if surrogate.rises else 0.85, abs=1e-3)


@pytest.mark.parametrize("name", SHAPED)
def test_a_learnable_shape_gets_the_gradient_of_the_primitive(name):
    start, step = 0.7, 1e-6
    u = torch.linspace(-1, 1, 41, dtype=torch.float64) + 1e-3
    shape = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    SURROGATES[name](shape).f(u).sum().backward()
    up, down = (SURROGATES[name](start + s).f(u).sum() for s in (step, -step))
    torch.testing.assert_close(shape.grad, (up - down) / (2 * step), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", SHAPED)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_shape_for_each_neuron_broadcasts_and_keeps_the_dtype(name, dtype):
    shapes = torch.tensor([0.5, 1.0, 2.0])
    u = torch.linspace(-1, 1, 15).view(5, 3).to(dtype)
    whole = SURROGATES[name](shapes)
    for value in (whole.f(u), whole.df(u), whole.spike(u)):
        assert value.dtype == dtype and value.shape == u.shape
    for n, shape in enumerate(shapes.tolist()):
        alone = SURROGATES[name](shape).f(u[:, n].double())
        torch.testing.assert_close(whole.f(u)[:, n].double(), alone, rtol=0.02, atol=0.02)


def test_a_learnable_shape_is_one_of_the_neurons_parameters():
    neuron = LIF(surrogate=FastSigmoid(nn.Parameter(torch.tensor(4.0))))
    assert [n for n, _ in neuron.named_parameters()] == ["surrogate_slope"]
    assert "surrogate_slope" in neuron.state_dict()
    run(neuron, torch.rand(4, 2, 3))  # it runs
    twin = copy.deepcopy(neuron)
    assert twin.surrogate.slope is twin.surrogate_slope is not neuron.surrogate.slope
    neuron.double()
    assert neuron.surrogate.slope is neuron.surrogate_slope
    twin.load_state_dict({"surrogate_slope": torch.tensor(7.0)}, assign=True)
    assert twin.surrogate.slope is twin.surrogate_slope
    assert float(twin.surrogate.slope.detach()) == 7.0
    assert neuron.surrogate.slope.dtype == torch.float64
    neuron.surrogate.f(torch.ones(3)).sum().backward()
    assert neuron.surrogate_slope.grad is not None


def test_a_part_around_a_neuron_lists_the_shape_once():
    inner = LIF(surrogate=FastSigmoid(nn.Parameter(torch.tensor(4.0))))
    around = Refractory(Recurrent(inner, OneToOne((3,))))
    assert around.surrogate is inner.surrogate
    assert len([p for p in around.parameters() if p is inner.surrogate_slope]) == 1


def test_loading_a_state_changes_the_surrogate():
    saved = LIF(surrogate=Sigmoid(nn.Parameter(torch.tensor(9.0)))).state_dict()
    neuron = LIF(surrogate=Sigmoid(nn.Parameter(torch.tensor(1.0))))
    neuron.load_state_dict(saved)
    assert neuron.surrogate.slope.item() == 9.0


@pytest.mark.parametrize(
    "shape",
    [0.0, -1.0, np.nan, np.inf, "4", None, True, [1.0], np.ones(2), torch.tensor([1.0, -1.0])],
    ids=str,
)
@pytest.mark.parametrize("name", SHAPED)
def test_a_shape_that_is_no_positive_number_is_refused_by_name(name, shape):
    first = fields(SURROGATES[name])[0].name
    with pytest.raises(SigpropError, match=f"{first} of {SURROGATES[name].__name__} is"):
        SURROGATES[name](shape)


@pytest.mark.parametrize("name", SHAPED)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_shape_may_be_a_number_of_numpys(name, dtype):
    u = torch.linspace(-1, 1, 15).to(dtype).requires_grad_()
    for shape in (np.float32(0.5), np.float64(0.5)):
        ours, plain = SURROGATES[name](shape), SURROGATES[name](0.5)
        for value, expected in ((ours.f(u), plain.f(u)), (ours.df(u), plain.df(u))):
            assert value.dtype == dtype and torch.equal(value, expected)


def test_names_are_lower_case_with_dashes_and_docstrings_begin_with_a_sentence():
    for name, surrogate in SURROGATES.items():
        assert name == name.lower() and "_" not in name and " " not in name
        assert surrogate.__doc__.splitlines()[0].endswith(".")
