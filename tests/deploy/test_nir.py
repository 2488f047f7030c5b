"""A network leaves as a graph of NIR and comes back with its spikes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

import sigprop_snn as sp
from sigprop_snn.command_line.cli import main
from sigprop_snn.deploy import CONVENTIONS, Convention, Folded, fold, from_nir, to_nir, write_nir
from sigprop_snn.network import nir_conv
from sigprop_snn.neurons import (
    NEURONS,
    AllToAll,
    CurrentLIF,
    OneToOne,
    ParametricLIF,
    Recurrent,
)

nir = pytest.importorskip("nir", reason="the extra nir is not installed")

pytestmark = pytest.mark.filterwarnings("ignore:.*reset is 'subtract'")
CLASSES = 3


def mlp(**options):
    return sp.mlp((9,), CLASSES, hidden=(12, 10), **options)


def pooled(**options):
    options = {"kernel": 3, "pool": "average", "gain": 2.0, "shift": 0.3, **options}
    return sp.conv((2, 8, 8), CLASSES, channels=(3, 4), **options)


NETWORKS = {
    "lif": mlp,
    "lif to zero": lambda: mlp(neuron=sp.LIF(0.8, 0.7, "zero")),
    "lif of a scaled current": lambda: mlp(neuron=sp.LIF(0.8, scale_current=True)),
    "lif without memory": lambda: mlp(neuron=sp.LIF(0.0)),
    "lif without leak": lambda: mlp(neuron=sp.LIF(1.0)),
    "if": lambda: mlp(neuron="if"),
    "cuba": lambda: mlp(neuron=CurrentLIF(0.5, 0.8, 1.2)),
    "plif": lambda: mlp(neuron="plif"),
    "recurrent-lif": lambda: mlp(neuron="recurrent-lif"),
    "recurrent-lif-one-to-one": lambda: mlp(neuron="recurrent-lif-one-to-one"),
    "recurrent-cuba": lambda: mlp(neuron="recurrent-cuba"),
    "two sources": lambda: sp.mlp((9,), CLASSES, hidden=(12, 10, 8), sources=2),
    "a sum": lambda: sp.mlp((9,), CLASSES, hidden=(8, 8, 8), sources=sp.Sources(2, "sum")),
    "pictures": lambda: sp.mlp((1, 3, 3), CLASSES, hidden=(12, 10)),
    "conv": pooled,
    "conv of one-to-one recurrence": lambda: pooled(neuron="recurrent-lif-one-to-one"),
    "nir-conv": lambda: nir_conv((1, 8, 8), CLASSES, channels=(3, 4), kernel=3),
}


def trained(network, *, batches=2):
    shape = network.sample_shape
    torch.manual_seed(1)
    optimizers = sp.LocalOptimizers(network, lambda weights: torch.optim.SGD(weights, lr=0.1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(batches):
            network.learn(torch.rand(5, 6, *shape), torch.arange(6) % CLASSES, optimizers.step)
    return network.eval(), (torch.rand(5, 8, *shape) > 0.5).float()


def made(name):
    torch.manual_seed(0)
    return trained(NETWORKS[name]())


def spikes(network, inputs):
    found = network.record(inputs, "spike")
    return {name: layer["spike"] for name, layer in found.items() if name != "readout"}


def assert_same(network, back, inputs, *, scores=True):
    expected, found = spikes(network, inputs), spikes(back.eval(), inputs)
    assert list(expected) == list(found)
    for name in expected:
        assert torch.equal(expected[name], found[name])
    assert any(each.any() for each in expected.values())
    if scores:
        torch.testing.assert_close(back(inputs), network(inputs))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_comes_back_from_a_file_with_its_spikes_and_scores(name, tmp_path):
    network, inputs = made(name)
    file = write_nir(to_nir(network), tmp_path / "network.nir")
    assert_same(network, from_nir(file), inputs)


@pytest.mark.parametrize("convention", [name for name in CONVENTIONS if name != "nir"])
@pytest.mark.parametrize("name", ["lif", "cuba", "recurrent-lif", "two sources", "conv"])
def test_each_convention_reads_what_it_writes(name, convention):
    network, inputs = made(name)
    graph = to_nir(network, convention)
    assert_same(network, from_nir(graph), inputs, scores=False)
    assert_same(network, from_nir(graph, convention=convention), inputs, scores=False)


def test_a_network_that_came_in_learns_and_leaves_again(tmp_path):
    network, inputs = made("nir-conv")
    back = from_nir(write_nir(to_nir(network), tmp_path / "a.nir"), rule=sp.VoltageRule())
    again, _ = trained(back, batches=1)
    third = from_nir(write_nir(to_nir(again), tmp_path / "b.nir"))
    assert_same(again, third, inputs)
    assert isinstance(fold(third), Folded)


def test_the_numbers_of_lif_are_those_of_the_equation():
    graph = to_nir(trained(mlp(neuron=sp.LIF(0.75, 1.5)))[0], Convention(dt=0.01))
    node = graph.nodes["block1"]
    assert type(node).__name__ == "LIF"
    np.testing.assert_allclose(node.tau, np.full(12, 0.04))  # beta = 1 - dt / tau
    np.testing.assert_allclose(node.r * 0.01 / node.tau, np.ones(12))  # the current enters whole
    np.testing.assert_allclose(node.v_threshold, np.full(12, 1.5))
    np.testing.assert_allclose(node.v_leak, np.zeros(12))
    assert node.metadata["reset"] == "subtract"
    assert graph.metadata["dt"] == 0.01


def test_the_numbers_of_if_cuba_and_li_are_those_of_the_equation():
    node = to_nir(trained(mlp(neuron="if"))[0]).nodes["block1"]
    np.testing.assert_allclose(node.r * 1e-4, np.ones(12))
    graph = to_nir(trained(mlp(neuron=CurrentLIF(0.5, 0.75)))[0])
    node = graph.nodes["block1"]
    np.testing.assert_allclose(node.tau_syn, np.full(12, 2e-4))
    np.testing.assert_allclose(node.tau_mem, np.full(12, 4e-4))
    np.testing.assert_allclose(node.w_in, np.full(12, 2.0))
    np.testing.assert_allclose(node.r, np.full(12, 4.0))
    node = graph.nodes["readout"]
    assert type(node).__name__ == "LI"
    np.testing.assert_allclose(node.tau, np.full(CLASSES, 1e-3))
    np.testing.assert_allclose(node.r, np.full(CLASSES, 10.0))


def test_the_weights_are_the_folded_ones():
    network, _ = made("conv")
    graph, folded = to_nir(network), fold(network)
    for name, layer in folded.named_layers():
        node = graph.nodes[f"{name}_weights"]
        np.testing.assert_array_equal(node.bias, layer.weights.bias.numpy())
        np.testing.assert_array_equal(node.weight, layer.weights.weight.numpy())
    assert tuple(graph.nodes["block1_weights"].input_shape) == (8, 8)
    assert type(graph.nodes["block1_pool"]).__name__ == "AvgPool2d"


def test_a_convention_of_unit_resistance_or_sums_scales_the_weights():
    network, _ = made("conv")
    plain = to_nir(network)
    other = to_nir(network, Convention(resistance="one", pool="sum"))
    np.testing.assert_allclose(other.nodes["block1"].r, np.ones((3, 8, 8)))
    ratio = other.nodes["block1_weights"].weight / plain.nodes["block1_weights"].weight
    np.testing.assert_allclose(ratio, np.full_like(ratio, 10.0), rtol=1e-5)
    ratio = other.nodes["block2_weights"].weight / plain.nodes["block2_weights"].weight
    np.testing.assert_allclose(ratio, np.full_like(ratio, 10.0 / 4.0), rtol=1e-5)
    assert type(other.nodes["block1_pool"]).__name__ == "SumPool2d"


def test_neurons_with_different_decays_keep_them(tmp_path):
    beta, threshold = torch.linspace(0.5, 0.95, 12), torch.linspace(0.8, 1.2, 12)
    network, inputs = made("lif")
    network.blocks[0].neuron = ParametricLIF(beta, threshold)
    for convention in ("nir", "norse"):
        back = from_nir(to_nir(network, convention))
        assert_same(network, back, inputs, scores=False)
        torch.testing.assert_close(back.blocks[0].neuron.beta, beta)


def test_a_reset_to_subtract_is_told_and_can_be_given():
    network, inputs = made("lif")
    with pytest.warns(UserWarning, match="block1, block2: the reset is 'subtract'"):
        graph = to_nir(network)
    for name in ("block1", "block2"):
        graph.nodes[name].metadata = {}
    assert [block.neuron.reset_mode for block in from_nir(graph).blocks] == ["zero", "zero"]
    assert_same(network, from_nir(graph, reset="subtract"), inputs)


@pytest.mark.filterwarnings("error")
def test_the_nir_conv_network_needs_no_warning():
    to_nir(made("nir-conv")[0])


def test_recurrent_weights_come_back_by_their_kind():
    network, _ = made("recurrent-lif")
    neuron = from_nir(to_nir(network)).blocks[0].neuron
    assert isinstance(neuron.recurrence, AllToAll)
    network, _ = made("recurrent-lif-one-to-one")
    assert isinstance(from_nir(to_nir(network)).blocks[0].neuron.recurrence, OneToOne)
    network, inputs = made("lif")
    network.blocks[0].neuron = Recurrent(sp.LIF(0.8), nn.Linear(12, 12))
    assert_same(network, from_nir(to_nir(network)), inputs)


HAVE_A_WORD = {*NETWORKS, "plif-per-neuron", "recurrent-cuba-one-to-one"}


@pytest.mark.parametrize("neuron", [name for name in NEURONS if name not in HAVE_A_WORD])
def test_a_neuron_that_nir_has_no_word_for_is_refused_by_name(neuron):
    network = mlp(neuron=neuron)
    kind = type(network.blocks[0].neuron)
    inner = network.blocks[0].neuron
    kind = type(inner.neuron) if isinstance(inner, Recurrent) else kind
    with pytest.raises(sp.SigpropError, match=rf"{kind.__name__} in block1 has .*expected .*LIF"):
        to_nir(network)


def test_what_nir_has_no_word_for_is_refused_with_what_to_use_instead():
    for network, found in (
        (sp.conv((1, 8, 8), 3, channels=2), "HalvingPool in the pool of block1.*nir-conv"),
        (
            sp.conv((1, 16, 16), 3, channels=(2, 3, 3), pool="average", sources=2),
            "block3 receives maps of different sizes",
        ),
        (mlp(neuron=sp.LIF(reset="none")), "LIF in block1.*reset='zero'"),
        (mlp(neuron=CurrentLIF(1.0)), "CurrentLIF in block1 has alpha 1"),
        (pooled(neuron="recurrent-lif"), "AllToAll over maps of block1.*OneToOne"),
    ):
        with pytest.raises(sp.SigpropError, match=found):
            to_nir(network)
    with pytest.raises(sp.SigpropError, match="block1 has beta 0"):
        to_nir(mlp(neuron=sp.LIF(0.0)), "sinabs")
    beta = torch.linspace(0.5, 0.9, 3 * 64).view(3, 8, 8)
    network = pooled()
    network.blocks[0].neuron = ParametricLIF(beta)
    for convention, place in (("norse", "neurons of block1"), ("sinabs", "neurons of block1")):
        with pytest.raises(sp.SigpropError, match=place):
            to_nir(network, convention)


def test_arguments_are_refused_by_name(tmp_path):
    network, _ = made("lif")
    with pytest.raises(sp.SigpropError, match=r"convention 'nier'.*'nir'"):
        to_nir(network, "nier")
    with pytest.raises(sp.SigpropError, match="dt of Convention is 0"):
        Convention(dt=0)
    with pytest.raises(sp.SigpropError, match="sample_shape is None"):
        to_nir(Folded(dict(fold(network).named_layers()), fold(network).readout))
    with pytest.raises(sp.SigpropError, match="reset 'none'"):
        from_nir(to_nir(network), reset="none")
    with pytest.raises(sp.SigpropError, match="source is 3"):
        from_nir(3)
    with pytest.raises(sp.SigpropError, match="graph is 3"):
        write_nir(3, tmp_path / "a.nir")


def test_without_the_package_the_error_names_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(sp.SigpropError, match=r"\.\[nir\]"):
        to_nir(mlp())


def test_a_run_is_exported_by_a_command(tmp_path, capsys, no_figures):
    run = tmp_path / "run"
    train = ["train", "digits", "--network", "nir-conv", "--epochs", "1", "--train-samples", "60"]
    assert main([*train, "--test-samples", "20", "--steps", "3", "--out", str(run), "-q"]) == 0
    assert main(["export", str(run), "--format", "nir"]) == 0
    out = ["--out", str(tmp_path / "b.nir")]
    assert main(["export", str(run), "--convention", "norse", *out]) == 0
    assert f"network: {run / 'network.nir'}" in capsys.readouterr().out
    found = sp.training.load_run(run)
    inputs, _ = next(iter(found.data.test))
    assert_same(found.network, from_nir(run / "network.nir"), inputs)
    assert_same(found.network, from_nir(tmp_path / "b.nir"), inputs, scores=False)


@pytest.mark.parametrize("kernel", [3, 5])
def test_padding_same_is_written_in_numbers(kernel):
    torch.manual_seed(0)
    layer = nn.Conv2d(1, 3, kernel, padding="same")
    network = sp.Network(
        sp.ProjectedContext(4, (3, 9, 9)), [sp.Block(layer, sp.LIF(0.9))], sp.Readout(243, 4)
    ).eval()
    x = (torch.rand(5, 2, 1, 9, 9) < 0.5).float()
    again = from_nir(to_nir(network, sample_shape=(1, 9, 9))).eval()
    torch.testing.assert_close(again(x), network(x))


def test_time_constants_that_differ_make_neurons_that_differ():
    """At a step of a microsecond all betas are near 1."""
    tau = np.array([1.0, 2.0, 5.0])
    one = np.ones(3)
    nodes = {
        "input": nir.Input(np.array([2])),
        "weights": nir.Affine(np.ones((3, 2), np.float32), np.zeros(3, np.float32)),
        "neurons": nir.LIF(tau=tau, r=one, v_leak=0 * one, v_threshold=one),
        "output": nir.Output(np.array([3])),
    }
    edges = [("input", "weights"), ("weights", "neurons"), ("neurons", "output")]
    network = from_nir(nir.NIRGraph(nodes, edges), convention=Convention(dt=1e-6))
    assert network.blocks[0].neuron.decay_logit.shape == (3,)
