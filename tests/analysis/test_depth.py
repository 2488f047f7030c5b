"""The measures of every block: accuracies, spike rate, contexts, and the gradient's mean part."""

from __future__ import annotations

import pytest
import torch

from sigprop_snn.analysis import depth_profile, linear_probe, mean_input_shares, ridge_probe
from sigprop_snn.analysis.depth import context_likeness
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import (
    DotProductLoss,
    Similarity,
    SurrogateRule,
    VoltageRule,
    multi_label_context,
    vector_context,
    vgg,
)
from sigprop_snn.training import evaluate


def pictures(rows=60, seed=1):
    made = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % 4
    means = torch.randn(4, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    x = means[labels] + torch.randn(rows, 2, 8, 8, generator=made)
    return x.expand(3, *x.shape), labels


def network(**settings):
    torch.manual_seed(0)
    return vgg((2, 8, 8), 4, layers=(5, "pool", 6, 7), **settings)


def test_each_measure_equals_that_of_its_own_function():
    net, fitted, held = network(), pictures(), pictures(40, 2)
    for _ in range(5):
        net.learn(*fitted)
    found = depth_profile(net, [fitted], [held, pictures(20, 3)])
    evaluated = evaluate(net, [held, pictures(20, 3)]).layers
    assert [layer.name for layer in found] == ["block1", "block2", "block3"]
    for mine, theirs in zip(found, evaluated, strict=True):
        assert mine.context_accuracy == pytest.approx(theirs.accuracy)
        assert mine.spike_rate == pytest.approx(theirs.spike_rate)
    assert found[0].probe_accuracy > 0.8
    assert net.training


@pytest.mark.parametrize("rule", [VoltageRule("mean"), SurrogateRule()], ids=["voltage", "other"])
def test_the_share_is_that_of_the_mean_input(rule):
    net, (x, labels) = network(rule=rule), pictures()
    found = mean_input_shares(net, x, labels)
    assert list(found) == ["block1", "block2", "block3"]
    net.eval()
    stage = next(iter(net.stages(x, labels)))
    synapse = net.blocks[0].synapse
    gradient, bias = torch.autograd.grad(stage.loss, [synapse.weight, synapse.bias])
    mean = torch.nn.functional.unfold(x[0].mean(0, keepdim=True), 3, padding=1)[0].mean(1)
    along = bias[:, None] * mean
    expected = along.square().sum() / gradient.square().sum()
    assert found["block1"] == pytest.approx(float(expected), rel=1e-4)


def test_the_share_neither_depends_on_centring_nor_changes_the_network():
    x, labels = pictures()
    with_it, without = network(), network(centred=False)
    weights = {name: value.clone() for name, value in with_it.state_dict().items()}
    shares = mean_input_shares(with_it, x, labels)
    assert shares == pytest.approx(mean_input_shares(without, x, labels))
    assert [block.centred for block in with_it.blocks] == [False, True, True]
    assert all(torch.equal(value, weights[name]) for name, value in with_it.state_dict().items())
    assert all(p.grad is None for p in with_it.parameters())
    assert with_it.training


def test_a_rule_without_contexts_has_probes_alone():
    net = network(rule="backpropagation", neuron="rate")
    first = depth_profile(net, [pictures()], [pictures(40, 2)])[0]
    assert first.probe_accuracy > 0.8
    assert 0 < first.spike_rate < 1
    unknown = (
        first.context_accuracy,
        first.context_cosine,
        first.context_rank,
        first.mean_input_share,
    )
    assert unknown == (None, None, None, None)


def test_contexts_are_compared_on_the_grid_of_the_loss():
    x, labels = pictures()
    alone = network(loss=DotProductLoss(grid=2)).eval()
    summed = network(loss=DotProductLoss(grid=2) + 10 * Similarity()).eval()
    summed.load_state_dict(alone.state_dict(), strict=False)
    cosines = [
        [block.context_cosine for block in depth_profile(net, [(x, labels)], [(x, labels)])]
        for net in (alone, summed)
    ]
    assert cosines[0] == cosines[1]
    stage = next(iter(alone.stages(x)))
    contexts = torch.nn.functional.adaptive_avg_pool2d(stage.response.representation[60:], 2)
    assert cosines[0][0] == pytest.approx(context_likeness(contexts.flatten(1))[0], rel=1e-4)


def test_likeness_of_contexts():
    cosine, rank = context_likeness(torch.eye(4))
    assert cosine == 0.0
    assert rank == pytest.approx(3.0)
    cosine, rank = context_likeness(torch.tensor([[1.0, 0.1], [1.0, -0.1], [2.0, 0.2]]))
    assert cosine > 0.9
    assert rank == pytest.approx(1.0, abs=0.05)


def test_a_ridge_probe_agrees_with_a_logistic_one():
    made = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 4
    means = torch.randn(4, 12, generator=made)
    noisy = means[labels] + 1.5 * torch.randn(400, 12, generator=made)
    fit, held = slice(0, 300), slice(300, 400)
    parts = noisy[fit], labels[fit], noisy[held], labels[held]
    assert ridge_probe(*parts) == pytest.approx(linear_probe(*parts), abs=0.05)
    assert ridge_probe(*parts) == ridge_probe(*parts)
    constant = torch.zeros(300, 1)
    wider = torch.cat([noisy[fit], constant], 1), torch.cat([noisy[held], constant[:100]], 1)
    assert ridge_probe(wider[0], labels[fit], wider[1], labels[held]) == ridge_probe(*parts)
    with pytest.raises(SigpropError, match="3 samples"):
        ridge_probe(torch.rand(3, 2), torch.zeros(3), torch.rand(3, 2), torch.zeros(3))


def test_no_batches_are_refused():
    with pytest.raises(SigpropError, match="depth_profile"):
        depth_profile(network(), [], [pictures()])


@pytest.mark.parametrize(
    ("signal", "answers"), [(multi_label_context, "labels"), (vector_context, "values")]
)
def test_a_profile_asks_for_classes(signal, answers):
    batches = [(torch.rand(3, 6, 2, 8, 8), torch.rand(6, 4))]
    with pytest.raises(SigpropError, match=f"Context are {answers}; expected classes"):
        depth_profile(network(signal=signal), batches, batches)
