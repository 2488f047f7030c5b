"""Learning while time goes on, against the whole sample learned at once."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import (
    Block,
    DotProductLoss,
    Network,
    Online,
    ProjectedContext,
    Readout,
    RunningNorm,
    RunningScale,
    Similarity,
    SurrogateRule,
    VoltageRule,
    conv,
    learn_in_parts,
    mlp,
)
from sigprop_snn.network.every_step import EveryStep
from sigprop_snn.neurons import LIF, QIF, CurrentLIF
from sigprop_snn.neurons.recurrent import recurrent_lif
from sigprop_snn.training import LocalOptimizers

RULES = [VoltageRule(), VoltageRule("sigmoid"), SurrogateRule()]
pytestmark = pytest.mark.filterwarnings("ignore:.*has no fixed linear filter")


def gradients(network):
    return {n: p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}


def still(network):
    """Normalisers keep their statistics, so that a sample in parts sees what the whole one sees."""
    for block in network.blocks:
        block.eval()
    return network


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_one_part_is_the_whole_sample(dense, batch, rule):
    x, labels = batch(steps=7)
    whole, parts = still(dense(rule)), still(dense(rule))
    expected = whole.learn(x, labels)
    got = Online(parts).learn(x, labels)
    torch.testing.assert_close(got.scores, expected.scores)
    for name, grad in gradients(whole).items():
        torch.testing.assert_close(gradients(parts)[name], grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("neuron", [LIF, CurrentLIF, lambda: recurrent_lif((9,))])
def test_after_the_last_part_the_gradient_is_that_of_the_whole_sample(batch, neuron, every):
    def make():
        torch.manual_seed(0)
        blocks = [Block(nn.Linear(a, 9), neuron(), norm=RunningScale(9, 2.0)) for a in (6, 9)]
        signal = ProjectedContext(4, (9,), gain=2.0)
        return still(Network(signal, blocks, Readout(9, 4)).double())

    x, labels = batch(steps=7)
    whole, parts = make(), make()
    expected = whole.learn(x, labels)
    online = Online(parts)
    for part in x.split(every):
        parts.zero_grad()
        got = online.learn(part, labels)
    torch.testing.assert_close(got.scores, expected.scores)
    assert [r.loss for r in got.layers] == pytest.approx([r.loss for r in expected.layers])
    for name, grad in gradients(whole).items():
        torch.testing.assert_close(gradients(parts)[name], grad, rtol=1e-9, atol=1e-12)


def test_the_surrogate_rule_takes_the_trace_of_all_the_past():
    """By hand: one neuron, two parts; the second's gradient reaches the input of the first."""
    torch.manual_seed(0)
    beta = 0.8
    block = Block(nn.Linear(3, 5, bias=False), LIF(beta))
    network = Network(ProjectedContext(2, (5,), learned=False), [block], rule=SurrogateRule())
    network.double()
    x, labels = torch.rand(5, 4, 3).double(), torch.tensor([0, 1, 0, 1])
    online = Online(network)
    online.learn(x[:3], labels)
    network.zero_grad()
    online.learn(x[3:], labels)

    weight = block.synapse.weight.detach().clone().requires_grad_()
    surrogate, context = block.neuron.surrogate, network.signal().detach()
    samples, contexts = torch.zeros(4, 5).double(), torch.zeros(2, 5).double()
    shown = []
    for step in x:
        samples = beta * samples + step @ weight.t()
        contexts = beta * contexts + context
        both = torch.cat([samples, contexts])
        shown.append(surrogate.f(both - 1.0))
        spike = (both > 1.0).double()
        samples, contexts = samples - spike[:4], contexts - spike[4:]
    total, newest = torch.stack(shown).mean(0).detach(), torch.stack(shown[3:]).mean(0)
    seen = total + (newest - newest.detach())
    loss = network.loss.loss(network.loss.scores(seen[:4], seen[4:]), labels)
    (expected,) = torch.autograd.grad(loss, weight)
    torch.testing.assert_close(block.synapse.weight.grad, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rule", RULES[::2], ids=str)
def test_a_model_without_a_filter_learns_from_the_newest_part(batch, rule):
    torch.manual_seed(0)
    network = Network(ProjectedContext(4, (9,)), [Block(nn.Linear(6, 9), QIF())], rule=rule)
    network.double()
    x, labels = batch(steps=6)
    learn_in_parts(network, x, labels, None, every=2)
    assert network.blocks[0].synapse.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("rule", RULES[::2], ids=str)
def test_a_stream_is_learned_step_by_step(dense, batch, rule):
    network = dense(rule)
    optimizers = LocalOptimizers(network, lambda group: torch.optim.Adam(group, lr=1e-2))
    online = Online(network, window=10)
    right = []
    for _ in range(60):
        x, labels = batch(steps=3, seed=1)
        right.append(online.learn(x, labels, optimizers.step).layers[0].correct)
    assert sum(right[-10:]) > 0.9 * 80 > 8 * sum(right[:2])


def test_what_is_kept_does_not_grow_with_time(dense, batch):
    network = dense(VoltageRule())
    online = Online(network, window=20)

    def kept():
        def size(part):
            if isinstance(part, torch.Tensor):
                return part.untyped_storage().nbytes()
            if isinstance(part, tuple | list):
                return sum(map(size, part))
            is_past = type(part).__module__ == "sigprop_snn.network.past"
            return sum(map(size, vars(part).values())) if is_past else 0

        return sum(size(past) for past in online._past.values())

    sizes = []
    for _ in range(30):
        x, labels = batch(steps=2)
        online.learn(x, labels)
        sizes.append(kept())
    assert sizes[0] == sizes[-1] > 0


def test_a_reset_starts_at_rest(dense, batch):
    x, labels = batch()
    online = Online(still(dense(VoltageRule())))
    first = online.learn(x, labels).scores
    assert not torch.equal(online.learn(x, labels).scores, first)
    online.reset()
    assert torch.equal(online.learn(x, labels).scores, first)


@pytest.mark.parametrize("centred", [True, "running"])
def test_an_unrolled_block_is_centred_as_in_learn(centred):
    torch.manual_seed(0)
    network = conv((1, 8, 8), 4, channels=(6, 7), neuron="plif", centred=centred)
    twin = copy.deepcopy(network)
    x, labels = (torch.rand(5, 6, 1, 8, 8) < 0.4).float(), torch.arange(6) % 4
    network.learn(x, labels)
    Online(twin).learn(x, labels)
    for (name, one), other in zip(network.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=name)


def test_pictures_in_any_order_of_memory_teach_the_same():
    torch.manual_seed(0)
    network = mlp((3, 4, 4), 4, hidden=(16,)).eval()
    twin = copy.deepcopy(network)
    x, labels = torch.rand(6, 5, 4, 4, 3).permute(0, 1, 4, 2, 3), torch.arange(5) % 4
    learn_in_parts(network, x, labels, None, 1)
    learn_in_parts(twin, x.contiguous(), labels, None, 1)
    for (name, one), other in zip(network.named_parameters(), twin.named_parameters(), strict=True):
        torch.testing.assert_close(one.grad, other[1].grad, msg=name)


def test_looking_is_not_learning(dense, batch):
    x, _ = batch()
    network = dense(VoltageRule()).eval()
    scores = Online(network)(x)
    torch.testing.assert_close(scores, network(x))
    assert all(p.grad is None for p in network.parameters())


def test_other_rows_are_refused_until_a_reset(dense, batch):
    x, labels = batch(rows=8)
    online = Online(dense(VoltageRule()))
    online.learn(x, labels)
    with pytest.raises(SigpropError, match="expected the same rows as before"):
        online.learn(x[:, :4], labels[:4])


def test_another_dtype_is_refused_until_a_reset(dense, batch):
    x, labels = batch()
    network = dense(VoltageRule()).float()
    online = Online(network)
    online.learn(x.float(), labels)
    network.double()
    for call in (lambda: online.learn(x, labels), lambda: online(x)):
        with pytest.raises(SigpropError, match=r"is torch.float64 on cpu after .*float32.*a reset"):
            call()
    online.reset()
    online.learn(x, labels)


def test_numbers_that_make_no_sense_are_refused(dense, batch):
    x, labels = batch()
    with pytest.raises(SigpropError, match="window is 0"):
        Online(dense(), window=0)
    with pytest.raises(SigpropError, match="every is 0"):
        learn_in_parts(dense(), x, labels, None, every=0)


def usual(norm, *, frozen=False, centred=False):
    torch.manual_seed(0)
    first = nn.Sequential(nn.Flatten(), nn.Linear(6, 9))
    synapses = [first, nn.Linear(9, 9, bias=False)]
    blocks = [Block(synapse, LIF(), norm=norm(9), centred=centred) for synapse in synapses]
    blocks[1].requires_grad_(not frozen)
    return Network(ProjectedContext(4, (9,), gain=2.0), blocks, Readout(9, 4))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("norm", "centred"),
    [
        (RunningScale, False),
        (RunningNorm, False),
        (lambda _: None, False),
        (RunningNorm, "batch"),
        (RunningNorm, "running"),
    ],
)
def test_steps_without_a_graph_learn_what_steps_with_one_do(norm, centred, dtype, frozen):
    shape = (7, 8, 2, 3)  # flattened by the first block
    x, labels = (torch.rand(shape) < 0.4).to(dtype), torch.arange(8) % 4
    made = (usual(norm, frozen=frozen, centred=centred) for _ in range(2))
    networks, learned = [network.to(dtype) for network in made], []
    # A hook sees what a block sends, so this network takes the general path.
    networks[1].blocks[0].register_forward_hook(lambda *_: None)
    for network in networks:
        optimizers = LocalOptimizers(network, lambda group: torch.optim.SGD(group, lr=0.1))
        online = Online(network, window=5)
        for step in x.split(1):
            got = online.learn(step, labels, optimizers.step)
            assert (online._every_step.takes(step, online._past)) == (network is networks[0])
        learned.append(got)
    torch.testing.assert_close(learned[0].scores, learned[1].scores, rtol=1e-4, atol=1e-4)
    assert learned[0].layers[0].loss == pytest.approx(learned[1].layers[0].loss, rel=1e-4)
    for name, value in networks[0].state_dict().items():
        other = networks[1].state_dict()[name]
        torch.testing.assert_close(value, other, rtol=1e-4, atol=1e-4, msg=name)


