"""A folded network has the spikes and the scores of the network, and no normalisers."""

from __future__ import annotations

import copy
import math

import pytest
import snntorch
import torch
from torch import nn

import sigprop_snn as sp
from sigprop_snn.deploy import Folded, fold
from sigprop_snn.network import Block, LengthNorm, Network, RunningNorm, RunningScale
from sigprop_snn.neurons import NEURONS, AllToAll, OneToOne, ParametricLIF, Recurrent

CLASSES = 3
LIVELY = {"gain": 2.0, "shift": 0.5}  # so that layers of a few neurons spike
NETWORKS = {
    "mlp": (lambda **o: sp.mlp((9,), CLASSES, hidden=(12, 10), **o), (9,)),
    "mlp of pictures": (lambda **o: sp.mlp((1, 3, 3), CLASSES, hidden=(12, 10), **o), (1, 3, 3)),
    "mlp of two sources": (
        lambda **o: sp.mlp((9,), CLASSES, hidden=(12, 10, 8), sources=2, **o), (9,)
    ),
    "conv": (lambda **o: sp.conv((2, 8, 8), CLASSES, channels=(3, 4), kernel=3, **o), (2, 8, 8)),
    "conv of a sum": (
        lambda **o: sp.conv(
            (2, 8, 8), CLASSES, channels=(4, 4, 4), kernel=3, sources=sp.Sources(2, "sum"), **o
        ),
        (2, 8, 8),
    ),
    "vgg": (
        lambda **o: sp.vgg(
            (1, 8, 8), CLASSES, layers=(3, "pool", 4), dense=6, dropout=0.3, **LIVELY, **o
        ),
        (1, 8, 8),
    ),
    "vgg8": (lambda **o: sp.vgg8((1, 16, 16), CLASSES, width=0.03, **LIVELY, **o), (1, 16, 16)),
    "vgg8 of three sources": (
        lambda **o: sp.vgg8((1, 16, 16), CLASSES, width=0.03, sources=3, **LIVELY, **o), (1, 16, 16)
    ),
    "vgg8 of maps above the readout's side": (
        lambda **o: sp.vgg8((1, 20, 20), CLASSES, width=0.02, **LIVELY, **o), (1, 20, 20)
    ),
}  # fmt: skip


def trained(name: str, *, seed: int = 0, batches: int = 3, **options):
    """Return a float64 network whose normalisers and weights have seen data, and inputs."""
    make, shape = NETWORKS[name]
    torch.manual_seed(seed)
    network = make(**options).double()
    optimizers = sp.LocalOptimizers(network, lambda weights: torch.optim.SGD(weights, lr=0.1))
    for _ in range(batches):
        inputs = torch.rand(5, 6, *shape, dtype=torch.float64)
        network.learn(inputs, torch.arange(6) % CLASSES, optimizers.step)
    return network.eval(), torch.rand(5, 6, *shape, dtype=torch.float64)


def spikes(network, inputs):
    """Return the spikes of every block by name."""
    found = network.record(inputs, "spike")
    return {name: layer["spike"] for name, layer in found.items() if name != "readout"}


