"""The same network has the same spikes here and in other simulators, layer by layer, step by step.

`benchmarks/simulators.py` runs the simulators. Where one differs by design, the test says how.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest
import snntorch
import torch
from torch import nn

import sigprop_snn as sp
from sigprop_snn.command_line.cli import main
from sigprop_snn.deploy import Convention, from_nir
from sigprop_snn.network import nir_conv
from sigprop_snn.neurons import AllToAll, CurrentLIF, OneToOne, Recurrent

nir = pytest.importorskip("nir", reason="the extra nir is not installed")

FILE = Path(__file__).parents[2] / "benchmarks" / "simulators.py"
SIMULATORS = runpy.run_path(str(FILE), run_name="simulators")
PEERS = list(SIMULATORS["READERS"])
CLASSES = 3

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*reset is 'subtract'"),
]


def trained(network):
    torch.manual_seed(2)
    shape = network.sample_shape
    optimizers = sp.LocalOptimizers(network, lambda weights: torch.optim.SGD(weights, lr=0.1))
    for _ in range(3):
        network.learn(torch.rand(5, 6, *shape), torch.arange(6) % CLASSES, optimizers.step)
    return network.eval(), (torch.rand(7, 5, *shape) > 0.5).float()


def mlp(neuron):
    torch.manual_seed(0)
    return trained(sp.mlp((9,), CLASSES, hidden=(12, 10), neuron=neuron))


def conv():
    torch.manual_seed(0)
    settings = {"channels": (3, 4), "kernel": 3, "gain": 2.0, "shift": 0.3}
    return trained(nir_conv((1, 8, 8), CLASSES, **settings))


def in_simulator(peer, network, inputs):
    reason = SIMULATORS["why_not"](peer)
    if reason is not None:
        pytest.skip(reason)
    return SIMULATORS["simulate"](peer, network, inputs)


def assert_same_spikes(network, found, inputs):
    for name, recorded in network.record(inputs, "spike").items():
        expected = recorded["spike"]
        assert expected.any() and found[name].shape == expected.shape
        steps = [int((a != b).sum()) for a, b in zip(expected, found[name], strict=True)]
        assert steps == [0] * len(expected), name


@pytest.mark.parametrize("peer", PEERS)
def test_lif_with_the_reset_of_nir(peer):
    network, inputs = mlp(sp.LIF(0.9, 1.0, "zero"))
    assert_same_spikes(network, in_simulator(peer, network, inputs), inputs)


@pytest.mark.parametrize("peer", PEERS)
def test_a_convolutional_network(peer):
    network, inputs = conv()
    found = in_simulator(peer, network, inputs)
    assert_same_spikes(network, found, inputs)
    folded = sp.deploy.fold(network)
    scores = SIMULATORS["scores_of"](folded, found["readout_weights"])
    torch.testing.assert_close(scores, network(inputs), rtol=1e-4, atol=1e-5)


# snnTorch subtracts a second time, before the next spike, where a voltage is above the threshold
# after the reset.
@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer != "snntorch"])
def test_lif_that_subtracts_its_threshold(peer):
    network, inputs = mlp(sp.LIF(0.8))
    assert_same_spikes(network, in_simulator(peer, network, inputs), inputs)


# snnTorch's importer makes an IF with a leak of 0.9.
@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer != "snntorch"])
def test_if(peer):
    network, inputs = mlp(sp.IF(reset="zero"))
    assert_same_spikes(network, in_simulator(peer, network, inputs), inputs)


# The importer of sinabs has no CubaLIF.
@pytest.mark.parametrize("peer", [peer for peer in PEERS if peer != "sinabs"])
def test_current_based_neurons(peer):
    network, inputs = mlp(CurrentLIF(0.7, 0.9, 1.0, "zero"))
    assert_same_spikes(network, in_simulator(peer, network, inputs), inputs)


# The importer of snnTorch fails on loops; sinabs runs a layer through all steps at once.
@pytest.mark.parametrize("peer", ["norse", "spikingjelly"])
@pytest.mark.parametrize("recurrence", [AllToAll, OneToOne])
def test_recurrent_layers(peer, recurrence):
    def neuron(features):
        return Recurrent(sp.LIF(0.9, 1.0, "zero"), recurrence(features))

    network, inputs = mlp(neuron)
    assert_same_spikes(network, in_simulator(peer, network, inputs), inputs)


def test_without_its_compensation_sinabs_sends_several_spikes_in_a_step():
    network, inputs = mlp(sp.LIF(0.9))
    with torch.no_grad():
        network.blocks[0].norm.gain.mul_(4.0)
    found = in_simulator("sinabs", network, inputs)
    assert_same_spikes(network, found, inputs)
    assert found["block1"].max() == 1.0
    voltage = network.record(inputs, "voltage")["block1"]["voltage"]
    assert voltage.max() > 2.0  # it would have sent two


def test_the_table_of_a_trained_network():
    network, inputs = conv()
    rows = SIMULATORS["compare"](network, inputs, torch.arange(5) % CLASSES, PEERS)
    assert [row[0] for row in rows] == ["simulator", "sigprop_snn", *PEERS]
    assert all(len(row) == len(rows[0]) for row in rows)
    for row in rows[2:]:
        if SIMULATORS["why_not"](row[0]) is None:
            assert row[1:3] == rows[1][1:3] and row[3] == "100.0000" and row[4] == rows[1][4]


def test_the_scripts_print_their_tables_for_a_run(tmp_path, monkeypatch, capsys, no_figures):
    run = str(tmp_path / "run")
    train = ["train", "digits", "--network", "nir-conv", "--epochs", "1", "--train-samples", "60"]
    assert main([*train, "--test-samples", "20", "--steps", "3", "--out", run, "-q"]) == 0
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["simulators.py", run, "--samples", "3", "--peers", "norse"])
    runpy.run_path(str(FILE), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert "3 test samples of digits" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["simulator", "sigprop_snn", "norse"]
    pytest.importorskip("neurobench", reason="the extra neurobench is not installed")
    monkeypatch.setattr(sys, "argv", ["neurobench_counts.py", run, "--samples", "3"])
    runpy.run_path(str(FILE.with_name("neurobench_counts.py")), run_name="__main__")
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["metric", "NeuroBench", "sigprop_snn"]
    assert all(row[-1] == row[-2] for row in rows if row[0] in ("accuracy", "footprint"))


# The other way: networks of other simulators come in.


def snntorch_spikes(model, inputs):
    """Return the spikes of a snnTorch model's neurons, run step by step."""
    neurons = [module for module in model if isinstance(module, snntorch.SpikingNeuron)]
    memory, kept = dict.fromkeys(neurons), {neuron: [] for neuron in neurons}
    for step in inputs:
        for module in model:
            if module not in neurons:
                step = module(step)
                continue
            if memory[module] is None:
                memory[module] = [torch.zeros_like(step)] * (
                    2 if isinstance(module, snntorch.Synaptic) else 1
                )
            step, *memory[module] = module(step, *memory[module])
            kept[module].append(step.detach())
    return [torch.stack(each) for each in kept.values()]


