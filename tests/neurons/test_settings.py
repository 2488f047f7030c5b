"""The numbers that a model is made with: each is checked, and each error names its place."""

from __future__ import annotations

import inspect
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import nn

from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.neurons import (
    ALIF,
    EIF,
    IF,
    LIF,
    QIF,
    AdEx,
    CurrentLIF,
    EscapeNoise,
    GaussianNoise,
    Izhikevich,
    LeakyIntegrator,
    ParametricLIF,
    Rate,
    Refractory,
    VoltageFloor,
    decay,
)
from sigprop_snn.surrogates import FastSigmoid

MODELS = [
    ALIF, EIF, IF, LIF, QIF, AdEx, CurrentLIF, Izhikevich, LeakyIntegrator, ParametricLIF, Rate,
]  # fmt: skip
PARTS = [EscapeNoise, GaussianNoise, Refractory, VoltageFloor]


def numbers_of(function):
    """The names of the arguments whose default is a number."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if type(p.default) in (int, float)]


SETTINGS = [(model, name) for model in MODELS for name in numbers_of(model)]
SETTINGS += [(part, name) for part in PARTS for name in numbers_of(part)]
LAYER_SETTINGS = [(model, name) for model, name in SETTINGS if model is not ParametricLIF]


def ids(value):
    return getattr(value, "__name__", str(value))


def make(model, **settings):
    return model(LIF(), **settings) if model in PARTS else model(**settings)


@pytest.mark.parametrize("value", ["0.9", None, [0.5, "x"]], ids=str)
@pytest.mark.parametrize(("model", "name"), SETTINGS, ids=ids)
def test_what_is_no_number_is_refused_by_name(model, name, value):
    with pytest.raises(SigpropError, match=f"{name} of {model.__name__} is"):
        make(model, **{name: value})


@pytest.mark.parametrize(("model", "name"), LAYER_SETTINGS, ids=ids)
def test_a_nan_an_array_and_a_learnable_tensor_are_refused_by_name(model, name):
    for value in (
        float("nan"),
        True if model is not Refractory else -1,
        torch.linspace(0.1, 0.9, 12),
        np.ones(12),
        nn.Parameter(torch.tensor(0.5)),
        0.5 + 0j,
    ):
        with pytest.raises(SigpropError, match=f"{name} of {model.__name__} is"):
            make(model, **{name: value})


@pytest.mark.parametrize("name", ["beta", "threshold"])
@pytest.mark.parametrize("value", [torch.full((12,), 0.5), np.full(12, 0.5), [0.5] * 12], ids=type)
def test_one_value_for_each_neuron_points_to_the_model_that_takes_it(name, value):
    with pytest.raises(SigpropError, match=rf"{name} of LIF is .*ParametricLIF"):
        LIF(**{name: value})
    assert getattr(ParametricLIF(**{name: value}), name).shape == (12,)


@pytest.mark.parametrize(
    "number",
    [
        1,
        np.float32(0.5),
        np.float64(0.5),
        np.int64(1),
        np.array(0.5),
        torch.tensor(0.5),
        torch.tensor(1),
        Fraction(1, 2),
    ],
    ids=repr,
)
def test_any_real_number_is_taken_as_a_float(number):
    neuron = LIF(beta=number, threshold=number)
    for setting in (neuron.beta, neuron.threshold):
        assert type(setting) is float and setting == float(number)


@pytest.mark.parametrize("steps", [np.int64(2), torch.tensor(2), 2], ids=repr)
def test_any_whole_number_is_taken_as_a_count(steps):
    assert type(Refractory(LIF(), steps).steps) is int


@pytest.mark.parametrize("value", ["20", 0.0, -1.0, float("inf"), torch.ones(2)], ids=str)
def test_a_time_constant_is_checked_by_name(value):
    with pytest.raises(SigpropError, match="tau of decay is"):
        decay(tau=value)
    with pytest.raises(SigpropError, match="dt of decay is"):
        decay(tau=1.0, dt=value)


@pytest.mark.parametrize(
    "surrogate", ["fast-sigmoid", FastSigmoid, torch.sigmoid], ids=["name", "class", "function"]
)
def test_a_surrogate_is_an_object(surrogate):
    with pytest.raises(SigpropError, match="surrogate of LIF is"):
        LIF(surrogate=surrogate)


@pytest.mark.parametrize("reset", [None, "substract", 1, ["zero"]], ids=str)
def test_a_reset_is_one_of_three_names(reset):
    with pytest.raises(UnknownNameError, match="subtract"):
        LIF(reset=reset)


def test_the_reset_mode_is_the_argument_and_keeps_its_old_name():
    for mode in ("subtract", "zero", "none"):
        assert LIF(reset=mode).reset_mode == mode
        assert GaussianNoise(LIF(reset=mode)).reset_mode == mode


def test_a_rate_neuron_with_a_beta_of_one_would_never_move():
    with pytest.raises(SigpropError, match=r"beta of Rate is 1\.0"):
        Rate(beta=1.0)
