"""Inputs and labels of wrong types, axes and values are refused wherever a network takes them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sigprop_snn.analysis import depth_profile, separability, stream_alignment, update_angles
from sigprop_snn.errors import SigpropError
from sigprop_snn.monitors import cost, examine, voltage_histograms
from sigprop_snn.network import (
    MultiLabelContext,
    Online,
    VectorContext,
    conv,
    learn_in_parts,
    mlp,
)
from sigprop_snn.neurons import LIF, run
from sigprop_snn.training import evaluate, multi_label_accuracy, regression_error


@pytest.fixture
def network():
    torch.manual_seed(0)
    return mlp((1, 28, 28), 10, hidden=(12,))


def labelled(network):
    """Everything that takes inputs and labels."""
    return {
        "learn": network.learn,
        "stages": lambda x, y: list(network.stages(x, 0 if y is None else y)),
        "online": Online(network).learn,
        "in parts": lambda x, y: learn_in_parts(network, x, y, None, 2),
        "evaluate": lambda x, y: evaluate(network, [(x, y)]),
        "health": lambda x, y: examine(network, [(x, y)]),
        "depth": lambda x, y: depth_profile(network, [(x, y)], [(x, y)]),
        "separability": lambda x, y: separability(network, [(x, y)], [(x, y)]),
        "angles": lambda x, y: update_angles(network, x, y),
        "alignment": lambda x, y: stream_alignment(network, x, y),
    }


def unlabelled(network):
    """Everything that takes inputs alone."""
    return {
        "predict": network,
        "stages": lambda x: list(network.stages(x)),
        "record": lambda x: network.record(x, ["spike"]),
        "online": Online(network),
        "cost": lambda x: cost(network, [(x, None)]),
        "voltages": lambda x: voltage_histograms(network, [(x, None)]),
    }


PLACES = list(labelled(mlp((4,), 3)))
INPUT_PLACES = list(unlabelled(mlp((4,), 3)))
PICTURES = torch.rand(64, 1, 28, 28)
LABELS = torch.arange(64) % 10

WRONG = {
    "pictures without time": (PICTURES, LABELS, r"\[64, 1, 28, 28\].*x\.expand\(T, \*x\.shape\)"),
    "batch first": (
        PICTURES[:, None].expand(64, 5, 1, 28, 28),
        LABELS,
        r"\[64, 5, 1, 28, 28\].*x\.transpose\(0, 1\)",
    ),
    "numpy inputs": (PICTURES[None].numpy(), LABELS, r"inputs are a ndarray.*as_tensor"),
    "a list of inputs": (PICTURES[None].tolist(), LABELS, r"inputs are a list.*as_tensor"),
    "numpy labels": (PICTURES[None], LABELS.numpy(), r"labels are a ndarray.*as_tensor"),
    "a list of labels": (PICTURES[None], LABELS.tolist(), r"labels are a list.*as_tensor"),
    "no labels": (PICTURES[None], None, "labels are a (NoneType|int)"),
    "one label": (PICTURES[None], LABELS[:1], r"\[1\].*\[1, 64, 1, 28, 28\]"),
    "a column of labels": (PICTURES[None], LABELS[:, None], r"\[64, 1\]"),
    "one-hot": (PICTURES[None], torch.eye(10)[LABELS], r"\[64, 10\]"),
    "from one": (PICTURES[None], LABELS + 1, "label 10.*0 to 9"),
    "negative": (PICTURES[None], LABELS - 1, "label -1.*0 to 9"),
    "floats": (PICTURES[None], LABELS.float(), "float32.*integers"),
    "truth values": (PICTURES[None], LABELS > 3, "bool.*integers"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_batch_is_refused_everywhere(network, case, place):
    inputs, labels, words = WRONG[case]
    with pytest.raises(SigpropError, match=words):
        labelled(network)[place](inputs, labels)


@pytest.mark.parametrize("place", INPUT_PLACES)
@pytest.mark.parametrize("case", ["pictures without time", "numpy inputs", "a list of inputs"])
def test_wrong_inputs_are_refused_everywhere(network, case, place):
    inputs, _, words = WRONG[case]
    with pytest.raises(SigpropError, match=words):
        unlabelled(network)[place](inputs)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int32, torch.uint16])
def test_whole_labels_of_any_width_are_evaluated(network, kind):
    inputs = PICTURES[None].expand(4, 64, 1, 28, 28)
    network.learn(inputs, LABELS.to(kind))
    assert evaluate(network, [(inputs, LABELS.to(kind))]) == evaluate(network, [(inputs, LABELS)])


@pytest.mark.parametrize("size", [(784,), (28, 28), (1, 28, 28)])
def test_steps_of_another_form_that_fit_are_taken(network, size):
    assert network(torch.rand(5, 3, *size)).shape == (3, 10)


def test_a_single_sample_of_many_steps_is_taken():
    pictures = conv((1, 8, 8), 3, channels=(2,))
    assert pictures(torch.rand(6, 1, 1, 8, 8)).shape == (1, 3)


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ([], "batches is empty"),
        (None, "batches is a NoneType.*pairs"),
        (PICTURES, "batches is a Tensor.*pairs"),
        ([PICTURES[None]], "batches gives a Tensor.*pairs"),
        ([{"x": PICTURES}], "batches gives a dict.*pairs"),
        ([(PICTURES[None], LABELS, LABELS)], "batches gives a tuple of 3.*pairs"),
    ],
    ids=["empty", "none", "a tensor", "no labels", "dict", "three"],
)
def test_batches_that_are_no_pairs_are_refused(network, batches, words):
    with pytest.raises(SigpropError, match=words):
        evaluate(network, batches)


def test_vector_targets_are_checked_by_their_own_functions():
    values = mlp((6,), 2, hidden=(5,), signal=lambda layout: VectorContext(2, layout.currents[0]))
    x = torch.rand(4, 3, 6)
    with pytest.raises(SigpropError, match=r"\[3\].*\[3, 2\]"):
        regression_error(values, [(x, torch.rand(3))])
    with pytest.raises(SigpropError, match="ndarray"):
        regression_error(values, [(x, np.zeros((3, 2)))])
    labels = mlp(
        (6,), 2, hidden=(5,), signal=lambda layout: MultiLabelContext(2, layout.currents[0])
    )
    with pytest.raises(SigpropError, match=r"2.*0 to 1"):
        multi_label_accuracy(labels, [(x, torch.full((3, 2), 2))])


@pytest.mark.parametrize("current", [np.zeros((3, 2, 4)), [[0.0]], None, "x"])
def test_run_refuses_a_current_that_is_no_tensor(current):
    with pytest.raises(SigpropError, match=f"current.*{type(current).__name__}"):
        run(LIF(), current)


KINDS = [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float64]


@pytest.mark.parametrize("make", [lambda: mlp((1, 8, 8), 3), lambda: conv((1, 8, 8), 3)])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_inputs_of_any_real_dtype_are_those_of_the_weights(make, kind):
    torch.manual_seed(0)
    network = make().eval()
    spikes, labels = torch.rand(4, 6, 1, 8, 8) > 0.7, torch.arange(6) % 3
    x, same = spikes.to(kind), spikes.float()
    assert torch.equal(network(x), network(same))
    assert torch.equal(Online(network)(x), Online(network)(same))
    assert network.learn(x, labels).layers == network.learn(same, labels).layers
    assert evaluate(network, [(x, labels)]) == evaluate(network, [(same, labels)])
    recorded = (network.record(each, "spike")["block1"]["spike"] for each in (x, same))
    assert torch.equal(*recorded)
    assert cost(network, [(x, labels)]) == cost(network, [(same, labels)])


def test_a_network_of_another_dtype_takes_float32():
    network = mlp((6,), 3, hidden=(5,)).double().eval()
    assert network(torch.rand(4, 2, 6)).dtype == torch.float64


def test_a_current_of_whole_numbers_is_run_as_floats():
    current = torch.randint(0, 3, (5, 2, 3))
    assert torch.equal(run(LIF(), current).spike, run(LIF(), current.float()).spike)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (torch.zeros(4, 2, 6).to_sparse(), "torch.sparse_coo.*dense"),
        (torch.zeros(4, 2, 6, dtype=torch.complex64), "torch.complex64.*real"),
    ],
    ids=["sparse", "complex"],
)
def test_inputs_that_are_no_dense_real_numbers_are_refused(inputs, words):
    network, labels = mlp((6,), 3, hidden=(5,)), torch.arange(2)
    for use in (
        lambda: network(inputs),
        lambda: network.learn(inputs, labels),
        lambda: evaluate(network, [(inputs, labels)]),
        lambda: run(LIF(), inputs),
    ):
        with pytest.raises(SigpropError, match=words):
            use()


def test_float64_is_taken_under_autocast():
    network = mlp((7,), 3, hidden=(5,))
    x = torch.rand(6, 4, 7, dtype=torch.float64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert network(x).shape == (4, 3)
        network.learn(x, torch.tensor([0, 1, 2, 0]))
