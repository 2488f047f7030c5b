"""Similarity matching against an example by hand, its formula, and the layer unrolled in time."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import (
    LOSSES,
    Block,
    DotProductLoss,
    MultiLabelContext,
    Network,
    Online,
    ProjectedContext,
    Readout,
    RunningNorm,
    Similarity,
    SurrogateRule,
    VectorContext,
    VoltageRule,
    conv,
    mlp,
)
from sigprop_snn.neurons import LIF

CLASSES, ROWS, STEPS, MAPS = 3, 6, 4, 5
LOSS = DotProductLoss(grid=2) + 10 * Similarity()
RULES = {"voltage": VoltageRule(), "surrogate": SurrogateRule()}


def centred_cosines(rows):
    rows = rows - rows.mean(1, keepdim=True)
    rows = rows / rows.square().sum(1, keepdim=True).sqrt()
    return rows @ rows.t()


def by_formula(features, fractions):
    return (centred_cosines(features) - centred_cosines(fractions)).square().mean()


def deviations(maps):
    positions = maps.flatten(2)
    return (positions - positions.mean(2, keepdim=True)).square().mean(2).sqrt()


def pictures(rule=None, loss=LOSS, **block):
    """Return a network of two convolutions and a fully connected block, in float64."""
    torch.manual_seed(0)
    blocks = [
        Block(nn.Conv2d(2, MAPS, 3, padding=1), LIF(0.8), norm=RunningNorm(MAPS, 1.0, 0.2)),
        Block(nn.Conv2d(MAPS, 4, 3, padding=1), LIF(0.8), norm=RunningNorm(4, 1.0, 0.2), **block),
        Block(nn.Sequential(nn.Flatten(), nn.Linear(64, 7)), LIF(0.8)),
    ]
    signal = ProjectedContext(CLASSES, (MAPS, 4, 4))
    network = Network(signal, blocks, Readout(7, CLASSES), rule=rule, loss=loss)
    return network.double()


def batch(seed=1):
    made = torch.Generator().manual_seed(seed)
    return (
        2 * torch.randn(STEPS, ROWS, 2, 4, 4, dtype=torch.float64, generator=made),
        torch.arange(ROWS) % CLASSES,
    )


def test_three_samples_by_hand():
    # Centred: (1, 0, -1), (1, -1, 0), (-1, 0, 1); their cosines are 1/2, -1 and -1/2.
    samples = torch.tensor([[3.0, 2.0, 1.0], [1.0, -1.0, 0.0], [4.0, 5.0, 6.0]])
    labels = torch.tensor([0, 0, 1])
    # Of two classes: 1 within a class, -1 between classes.
    of_two = Similarity().compare_samples(samples, labels, 2, None)
    assert float(of_two) == pytest.approx(2 * ((0.5 - 1) ** 2 + 0 + (-0.5 + 1) ** 2) / 9)
    # Of three classes: -1/2 between classes.
    of_three = Similarity().compare_samples(samples, labels, 3, None)
    assert float(of_three) == pytest.approx(2 * ((0.5 - 1) ** 2 + (-1 + 0.5) ** 2 + 0) / 9)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kernel, grid", [(0, None), (1, 3), (3, None), (3, 2), (3, 9), (5, None)])
def test_value_and_gradients_are_those_of_the_formula(kernel, grid, layout):
    torch.manual_seed(0)
    loss = Similarity(kernel=kernel, grid=grid)
    maps = torch.rand(ROWS, MAPS, 6, 4).double().to(memory_format=layout).requires_grad_()
    labels = torch.tensor([0, 1, 1, 2, 0, 3])
    head = loss.head(MAPS)
    learned = [maps]
    seen = maps if grid in (None, 9) else F.adaptive_avg_pool2d(maps, grid)
    if kernel:
        head.double()
        learned.append(head.weight)
        seen = F.conv2d(seen, head.weight, padding=kernel // 2)
    else:
        assert head is None
    theirs = by_formula(deviations(seen), F.one_hot(labels, 4).double())
    mine = loss.compare_samples(maps, labels, 4, head)
    torch.testing.assert_close(mine, theirs)
    grads = [torch.autograd.grad(3 * value, learned) for value in (mine, theirs)]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_soft_targets_are_compared_by_their_centred_cosines():
    torch.manual_seed(0)
    samples, fractions = torch.rand(ROWS, 8).double(), torch.rand(ROWS, 4).double().softmax(1)
    found = Similarity().compare_samples(samples, fractions, 4, None)
    torch.testing.assert_close(found, by_formula(samples, fractions))


def test_silent_samples_and_constant_maps_have_a_finite_loss_and_gradient():
    maps = torch.rand(ROWS, MAPS, 3, 3)
    maps[0] = 0.0
    maps[:, 1] = 2.0
    maps.requires_grad_()
    loss = Similarity(kernel=0).compare_samples(maps, torch.arange(ROWS) % 3, 3, None)
    loss.backward()
    assert loss.isfinite() and maps.grad.isfinite().all()
    assert not maps.grad[0].any()


def test_features_that_are_equal_but_for_rounding_teach_nothing():
    features = torch.tensor([[0.1], [0.7], [0.3], [1e-4]]).repeat(1, 13)
    features[::2, 0] *= 1 + 2e-7
    features.requires_grad_()
    labels = torch.tensor([0, 1, 2, 0])
    Similarity().compare_samples(features, labels, 3, None).backward()
    assert torch.count_nonzero(features.grad) == 0


def test_one_sample_teaches_nothing():
    rows = torch.rand(1, 5, requires_grad=True)
    loss = Similarity().compare_samples(rows, torch.tensor([1]), 3, None)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-12)
    torch.testing.assert_close(rows.grad, torch.zeros(1, 5))


def unrolled(block, inputs, rows, contexts, surrogate):
    """Return the representation of a block unrolled in time, resets held constant."""
    raw = torch.stack([block.synapse(step) for step in inputs])
    if isinstance(block.norm, RunningNorm):
        samples, wide = raw[:, :rows].detach(), (1, -1, 1, 1)
        mean = samples.mean((0, 1, 3, 4)).view(wide)
        size = ((samples - mean).square().mean((0, 1, 3, 4)) + 1e-6).sqrt().view(wide)
        raw = block.norm.gain.view(wide) * (raw - mean) / size + block.norm.shift.view(wide)
    voltage, seen = 0.0, []
    for current in raw:
        if contexts is not None:
            current = torch.cat([current, contexts])
        voltage = 0.8 * voltage + current
        seen.append(voltage)
        voltage = voltage - (voltage.detach() > 1).double()
    seen = torch.stack(seen)
    if surrogate:  # the default: a fast sigmoid of slope 4
        return (0.5 + 2 * (seen - 1) / (1 + 4 * (seen - 1).abs())).mean(0)
    return seen.mean(0).clamp(min=0)


@pytest.mark.parametrize("rule", RULES)
def test_the_gradients_of_every_block_are_those_of_the_unrolled_block(rule):
    network, (x, labels) = pictures(RULES[rule]), batch()
    inputs, contexts = x, network.signal.enter(x, labels).contexts.detach()
    right = F.one_hot(labels, CLASSES).double()
    stages = network.stages(x, labels)
    for name, block in network.named_blocks():
        stage = next(stages)
        network.zero_grad()
        stage.loss.backward()
        head = network.loss_head(name)
        learned = [block.synapse.weight if name != "block3" else block.synapse[1].weight]
        learned += [p for p in (head.parameters() if head is not None else [])]
        mine = [p.grad.clone() for p in learned]
        shown = unrolled(block, inputs, ROWS, contexts, rule == "surrogate")
        h, t = (F.adaptive_avg_pool2d(r, 2) if r.dim() == 4 else r for r in shown.split(
            [ROWS, CLASSES]))  # fmt: skip
        scores = 20 * F.cosine_similarity(h.flatten(1)[:, None], t.flatten(1)[None], dim=2)
        features = shown[:ROWS]
        if head is not None:
            (weight,) = head.parameters()
            features = deviations(F.conv2d(features, weight, padding=1))
        among = by_formula(features, right)
        expected = F.cross_entropy(scores, labels) + 10 * among
        torch.testing.assert_close(stage.loss, expected)
        theirs = torch.autograd.grad(expected, learned)
        for one, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)
            assert one.abs().max() > 1e-5
        inputs, contexts = stage.response.run.spike, None


@pytest.mark.parametrize("rule", RULES)
def test_the_loss_of_a_block_reaches_its_own_weights_and_nothing_else(rule):
    network = pictures(RULES[rule])
    groups = network.local_parameters()
    assert [len(list(head.parameters())) for head in network.loss_heads.values()] == [1, 1]
    for stage in network.stages(*batch()):
        network.zero_grad()
        stage.loss.backward()
        reached = {p for p in network.parameters() if p.grad is not None}
        assert reached == set(groups[stage.name])


def test_the_convolution_learns_by_local_optimizers():
    from sigprop_snn.training import LocalOptimizers

    network, (x, labels) = pictures(), batch()
    before = {name: head["1"].weight.clone() for name, head in network.loss_heads.items()}
    optimizers = LocalOptimizers(network, lambda weights: torch.optim.Adam(weights, 1e-2))
    losses = [network.learn(x, labels, optimizers.step).layers for _ in range(30)]
    for first, last in zip(losses[0][:3], losses[-1][:3], strict=True):
        assert last.loss < 0.8 * first.loss
    for name, weight in before.items():
        assert not torch.equal(network.loss_heads[name]["1"].weight, weight)


def test_prediction_and_weights_at_the_start_do_not_depend_on_the_term():
    x, _ = batch()
    plain, network = pictures(loss=DotProductLoss(grid=2)), pictures()
    state = plain.state_dict()
    extra = network.state_dict().keys() - state.keys()
    assert extra == {f"loss_heads.block{i}.1.weight" for i in (1, 2)}
    assert all(torch.equal(network.state_dict()[name], value) for name, value in state.items())
    with torch.no_grad():
        before = network(x)
        assert torch.equal(before, plain(x))
        for weight in network.loss_heads.parameters():
            weight.fill_(float("nan"))
        assert torch.equal(before, network(x))


def test_the_convolution_is_saved_and_loaded_with_the_network():
    first, second = pictures(), pictures()
    x, labels = batch()
    for weight in first.loss_heads.parameters():
        nn.init.normal_(weight)
    second.load_state_dict(first.state_dict())
    mine, theirs = first.learn(x, labels), second.learn(x, labels)
    assert [layer.loss for layer in mine.layers] == [layer.loss for layer in theirs.layers]


def test_a_run_is_trained_and_loaded_by_the_name_of_the_loss(tmp_path):
    from sigprop_snn.training import TrainConfig, load_run, train

    config = TrainConfig(
        "digits", network="conv", loss="dot-product+similarity", epochs=1, steps=2, batch_size=20,
        train_samples=40, test_samples=20, device="cpu", out=tmp_path / "run",
    )  # fmt: skip
    trained = train(config, say=lambda _: None).network
    loaded = load_run(tmp_path / "run").network
    assert loaded.loss == LOSSES["dot-product+similarity"]() == trained.loss
    assert {"block1", "block2", "block3"} == set(loaded.loss_heads)
    for name, value in trained.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)


def test_a_frozen_block_has_a_frozen_convolution():
    network = pictures(frozen=True)
    assert network.local_parameters()["block2"] == []
    x, labels = batch()
    updated = []
    network.learn(x, labels, updated.append)
    assert updated == ["block1", "block3", "readout"]


def test_costs_and_angles_leave_the_convolution_out():
    from sigprop_snn.analysis import update_angles
    from sigprop_snn.monitors import cost

    x, labels = batch()
    plain, network = pictures(loss=DotProductLoss(grid=2)), pictures()
    assert cost(plain, [(x, labels)]) == cost(network, [(x, labels)])
    counts = [[a.parameters for a in update_angles(n, x, labels)] for n in (plain, network)]
    assert counts[0] == counts[1]


def test_a_block_can_have_the_term_alone():
    network = pictures(loss=DotProductLoss())
    network.blocks[1].loss = LOSS
    again = Network(network.signal, list(network.blocks), loss=network.loss)
    assert list(again.loss_heads) == ["block2"]


@pytest.mark.parametrize("signal", [VectorContext, MultiLabelContext])
def test_values_and_several_labels_are_compared_as_well(signal):
    torch.manual_seed(0)
    base = "binary" if signal is MultiLabelContext else "l2"
    loss = LOSSES[base]() + 10 * Similarity()
    network = mlp(
        (6,), 4, hidden=(9,), loss=loss, signal=lambda at: signal(at.classes, at.currents[0])
    )
    x, targets = torch.rand(3, 8, 6), torch.rand(8, 4).round()
    plain = LOSSES[base]()
    entry = network.signal.enter(x, targets)
    first = next(iter(network.stages(x, targets)))
    samples, contexts = first.response.representation.split([8, len(entry.contexts)])
    alone = plain.loss(plain.scores(samples, contexts), entry.targets)
    features, labels = samples.double(), entry.targets.double()
    kept = labels.std(1) > 1e-6  # the others have no direction
    difference = torch.zeros(8, 8).double()
    found, expected = centred_cosines(features), torch.zeros(8, 8).double()
    expected[kept[:, None] & kept] = centred_cosines(labels[kept]).flatten()
    difference = (found - expected).square().mean()
    torch.testing.assert_close(first.loss.double(), alone.double() + 10 * difference)


def test_contexts_of_each_sample_leave_the_classes_to_compare():
    torch.manual_seed(0)
    loss = DotProductLoss() + 10 * Similarity()
    network = mlp((12,), CLASSES, hidden=(9,), loss=loss, signal="conditioned-context")
    x, labels = torch.rand(3, ROWS, 12), torch.arange(ROWS) % CLASSES
    torch.manual_seed(1)
    first = next(iter(network.stages(x, labels)))
    network.loss = DotProductLoss()
    torch.manual_seed(1)
    plain = next(iter(network.stages(x, labels)))
    features = first.response.representation[:ROWS]
    among = by_formula(features, F.one_hot(labels, CLASSES).float())
    torch.testing.assert_close(first.loss, plain.loss + 10 * among)


def test_selected_targets_do_not_change_what_samples_are_compared_with():
    x, labels = batch()
    selecting = DotProductLoss(grid=2, select="top-k")
    both, alone = pictures(loss=selecting + 10 * Similarity()), pictures(loss=selecting)
    stages = zip(both.stages(x, labels), alone.stages(x, labels), strict=True)
    for (name, _), (stage, plain) in zip(both.named_blocks(), stages, strict=False):
        head = both.loss_head(name)
        samples = stage.response.representation[:ROWS]
        own = head["1"] if head is not None else None
        among = Similarity().compare_samples(samples, labels, CLASSES, own)
        torch.testing.assert_close(stage.loss, plain.loss + 10 * among)


def test_a_block_that_receives_several_blocks_has_one_convolution():
    network = conv((1, 8, 8), 3, channels=(4, 5, 6), sources=3, loss=LOSS)
    sizes = [tuple(head["1"].weight.shape) for head in network.loss_heads.values()]
    assert sizes == [(maps, maps, 3, 3) for maps in (4, 5, 6)]
    groups = network.local_parameters()
    for stage in network.stages(torch.rand(2, 6, 1, 8, 8), torch.arange(6) % 3):
        network.zero_grad()
        stage.loss.backward()
        assert {p for p in network.parameters() if p.grad is not None} == set(groups[stage.name])


def test_it_learns_online():
    network = conv((1, 8, 8), 3, channels=(4, 5), loss="dot-product+similarity")
    learned = Online(network).learn(torch.rand(2, 6, 1, 8, 8), torch.arange(6) % 3)
    assert all(math.isfinite(layer.loss) for layer in learned.layers)
    assert all(weight.grad.any() for weight in network.loss_heads.parameters())


@pytest.mark.parametrize("kernel", [-1, 2, 1.0, True, None])
def test_a_kernel_is_odd_or_zero(kernel):
    with pytest.raises(SigpropError, match=f"kernel {kernel!r}"):
        Similarity(kernel=kernel)


@pytest.mark.parametrize("grid", [1, 0, 2.0, True])
def test_a_grid_has_at_least_two_positions_per_side(grid):
    with pytest.raises(SigpropError, match=f"grid of Similarity is {grid!r}"):
        Similarity(grid=grid)


def test_alone_it_can_teach_no_network():
    with pytest.raises(SigpropError, match=r"Similarity\(kernel=3, grid=None\).*DotProductLoss"):
        mlp((6,), 3, loss=Similarity())
    with pytest.raises(SigpropError, match=r"10 \* Similarity\(kernel=3, grid=None\)"):
        mlp((6,), 3, loss=10 * Similarity())
    with pytest.raises(SigpropError, match="no scores"):
        Similarity().scores(torch.rand(2, 3), torch.rand(2, 3))
    with pytest.raises(SigpropError, match="no scores"):
        (2 * Similarity()).compare(torch.rand(2, 3), torch.rand(2, 3), torch.tensor([0, 1]))


def test_representations_that_it_cannot_use_are_refused():
    x, labels = batch()
    network = pictures(loss=DotProductLoss())
    network.loss = LOSS  # too late for a convolution
    with pytest.raises(SigpropError, match=r"\[5, 4, 4\].*kernel=0"):
        network.learn(x, labels)
    with pytest.raises(SigpropError, match=r"\[4, 1, 1\]"):
        Similarity().compare_samples(torch.rand(6, 4, 1, 1), labels, 3, Similarity().head(4))
    with pytest.raises(SigpropError, match=r"\[3, 2, 2\]"):
        Similarity().compare_samples(torch.rand(6, 3, 2, 2), labels, 3, Similarity().head(4))
    with pytest.raises(SigpropError, match=r"\[4, 8\]"):
        Similarity().compare_samples(torch.rand(6, 4, 8), labels, 3, Similarity().head(4))
