"""Bad input to a network: a clear error, and the network is as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.network import (
    Block,
    Network,
    ProjectedContext,
    Readout,
    RunningScale,
    SurrogateRule,
    VoltageRule,
    conv,
    mlp,
)
from sigprop_snn.neurons import LIF

BOTH = [pytest.param(VoltageRule(), id="voltage"), pytest.param(SurrogateRule(), id="surrogate")]


def put(x: Tensor, place: tuple[int, ...], value: float) -> Tensor:
    spoiled = x.clone()
    spoiled[place] = value
    return spoiled


def refused(network: Network, x: Tensor, labels: Tensor, *words: str) -> None:
    """`learn` must raise, name the words, and leave weights, statistics and gradients alone."""
    before = copy.deepcopy(network.state_dict())
    updates = []
    with pytest.raises(SigpropError) as caught:
        network.learn(x, labels, updates.append)
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert updates == []
    assert all(p.grad is None for p in network.parameters())
    for name, value in network.state_dict().items():
        assert torch.equal(before[name], value), f"{name} moved"


NAN, INF = float("nan"), float("inf")
CASES = {
    "T missing": (lambda x, y: (x[0], y), ["[8, 6]", "[T, B"]),
    "no axis": (lambda x, y: (x[0, 0, 0], y), ["[]"]),
    "no steps": (lambda x, y: (x[:0], y), ["[0, 8, 6]", "[T, B, ...]"]),
    "no samples": (lambda x, y: (x[:, :0], y[:0]), ["[5, 0, 6]", "empty"]),
    "no features": (lambda x, y: (x[..., :0], y), ["[5, 8, 0]", "empty"]),
    "batch first": (lambda x, y: (x.transpose(0, 1), y), ["[8, 5, 6]", "[8]", "[T, B, ...]"]),
    "too few labels": (lambda x, y: (x, y[:-1]), ["[7]", "[5, 8, 6]"]),
    "one-hot labels": (lambda x, y: (x, torch.eye(4)[y]), ["[8, 4]", "[B]"]),
    "features": (lambda x, y: (x[..., :5], y), ["[5, 8, 5]"]),
    "type": (lambda x, y: (x.to(torch.complex64), y), ["complex64", "real"]),
    "sparse": (lambda x, y: (x.to_sparse(), y), ["sparse_coo", "dense"]),
    "label too high": (lambda x, y: (x, put(y, (3,), 4)), ["label 4", "0 to 3"]),
    "label negative": (lambda x, y: (x, put(y, (3,), -1)), ["label -1", "0 to 3"]),
    "float labels": (lambda x, y: (x, y.float()), ["float32", "integers"]),
    "truth labels": (lambda x, y: (x, y > 1), ["bool", "integers"]),
    "complex labels": (lambda x, y: (x, y.to(torch.complex64)), ["complex64", "integers"]),
    "nan": (lambda x, y: (put(x, (2, 3, 1), NAN), y), ["nan", "[2, 3, 1]", "finite"]),
    "inf": (lambda x, y: (put(x, (4, 7, 5), INF), y), ["inf", "[4, 7, 5]", "finite"]),
    "minus inf": (lambda x, y: (put(x, (0, 0, 0), -INF), y), ["-inf", "[0, 0, 0]"]),
    "huge": (lambda x, y: (put(x, (1, 2, 3), 1e200), y), ["finite"]),
}


@pytest.mark.parametrize("rule", BOTH)
@pytest.mark.parametrize("case", CASES)
def test_a_bad_batch_is_refused_and_leaves_no_trace(dense, batch, case, rule):
    network = dense(rule)
    x, labels = batch()
    spoil, words = CASES[case]
    refused(network, *spoil(x, labels), *words)
    network.learn(x, labels)
    untouched = dense(rule)
    untouched.learn(x, labels)
    for a, b in zip(network.parameters(), untouched.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


@pytest.mark.parametrize("rule", BOTH)
@pytest.mark.parametrize("size", [6, 7, 10, 16])
def test_pictures_of_another_size_are_refused(pictures, batch, size, rule):
    network = pictures(rule)
    x, labels = batch((2, size, size))
    refused(network, x, labels, f"[5, 8, 2, {size}, {size}]")


@pytest.mark.parametrize("rule", BOTH)
def test_pictures_without_channels_are_refused(pictures, batch, rule):
    x, labels = batch((8, 8))
    refused(pictures(rule), x, labels, "[5, 8, 8, 8]")


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "uint8"])
@pytest.mark.parametrize("rule", BOTH)
def test_integer_labels_of_any_width_are_taken(dense, batch, rule, kind):
    x, labels = batch()
    wide, narrow = dense(rule), dense(rule)
    first = wide.learn(x, labels)
    second = narrow.learn(x, labels.to(getattr(torch, kind)))
    assert first.layers == second.layers


PREDICTIONS = ["readout", "context"]


@pytest.mark.parametrize("predict", PREDICTIONS)
@pytest.mark.parametrize(
    "case",
    ["T missing", "no axis", "no steps", "no samples", "no features", "features", "type", "nan"],
)
def test_prediction_refuses_the_same(dense, batch, case, predict):
    network = dense(predict=predict).eval()
    spoil, words = CASES[case]
    spoiled, _ = spoil(*batch())
    with pytest.raises(SigpropError) as caught:
        network(spoiled)
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize("predict", PREDICTIONS)
def test_prediction_refuses_a_single_axis(dense, predict):
    with pytest.raises(SigpropError, match=r"\[6\]"):
        dense(predict=predict)(torch.zeros(6, dtype=torch.float64))


@pytest.mark.parametrize("predict", PREDICTIONS)
@pytest.mark.parametrize("size", [6, 10, 16])
def test_prediction_refuses_pictures_of_another_size(pictures, batch, size, predict):
    x, _ = batch((2, size, size))
    with pytest.raises(SigpropError, match=rf"\[5, 8, 2, {size}, {size}\]"):
        pictures(predict=predict).eval()(x)


def test_a_constant_input_that_is_not_finite_is_refused_by_place(dense, batch):
    x, labels = batch()
    spoiled = put(x[0], (3, 1), NAN)
    refused(dense(), spoiled.expand(5, 8, 6), labels, "nan", "3, 1]", "finite")


def test_stages_with_labels_check_them_as_learn_does(dense, batch):
    x, labels = batch()
    with pytest.raises(SigpropError, match="label 9"):
        list(dense().stages(x, put(labels, (0,), 9)))


def test_an_unknown_recording_is_named(dense, batch):
    with pytest.raises(UnknownNameError, match="voltag"):
        list(dense().stages(batch()[0], record=("voltag",)))


def test_an_error_of_the_machine_is_not_blamed_on_the_shape(dense, batch):
    class OutOfMemory(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise torch.OutOfMemoryError("out of memory")

    network = dense()
    network.blocks[0].synapse = OutOfMemory()
    with pytest.raises(torch.OutOfMemoryError):
        network.learn(*batch())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Network(ProjectedContext(2, (3,)), []), "no blocks"),
        (lambda: mlp((4,), 3, hidden=()), "at least one"),
        (lambda: conv((1, 8, 8), 3, channels=()), "at least one"),
        (lambda: conv((8, 8), 3), r"\[8, 8\].*\(C, H, W\)"),
        (lambda: mlp((4,), 1), "1 classes"),
        (lambda: ProjectedContext(3, ()), r"\[\]"),
        (lambda: ProjectedContext(3, (4, 0)), r"\[4, 0\]"),
        (lambda: mlp((4,), 3, predict="readot"), "Did you mean 'readout'"),
        (lambda: VoltageRule("rectifed"), "Did you mean 'rectified'"),
        (
            lambda: Network(
                ProjectedContext(2, (3,)), [Block(nn.Linear(4, 3), LIF())], predict="readout"
            ),
            "expected a Readout",
        ),
        (lambda: Readout(4, 3, beta=1.5), "1.5"),
    ],
    ids=lambda value: None if callable(value) else value[:12],
)
def test_a_network_that_can_not_be_is_refused(make, words):
    with pytest.raises(SigpropError, match=words):
        make()


def test_a_signal_that_does_not_fit_the_first_block_is_refused(batch):
    block = Block(nn.Linear(6, 5), LIF(), norm=RunningScale(5))
    network = Network(ProjectedContext(4, (7,)), [block]).double()
    refused(network, *batch())


def tail(inputs: int, *, readout: Readout, **settings: str) -> Network:
    """A network of two blocks, whose second has this many inputs."""
    blocks = [Block(nn.Linear(12, 20), LIF()), Block(nn.Linear(inputs, 20), LIF())]
    return Network(ProjectedContext(3, (20,)), blocks, readout, **settings)


def test_sizes_that_do_not_fit_above_the_first_block_are_named():
    x, labels = torch.rand(4, 6, 12), torch.arange(6) % 3
    with pytest.raises(SigpropError, match=r"\[4, 9, 20\] does not fit block2"):
        tail(21, readout=Readout(20, 3)).learn(x, labels)
    with pytest.raises(SigpropError, match="reads 20 numbers of a sample; expected 21"):
        tail(20, readout=Readout(21, 3)).learn(x, labels)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("predict", ["readout", "vote"])
def test_a_readout_with_other_classes_than_the_signal_is_refused(classes, predict):
    with pytest.raises(SigpropError, match=f"gives {classes} numbers but ProjectedContext has 3"):
        tail(20, readout=Readout(20, classes), predict=predict)


def test_a_synapse_that_returns_no_tensor_is_named():
    network = Network(ProjectedContext(3, (20,)), [Block(nn.LSTM(12, 20), LIF())], Readout(20, 3))
    with pytest.raises(SigpropError, match="LSTM returned a tuple; expected a tensor"):
        network.learn(torch.rand(4, 6, 12), torch.arange(6) % 3)


def test_the_step_of_one_optimizer_of_torch_is_refused():
    network = mlp((12,), 3, hidden=(20,))
    one = torch.optim.SGD(network.parameters(), lr=0.1)
    for update in (one, one.step):
        with pytest.raises(SigpropError, match="one SGD for the whole network"):
            network.learn(torch.rand(4, 6, 12), torch.arange(6) % 3, update)


def test_a_lazy_synapse_is_named():
    with pytest.raises(SigpropError, match="synapse LazyLinear has weights without a size"):
        Block(nn.LazyLinear(20), LIF())


@pytest.mark.parametrize(
    ("name", "part", "words"),
    [
        ("signal", ProjectedContext(7, (10,)), "readout gives 4 numbers.*7 classes"),
        ("readout", Readout(10, 7), "readout gives 7 numbers.*4 classes"),
        ("readout", nn.Linear(10, 4), "readout is Linear.*Readout"),
        ("readout", None, "predicts by readout but got no readout"),
        ("predict", "votes", "unknown predict 'votes'"),
    ],
)
def test_a_part_that_is_replaced_must_fit_the_others(name, part, words):
    network = mlp((6,), 4, hidden=(10,))
    setattr(network, name, part)
    x, labels = torch.rand(3, 8, 6), torch.arange(8) % 4
    for use in (lambda: network(x), lambda: network.learn(x, labels)):
        with pytest.raises(SigpropError, match=words):
            use()


def test_parts_that_are_replaced_together_fit():
    network = mlp((6,), 4, hidden=(10,))
    network.readout, network.signal = Readout(10, 7), ProjectedContext(7, (10,))
    network.learn(torch.rand(3, 8, 6), torch.arange(8) % 7)
    assert network(torch.rand(3, 8, 6)).shape == (8, 7)


def test_a_readout_with_another_kind_of_synapse_is_refused():
    network = mlp((6,), 4, hidden=(10,))
    network.readout.synapse = nn.Sequential(nn.Linear(10, 4))
    with pytest.raises(SigpropError, match="synapse is a Sequential"):
        network(torch.rand(3, 8, 6))


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ("readout", r"'readout\.synapse\.\w+' is torch\.float64"),
        ("blocks.0", r"'blocks\.0\.\w+\.\w+' is torch\.float64"),
        ("blocks.1.synapse", r"'blocks\.1\.synapse\.\w+' is torch\.float64"),
        ("signal", r"'signal\.projection' is torch\.float64"),
    ],
)
@pytest.mark.parametrize("rule", ["voltage", "surrogate", "backpropagation"])
def test_weights_of_several_dtypes_are_named(part, named, rule):
    network = mlp((6,), 3, hidden=(8, 8), rule=rule)
    network.get_submodule(part).double()
    x, labels = torch.rand(4, 5, 6), torch.arange(5) % 3
    if part != "signal":
        with pytest.raises(SigpropError, match=f"several dtypes: .*{named}"):
            network(x)
    elif rule == "backpropagation":  # has no use for the signal
        return
    with pytest.raises(SigpropError, match=f"several dtypes: .*{named}"):
        network.learn(x, labels)