def assert_same_spikes(network, folded, inputs, *, silent=False):
    expected, found = spikes(network, inputs), spikes(folded, inputs)
    assert list(expected) == list(found)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-9, atol=1e-9)
    if not silent:
        assert all(each.any() for each in expected.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_spikes_and_scores_are_those_of_the_network(name):
    network, inputs = trained(name)
    folded = fold(network)
    assert_same_spikes(network, folded, inputs)
    torch.testing.assert_close(folded(inputs), network(inputs), rtol=1e-9, atol=1e-9)
    voltage = network.record(inputs, "voltage", "readout")["readout"]["voltage"]
    torch.testing.assert_close(folded.record(inputs)["readout"]["voltage"], voltage)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_folded_network_has_weights_neurons_and_pools_alone(name):
    folded = fold(trained(name, batches=1)[0])
    kinds = {type(module).__name__ for module in folded.modules()}
    assert kinds <= {
        "Folded", "FoldedLayer", "ModuleDict", "Sequential", "Identity", "Flatten", "Linear",
        "Conv2d", "HalvingPool", "LIF", "Readout", "LeakyIntegrator",
    }  # fmt: skip
    assert all(layer.weights.bias is not None for _, layer in folded.named_layers())
    assert not any(parameter.requires_grad for parameter in folded.parameters())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_every_neuron_of_the_catalogue_folds(name, neuron):
    torch.manual_seed(1)
    network, inputs = trained(name, neuron=neuron, batches=1)
    torch.manual_seed(7)
    expected = network(inputs)
    folded = fold(network)
    if neuron not in ("lif-noise", "lif-escape"):  # a recording draws noise for the contexts too
        assert_same_spikes(network, folded, inputs, silent=True)
    torch.manual_seed(7)
    torch.testing.assert_close(folded(inputs), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "neuron",
    [
        sp.LIF(0.7, scale_current=True),
        ParametricLIF(0.7, scale_current=True),
        Recurrent(sp.LIF(0.7, scale_current=True), AllToAll((12,))),
        Recurrent(sp.LIF(0.7, scale_current=True), OneToOne((12,))),
        Recurrent(ParametricLIF(0.7, scale_current=True), nn.Linear(12, 12)),
    ],
)
def test_the_factor_of_a_neurons_current_goes_into_the_weights(neuron):
    torch.manual_seed(0)
    network, inputs = trained("mlp", neuron=sp.LIF(0.7), batches=1)
    network.blocks[0].neuron = neuron.double()
    folded = fold(network)
    assert_same_spikes(network, folded, inputs)
    plain = folded.layer("block1").neuron
    plain = plain.neuron if isinstance(plain, Recurrent) else plain
    assert type(plain) is sp.LIF and plain.current_gain == 1.0


def test_a_factor_for_each_neuron_goes_into_the_weights():
    beta = torch.linspace(0.5, 0.9, 12)
    network, inputs = trained("mlp", neuron=sp.LIF(0.7), batches=1)
    network.blocks[0].neuron = ParametricLIF(beta, scale_current=True).double()
    folded = fold(network)
    assert_same_spikes(network, folded, inputs)
    assert not folded.layer("block1").neuron.scale_current
    assert network.blocks[0].neuron.scale_current


@pytest.mark.parametrize("shape", [(8, 8, 8), (8, 1), (8,)])
def test_a_factor_for_each_position_stays_in_the_neuron(shape):
    torch.manual_seed(0)
    network = sp.conv((2, 8, 8), CLASSES, channels=(8, 4), kernel=3, **LIVELY)
    network = network.double().eval()
    inputs = 9 * torch.rand(5, 6, 2, 8, 8, dtype=torch.float64)
    beta = torch.linspace(0.5, 0.9, math.prod(shape)).view(shape)
    network.blocks[0].neuron = ParametricLIF(beta, scale_current=True).double()
    folded = fold(network)
    assert_same_spikes(network, folded, inputs)
    assert folded.layer("block1").neuron.scale_current


@pytest.mark.parametrize(
    "settings", [{}, {"padding": 2}, {"padding": 1, "padding_mode": "reflect"}]
)
def test_the_current_is_right_at_a_padded_border(settings):
    torch.manual_seed(0)
    norm = RunningNorm(4, 1.3, -0.4).double()
    with torch.no_grad():
        norm.mean.uniform_(-1, 1)
        norm.variance.uniform_(0.5, 2)
    block = Block(nn.Conv2d(2, 4, 3, **settings), sp.LIF(), norm=norm)
    network = Network(
        sp.ProjectedContext(3, (4, *[6 + 2 * settings.get("padding", 0)] * 2)),
        [block],
        sp.Readout(4 * (6 + 2 * settings.get("padding", 0)) ** 2, 3),
    ).double()
    layer = fold(network).layer("block1")
    x = torch.rand(3, 2, 8, 8, dtype=torch.float64)
    expected = norm(block.synapse(x))
    torch.testing.assert_close(layer.synapse(x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["mlp", "conv", "vgg8"])
def test_in_float32_a_current_changes_by_the_stated_bound_at_most(name):
    network, inputs = trained(name)
    network, inputs = network.float(), (inputs > 0.5).float()
    folded, eps = fold(network), torch.finfo(torch.float32).eps
    for each, block in network.named_blocks():
        weights = folded.layer(each).weights
        shape = folded.shapes(inputs.shape[2:])[each][0]
        x = (torch.rand(4, *shape) > 0.5).float()
        expected = block.norm(block.synapse(x)).double()
        rows = weights.weight.double().abs().flatten(1)
        old = next(m for m in block.synapse.modules() if isinstance(m, type(weights)))
        scale = block.norm.scale(expected[:1].float())
        gain = scale.gain.flatten()
        constant = (gain * old.bias).abs().double()
        if scale.offset is not None:
            constant = constant + scale.offset.flatten().abs().double()
        bound = (rows.shape[1] + 4) * eps * (rows.sum(1) + constant)
        change = (folded.layer(each).synapse(x).double() - expected).abs()
        channels = change.transpose(0, 1).flatten(1).amax(1)
        assert (channels <= bound).all()
        assert channels.max() > 0


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_in_float32_spikes_change_only_near_the_threshold(name):
    network, inputs = trained(name)
    network, inputs = network.float(), inputs.float()
    folded = fold(network)
    voltage = network.record(inputs, "voltage")
    expected, found = spikes(network, inputs), spikes(folded, inputs)
    for each in expected:
        changed = expected[each] != found[each]
        near = (voltage[each]["voltage"] - 1.0).abs() < 1e-4
        assert not (changed & ~near).any()


def test_without_a_normaliser_every_bit_is_kept():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False), snntorch.Leaky(0.8, reset_mechanism="zero"),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3),
    )  # fmt: skip
    network = sp.from_snntorch(model, (1, 8, 8)).eval()
    inputs = 3 * torch.rand(6, 4, 1, 8, 8)
    folded = fold(network)
    assert torch.equal(folded.layer("block1").weights.weight, network.blocks[0].synapse.weight)
    assert torch.equal(spikes(folded, inputs)["block1"], spikes(network, inputs)["block1"])
    assert torch.equal(folded(inputs), network(inputs))