def test_gradients_of_steps_add_up_without_an_update(batch):
    x, labels = batch(steps=3)
    twice, once = (usual(RunningScale).double() for _ in range(2))
    for network in (twice, once):
        still(network)
        online = Online(network)
        for step in x.split(1):
            if network is once:
                network.zero_grad()
            before = gradients(network)
            online.learn(step, labels)
        if network is twice:
            added = {name: grad - before[name] for name, grad in gradients(network).items()}
    for name, grad in gradients(once).items():
        torch.testing.assert_close(added[name], grad, msg=name)


def test_numbers_that_are_not_finite_are_refused_at_every_step(batch):
    x, labels = batch(steps=3)
    x[2, 1, 0] = float("nan")
    online = Online(usual(RunningScale).double())
    online.learn(x[:1], labels)
    online.learn(x[1:2], labels)
    with pytest.raises(SigpropError, match=r"nan at \[0, 1, 0\]"):
        online.learn(x[2:], labels)


def test_a_network_with_other_parts_takes_the_general_path():
    def fits(**changed):
        network = usual(RunningScale)
        for name, value in changed.items():
            setattr(network.blocks[1], name, value)
        return EveryStep.of(network, VoltageRule()) is not None

    assert fits()
    assert not fits(neuron=CurrentLIF())
    assert not fits(rule=SurrogateRule())
    assert not fits(rule=VoltageRule("mean"))
    assert not fits(loss=DotProductLoss(normalise="none"))
    assert not fits(loss=DotProductLoss(centred=True))
    assert not fits(loss=DotProductLoss(select="top-k"))
    assert not fits(synapse=nn.Sequential(nn.Linear(9, 9), nn.ReLU()))
    assert not fits(pool=nn.AvgPool1d(3))
    assert not fits(loss=DotProductLoss() + Similarity())