def graph_of_snntorch(model, sample):
    """Return the NIR graph that snnTorch's own exporter makes of a model."""
    exporter = pytest.importorskip("snntorch.export_nir", reason="snntorch has no export_nir")
    if "v_reset" not in nir.LIF.__dataclass_fields__:
        pytest.skip("the exporter of snntorch needs nir >= 1.0.5")
    pytest.importorskip("nirtorch", reason="nirtorch is not installed")
    hidden = nn.Sequential(*model)
    for module in hidden:
        if isinstance(module, snntorch.SpikingNeuron):
            module.init_hidden = True
    try:
        return exporter.export_to_nir(hidden, sample)
    finally:
        for module in hidden:
            if isinstance(module, snntorch.SpikingNeuron):
                module.init_hidden = False


@pytest.mark.parametrize("neuron", [snntorch.Leaky, snntorch.Synaptic])
def test_a_snntorch_network_comes_in_through_its_own_exporter(neuron):
    torch.manual_seed(0)
    decays = {"beta": 0.9} if neuron is snntorch.Leaky else {"alpha": 0.7, "beta": 0.9}

    def of_size(size):  # the exporter takes one number for each neuron
        each = {name: torch.full((size,), value) for name, value in decays.items()}
        # A delayed reset of Synaptic clears its current too.
        settings = {"reset_mechanism": "zero", "reset_delay": False}
        return neuron(**each, threshold=torch.ones(size), **settings)

    model = nn.Sequential(nn.Linear(9, 12), of_size(12), nn.Linear(12, 4), of_size(4))
    inputs = 3 * torch.rand(8, 5, 9)
    graph = graph_of_snntorch(model, inputs[0, 0])
    expected = snntorch_spikes(model, inputs)
    network = from_nir(graph).eval()
    found = network.record(inputs, "spike")
    for index, spikes in enumerate(expected):
        assert spikes.any() and torch.equal(spikes, found[f"block{index + 1}"]["spike"])
    torch.testing.assert_close(network(inputs), expected[-1].mean(0))