def test_batch_normalisation_folds_where_it_is():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), snntorch.Leaky(0.8), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(36, 5), nn.BatchNorm1d(5, affine=False),
        snntorch.Leaky(0.9), nn.Linear(5, 3),
    )  # fmt: skip
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.1, 0.5)
    network = sp.from_snntorch(model, (1, 8, 8)).double().eval()
    inputs = 3 * torch.rand(6, 4, 1, 8, 8, dtype=torch.float64)
    folded = fold(network)
    assert_same_spikes(network, folded, inputs)
    assert not any("BatchNorm" in type(module).__name__ for module in folded.modules())


def test_the_network_stays_as_it_is_and_no_random_number_is_drawn():
    network, inputs = trained("vgg")
    before, state = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    folded = fold(network.train())
    assert torch.equal(state, torch.get_rng_state())
    assert network.training and all(p.requires_grad for p in network.parameters())
    folded(inputs)
    with torch.no_grad():
        for parameter in folded.parameters():
            parameter.zero_()
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_folded_network_is_saved_and_loaded_as_any_module():
    network, inputs = trained("conv")
    folded, other = fold(network), fold(trained("conv", seed=1)[0])
    expected = folded(inputs)
    assert not torch.equal(other(inputs), expected)
    other.load_state_dict(folded.state_dict())
    assert torch.equal(other(inputs), expected)


def test_a_layer_runs_alone():
    network, inputs = trained("conv")
    folded = fold(network)
    out = folded.layer("block1")(inputs)
    expected = spikes(network, inputs)["block1"]
    assert torch.equal(out, nn.functional.max_pool2d(expected.flatten(0, 1), 2).view_as(out))


def test_the_graph_of_the_layers_is_known():
    row, graph = fold(trained("mlp")[0]), fold(trained("mlp of two sources")[0])
    assert row.is_row() and row.received() == {"block1": ("input",), "block2": ("block1",)}
    assert not graph.is_row() and graph.received()["block3"] == ("block2", "block1")
    assert not fold(trained("vgg", batches=1)[0]).is_row()  # its readout reads all blocks
    assert fold(trained("vgg", batches=1)[0]).read() == ("block3", "block2", "block1")
    shapes = fold(trained("vgg", batches=1)[0]).shapes((1, 8, 8))
    assert shapes["block1"] == ((1, 8, 8), (3, 8, 8), (3, 4, 4))
    assert shapes["block3"] == ((4, 4, 4), (6,), (6,))


class Squash(nn.Module):
    def forward(self, x):
        return torch.tanh(x)


def of_block(**parts) -> Network:
    parts = {"synapse": nn.Linear(6, 5), "norm": RunningScale(5), **parts}
    return Network(
        sp.ProjectedContext(3, (5,)), [Block(neuron=sp.LIF(), **parts)], sp.Readout(5, 3)
    )


REFUSED = {
    "LengthNorm in the synapse of block1": lambda: of_block(
        synapse=nn.Sequential(LengthNorm(), nn.Linear(6, 5))
    ),
    "LayerNorm in the norm of block1": lambda: of_block(norm=nn.LayerNorm(5)),
    "Squash in the norm of block1": lambda: of_block(norm=Squash()),
    "Squash in the synapse of block1": lambda: of_block(
        synapse=nn.Sequential(nn.Linear(6, 5), Squash())
    ),
    "Squash in the pool of block1": lambda: of_block(pool=Squash()),
    "Linear in the synapse of block1": lambda: of_block(
        synapse=nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 5))
    ),
    "synapse of block1 has no weights": lambda: of_block(synapse=nn.Identity(), norm=None),
    "BatchNorm1d of block1": lambda: of_block(norm=nn.BatchNorm1d(5, track_running_stats=False)),
    "'context'": lambda: sp.mlp((6,), 3, hidden=5, predict="context"),
    "LabelOverlay": lambda: sp.mlp((20,), 3, hidden=5, rule="forward-forward", predict="readout"),
    "network is 3": lambda: 3,
}  # fmt: skip


@pytest.mark.parametrize("place", REFUSED)
def test_a_network_that_can_not_be_folded_is_refused_by_name(place):
    network = REFUSED[place]()
    with pytest.raises(sp.SigpropError, match=place):
        fold(network)


def test_folded_checks_its_input():
    folded = fold(trained("mlp")[0])
    assert isinstance(folded, Folded)
    with pytest.raises(sp.SigpropError, match=r"\[6, 9\]"):
        folded(torch.rand(6, 9))
    with pytest.raises(sp.SigpropError, match="block9"):
        folded.layer("block9")