def test_hooks_of_weights_see_the_gradient_of_every_step(batch):
    network, seen = usual(RunningScale).double(), []
    network.blocks[1].synapse.weight.register_hook(seen.append)
    network.blocks[0].norm.gain.register_post_accumulate_grad_hook(seen.append)
    x, labels = batch(steps=3)
    learn_in_parts(network, x, labels, None, 1)
    assert len(seen) == 6


@pytest.mark.parametrize("part", ["synapse", "loss", "network's loss"])
def test_a_part_that_is_replaced_between_two_steps_is_the_one_that_learns(dense, batch, part):
    """The same stream on the general path, which a hook asks for, is the oracle."""
    x, labels = batch(steps=4)
    found = []
    for hooked in (False, True):
        network = still(dense())
        online = Online(network)
        online.learn_in_parts(x[:3], labels, every=1)
        network.zero_grad()
        block = network.blocks[1]
        if part == "synapse":
            block.synapse = copy.deepcopy(block.synapse)
        elif part == "loss":
            block.loss = DotProductLoss(scale=2.0)
        else:
            network.loss = DotProductLoss(scale=2.0)
        if hooked:
            block.register_forward_hook(lambda *_: None)
        online.learn(x[3:], labels)
        found.append(gradients(network))
    one, other = found
    assert one.keys() == other.keys() == dict(network.named_parameters()).keys()
    for name, grad in one.items():
        torch.testing.assert_close(grad, other[name])


def test_a_past_is_of_no_use_to_another_rule_or_neuron(dense, batch):
    x, labels = batch(steps=2)
    network = dense()
    online = Online(network)
    network.rule = SurrogateRule()
    assert online.layer_rule == SurrogateRule()  # that of the network, not of the past
    online.learn(x[:1], labels)
    network.rule = VoltageRule()
    for use in (lambda: online(x[1:]), lambda: online.learn(x[1:], labels)):
        with pytest.raises(SigpropError, match=r"rule or the neuron of a block.*reset"):
            use()
    online.reset()
    online.learn(x[:1], labels)
    network.blocks[0].neuron = LIF(0.5)
    with pytest.raises(SigpropError, match=r"rule or the neuron of a block.*reset"):
        online.learn(x[1:], labels)
