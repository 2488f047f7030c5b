"""Local readouts against DECOLLE's update in plain loops, and their order of events."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from sigprop_snn.errors import UnknownNameError
from sigprop_snn.network import DotProductLoss, MultiLabelContext, Similarity, VectorContext, mlp
from sigprop_snn.neurons import LIF, AllToAll, Recurrent
from sigprop_snn.rules import LocalReadout
from sigprop_snn.rules.passes import layer_graphs

CASES = [
    (kind, neuron) for kind in ("dense", "pictures") for neuron in ("lif", "scaled lif", "rate")
]


@pytest.mark.parametrize("error", ["cross-entropy", "squared"])
@pytest.mark.parametrize(("kind", "neuron"), CASES)
def test_each_block_learns_from_its_own_readout(network, batch, hand, agree, kind, neuron, error):
    net = network(kind, partial(LocalReadout, error=error), neuron)
    x, labels = batch(kind, neuron)
    learned = net.learn(x, labels)
    by_hand = hand(net, x, labels)
    agree(net.readout, by_hand.readout_gradients())
    share = len(x) * len(labels)
    for i, (block, mine) in enumerate(zip(net.blocks, by_hand.blocks, strict=True)):
        read = net.rule.readouts[i]
        y = mine.sent.flatten(2) @ read.weight.t() + read.bias
        if error == "squared":
            dy = 2 * (y - by_hand.target) / share
        else:
            dy = (by_hand.softmax(y) - by_hand.target) / share
        sent = (dy @ read.weight).view_as(mine.sent)
        agree(block, mine.gradients(mine.through_time(mine.unpooled(sent))))
        right = int((y.mean(0).argmax(1) == labels).sum())
        assert learned.layers[i].correct == right
        if error == "squared":
            expected = float(((y - by_hand.target) ** 2).sum(2).mean())
        else:
            picked = by_hand.softmax(y)[:, torch.arange(len(labels)), labels]
            expected = float(-picked.log().mean())
        assert learned.layers[i].loss == pytest.approx(expected, abs=1e-12)


def test_the_update_is_decolles_with_a_presynaptic_trace(dense, batch):
    """The weight of the second block, online in time, as the paper writes it."""
    net = dense(LocalReadout)
    x, labels = batch()
    net.learn(x, labels)
    kept = net.eval().record(x, ["spike", "voltage"])
    below, own = kept["block1"]["spike"], kept["block2"]
    block, read = net.blocks[1], net.rule.readouts[1]
    raw = torch.stack([block.synapse(step) for step in below]).detach()
    scale = block.norm.gain.detach() / (raw.square().mean() + 1e-6).sqrt()
    trace, total = torch.zeros_like(below[0]), 0.0
    for t in range(len(x)):
        trace = 0.8 * trace + below[t]
        y = read(own["spike"][t])
        error = (y.softmax(1) - torch.eye(4).double()[labels]) / (len(labels) * len(x))
        psi = 1.5 / (1 + 3 * (own["voltage"][t] - 1).abs()) ** 2
        total = total + ((error @ read.weight) * psi * scale).t() @ trace
    assert total.abs().max() > 1e-5
    assert (block.synapse.weight.grad - total).abs().max() < 1e-12


def test_a_learned_readout_learns_with_its_block(dense, batch):
    fixed = dense(LocalReadout)
    fixed.learn(*batch())
    assert all(p.grad is None for p in fixed.rule.parameters())
    assert fixed.rule.local_parameters() == {}

    net = dense(partial(LocalReadout, learned=True))
    x, labels = batch()
    net.learn(x, labels)
    spikes = net.eval().record(x, ["spike"])["block2"]["spike"]
    read = net.rule.readouts[1]
    mine = read.weight.grad.clone()
    read.zero_grad()
    sum(F.cross_entropy(read(step), labels) for step in spikes).div(len(x)).backward()
    assert torch.allclose(mine, read.weight.grad, atol=1e-12)
    assert {*read.parameters()} < {*net.local_parameters()["block2"]}


def test_each_block_is_updated_before_the_next_one_runs(dense, batch):
    net = dense(LocalReadout)
    events = []
    for index, block in enumerate(net.blocks):
        block.synapse.register_forward_hook(lambda *_, i=index: events.append(f"ran {i + 1}"))
    net.learn(*batch(), events.append)
    assert events == ["ran 1", "block1", "ran 2", "block2", "readout"]


def test_every_layer_guesses_when_the_network_predicts(dense, batch):
    x, labels = batch()
    net = dense(LocalReadout).eval()
    learning = {s.name: s.scores.detach() for s in net.stages(x, labels)}
    guessing = {s.name: s.scores for s in net.stages(x)}
    assert list(guessing) == ["block1", "block2", "readout"]
    assert all(torch.allclose(learning[name], guessing[name]) for name in learning)
    net.predict = "vote"
    expected = sum(scores.log_softmax(1) for scores in guessing.values())
    assert torch.allclose(net(x), expected)


def test_a_recurrent_layer_learns_with_its_spikes_held(dense, batch):
    net = dense(LocalReadout, lambda: Recurrent(LIF(0.8), AllToAll((8,))), sizes=(7, 8, 8))
    net.learn(*batch())
    assert all(block.neuron.synapse.weight.grad.abs().max() > 0 for block in net.blocks)


def test_an_unknown_error_is_refused(dense):
    with pytest.raises(UnknownNameError, match="squared"):
        dense(partial(LocalReadout, error="square"))


def test_a_similarity_term_joins_the_error_of_each_readout(network, batch):
    x, labels = batch("dense", "lif")
    plain, both = (network("dense", LocalReadout, "lif") for _ in range(2))
    both.load_state_dict(plain.state_dict())
    both.loss = DotProductLoss() + 3 * Similarity()
    gradients = []
    for net in (plain, both):
        net.learn(x, labels)
        gradients.append([next(block.parameters()).grad for block in net.blocks])
    twin = network("dense", LocalReadout, "lif")
    twin.load_state_dict(plain.state_dict())
    classes = twin.signal.classes
    for layer, one, other in zip(layer_graphs(twin, x), *gradients, strict=True):
        term = Similarity().compare_samples(layer.sent.mean(0), labels, classes, None)
        (alone,) = torch.autograd.grad(3 * term, next(layer.block.parameters()))
        assert alone.abs().max() > 0
        torch.testing.assert_close(other, one + alone)


@pytest.mark.parametrize(
    ("signal", "expected"),
    [(MultiLabelContext, F.binary_cross_entropy_with_logits), (VectorContext, F.mse_loss)],
)
def test_labels_and_values_have_the_loss_of_a_readout(signal, expected):
    """Not a softmax over them, which takes any numbers without a word."""
    net = mlp(
        (6,), 3, hidden=(5,), rule="local-readout",
        signal=lambda layout: signal(3, layout.currents[0]),
    ).eval()  # fmt: skip
    x, targets = torch.rand(4, 7, 6), torch.rand(7, 3, dtype=torch.float64)
    first, last = net.learn(x, targets).layers
    shown = net.rule.readouts[0](net.record(x, "spike")["block1"]["spike"])
    assert first.loss == pytest.approx(float(expected(shown, targets.float().expand(4, 7, 3))))
    assert last.loss == pytest.approx(float(expected(net(x), targets.float())))