def by_hand(nodes):
    """Return a graph of NIR of nodes in a row."""
    return nir.NIRGraph.from_list(*nodes)


def test_a_snntorch_network_comes_in_through_nodes_written_by_hand():
    """For versions of nir that snnTorch's exporter does not take."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(9, 12), snntorch.Leaky(0.9, reset_mechanism="zero"),
        nn.Linear(12, 4), snntorch.Leaky(0.8, reset_mechanism="zero"),
    )  # fmt: skip
    inputs = 3 * torch.rand(8, 5, 9)
    nodes = []
    for linear, leaky in ((model[0], model[1]), (model[2], model[3])):
        beta, size = leaky.beta.numpy(), linear.out_features
        tau = 1e-4 / (1 - beta) * torch.ones(size).numpy()
        nodes.append(nir.Affine(linear.weight.detach().numpy(), linear.bias.detach().numpy()))
        nodes.append(nir.LIF(tau=tau, r=tau / 1e-4, v_leak=0 * tau, v_threshold=0 * tau + 1))
    found = from_nir(by_hand(nodes)).eval().record(inputs, "spike")
    for index, spikes in enumerate(snntorch_spikes(model, inputs)):
        assert spikes.any() and torch.equal(spikes, found[f"block{index + 1}"]["spike"])


def test_a_norse_network_comes_in_through_its_own_exporter():
    norse = pytest.importorskip("norse.torch", reason="norse is not installed")
    exporter = pytest.importorskip(
        "norse.torch.utils.export_nir", reason="norse's exporter needs nir and nirtorch"
    )
    torch.manual_seed(0)
    size = torch.ones(12)
    cells = [
        norse.LIFBoxCell(norse.LIFBoxParameters(tau_mem_inv=100.0 * s, v_th=1.0 * s, v_leak=0 * s))
        for s in (size, size[:4])
    ]
    model = norse.SequentialState(nn.Linear(9, 12), cells[0], nn.Linear(12, 4), cells[1])
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Linear):
                module.weight.mul_(20)
    inputs = torch.rand(9, 5, 9)
    heard, state = [], None
    cells[0].register_forward_hook(lambda _, __, out: heard.append(out[0].detach()))
    sent = []
    for step in inputs:
        out, state = model(step, state)
        sent.append(out.detach())
    # It writes tau = dt / tau_mem_inv, which is tau in seconds for dt = 1.
    graph = exporter.to_nir(model, inputs[0, 0], dt=1.0)
    network = from_nir(graph, 9, convention=Convention(dt=1e-3)).eval()
    found = network.record(inputs, "spike")
    for name, expected in (("block1", heard[: len(inputs)]), ("block2", sent)):
        spikes = torch.stack(expected)
        assert spikes.any() and torch.equal(spikes, found[name]["spike"])
