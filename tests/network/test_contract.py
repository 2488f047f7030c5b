"""A network is a PyTorch module like any other, and inference and learning are one path."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

from sigprop_snn.layers.scoring import hits
from sigprop_snn.network import (
    Block,
    DotProductLoss,
    Network,
    ProjectedContext,
    Readout,
    SurrogateRule,
    VoltageRule,
    mlp,
)
from sigprop_snn.network.mode import evaluation_mode
from sigprop_snn.neurons import LIF
from sigprop_snn.neurons.engines import DenseSpikes
from sigprop_snn.predict import PREDICTIONS

BOTH = [pytest.param(VoltageRule(), id="voltage"), pytest.param(SurrogateRule(), id="surrogate")]
KINDS = {"dense": (6,), "pictures": (2, 8, 8)}


def grads(module: nn.Module) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


def trained(network: Network, x, labels, steps: int = 3) -> Network:
    optimizer = torch.optim.SGD(network.parameters(), 0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        network.learn(x, labels)
        optimizer.step()
    return network


def test_every_parameter_is_listed_once_and_by_layer(dense):
    network = dense()
    listed = list(network.parameters())
    assert len(listed) == len(set(listed)) == 3 * 3 + 1 + 2
    groups = network.local_parameters()
    assert list(groups) == ["block1", "block2", "block3", "readout"]
    assert {p for group in groups.values() for p in group} == set(listed)
    assert network.signal.projection in set(groups["block1"])


@pytest.mark.parametrize("kind", KINDS)
def test_state_dict_round_trip_carries_weights_and_statistics(request, batch, tmp_path, kind):
    make = request.getfixturevalue(kind)
    x, labels = batch(KINDS[kind])
    network = trained(make(), x, labels)
    torch.save(network.state_dict(), tmp_path / "network.pt")
    other = make(seed=1)
    other.load_state_dict(torch.load(tmp_path / "network.pt", weights_only=True))
    assert torch.equal(network.eval()(x), other.eval()(x))
    first, second = network.train().learn(x, labels), other.train().learn(x, labels)
    assert first.layers == second.layers
    assert torch.equal(copy.deepcopy(network).eval()(x), network.eval()(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", BOTH)
def test_to_moves_everything_to_another_type(request, batch, rule, kind, dtype):
    network = request.getfixturevalue(kind)(rule).to(dtype)
    x, labels = batch(KINDS[kind])
    x = x.to(dtype)
    learned = network.learn(x, labels)
    assert learned.scores.dtype == network(x).dtype == dtype
    assert all(p.grad.dtype == dtype and torch.isfinite(p.grad).all() for p in network.parameters())
    floats = [b for b in network.buffers() if b.is_floating_point()]
    assert all(b.dtype == dtype for b in floats)


@pytest.mark.parametrize("rule", BOTH)
def test_half_precision_takes_a_batch_of_real_size(rule):
    """128 rows of 800 neurons: a sum over them leaves float16's range, the voltages don't."""
    torch.manual_seed(0)
    network = mlp((64,), 10, hidden=(800,), rule=rule).to(torch.float16)
    network.learn(3 * torch.rand(3, 128, 64).half(), torch.arange(128) % 10)
    assert all(torch.isfinite(b).all() for b in network.buffers())


@pytest.mark.parametrize("rule", BOTH)
def test_single_precision_is_near_double_precision(dense, batch, rule):
    x, labels = batch()
    network = dense(rule)
    single = copy.deepcopy(network).float()
    network.learn(x, labels)
    single.learn(x.float(), labels)
    for a, b in zip(network.parameters(), single.parameters(), strict=True):
        torch.testing.assert_close(b.grad.double(), a.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.SGD(p, 0.05, momentum=0.9),
        lambda p: torch.optim.Adam(p, 0.01),
        lambda p: torch.optim.AdamW(p, 0.01),
        lambda p: torch.optim.RMSprop(p, 0.005),
    ],
    ids=["sgd", "adam", "adamw", "rmsprop"],
)
@pytest.mark.parametrize("rule", BOTH)
def test_any_optimizer_brings_every_layers_loss_down(dense, batch, rule, optimizer):
    network = dense(rule)
    x, labels = batch(rows=16)
    stepper = optimizer(network.parameters())
    losses = []
    for _ in range(60):
        stepper.zero_grad()
        losses.append([layer.loss for layer in network.learn(x, labels).layers])
        stepper.step()
    for first, last in zip(losses[0], losses[-1], strict=True):
        assert last < 0.8 * first


@pytest.mark.parametrize("rule", BOTH)
def test_a_small_step_down_each_gradient_lowers_that_layers_loss(dense, batch, rule):
    """The sign of every gradient, layer by layer."""
    x, labels = batch()
    network = dense(rule).eval()  # statistics of the normalisers stand still
    before = network.learn(x, labels).layers
    for index, (name, group) in enumerate(network.local_parameters().items()):
        moved = copy.deepcopy(network)
        with torch.no_grad():
            for parameter, source in zip(moved.local_parameters()[name], group, strict=True):
                parameter.sub_(1e-5 * source.grad)
        assert moved.learn(x, labels).layers[index].loss < before[index].loss


@pytest.mark.parametrize("rule", BOTH)
def test_gradients_add_up_over_batches_like_any_modules(dense, batch, rule):
    x, labels = batch()
    network = dense(rule).eval()
    network.learn(x, labels)
    once = grads(network)
    network.learn(x, labels)
    for name, grad in grads(network).items():
        torch.testing.assert_close(grad, 2 * once[name])


@pytest.mark.parametrize("rule", BOTH)
def test_a_frozen_block_keeps_its_weights_and_the_others_learn(dense, batch, rule):
    network = dense(rule)
    reference = dense(rule)
    frozen = network.blocks[1]
    network.blocks[1] = Block(frozen.synapse, frozen.neuron, norm=frozen.norm, frozen=True)
    x, labels = batch()
    before = copy.deepcopy(network.state_dict())
    called = []
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    report = network.learn(x, labels, called.append).layers
    reference.learn(x, labels)
    assert called == ["block1", "block3", "readout"]
    assert [layer.name for layer in report] == ["block1", "block2", "block3", "readout"]
    assert network.local_parameters()["block2"] == []
    assert all(p.grad is None for p in network.blocks[1].parameters())
    mine, theirs = grads(network), grads(reference)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    optimizer.step()
    after = network.state_dict()
    for name, parameter in network.named_parameters():
        assert torch.equal(before[name], after[name]) == name.startswith("blocks.1.")
        assert parameter.requires_grad != name.startswith("blocks.1.")


def test_a_block_is_frozen_and_freed_after_it_was_made(dense, batch):
    network, (x, labels) = dense(), batch()
    block = network.blocks[1]
    block.frozen = True
    network.learn(x, labels)
    assert network.local_parameters()["block2"] == []
    assert all(p.grad is None for p in block.parameters())
    block.frozen = False
    network.learn(x, labels)
    assert all(p.grad is not None for p in block.parameters())


def test_a_fixed_signal_does_not_learn(batch):
    torch.manual_seed(0)
    signal = ProjectedContext(4, (5,), learned=False)
    network = Network(signal, [Block(nn.Linear(6, 5), LIF())], Readout(5, 4)).double()
    network.learn(*batch())
    assert signal.projection.grad is None
    assert network.blocks[0].synapse.weight.grad is not None
    assert signal.projection not in set(network.local_parameters()["block1"])


def test_a_block_may_have_its_own_rule_and_loss(dense, batch):
    x, labels = batch()
    voltage, surrogate, mixed = dense(VoltageRule()), dense(SurrogateRule()), dense(VoltageRule())
    mixed.blocks[1].rule = SurrogateRule()
    mixed.blocks[2].loss = DotProductLoss(scale=3.0)
    for network in (voltage, surrogate, mixed):
        network.learn(x, labels)
    third = dense(VoltageRule(), loss=DotProductLoss(scale=3.0))
    third.learn(x, labels)
    for index, source in enumerate((voltage, surrogate, third)):
        mine, theirs = grads(mixed.blocks[index]), grads(source.blocks[index])
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert not torch.equal(
        voltage.blocks[1].synapse.weight.grad, surrogate.blocks[1].synapse.weight.grad
    )


@pytest.mark.parametrize("rule", BOTH)
def test_update_is_called_as_soon_as_a_layers_gradient_is_there(dense, batch, rule):
    network = dense(rule)
    groups = network.local_parameters()
    seen = []

    def update(name):
        done = [n for n, ps in groups.items() if all(p.grad is not None for p in ps)]
        waiting = [n for n, ps in groups.items() if all(p.grad is None for p in ps)]
        seen.append((name, done, waiting))

    network.learn(*batch(), update)
    order = ["block1", "block2", "block3", "readout"]
    assert seen == [(name, order[: i + 1], order[i + 1 :]) for i, name in enumerate(order)]


def test_optimizers_may_be_a_function_or_an_object_with_a_step(dense, batch):
    class Optimizers:
        def __init__(self):
            self.names = []

        def step(self, layer):
            self.names.append(layer)

    x, labels = batch()
    by_step, by_call = Optimizers(), []
    dense().learn(x, labels, by_step)
    dense().learn(x, labels, by_call.append)
    assert by_step.names == by_call == ["block1", "block2", "block3", "readout"]


@pytest.mark.parametrize("rule", BOTH)
def test_updating_on_the_way_equals_updating_afterwards(dense, batch, rule):
    """The pass goes on with the spikes it has: a layer's update shows from the next batch on."""
    x, labels = batch()
    after, on_the_way = dense(rule), dense(rule)
    for _ in range(3):
        for p in [*after.parameters(), *on_the_way.parameters()]:
            p.grad = None
        after.learn(x, labels)
        with torch.no_grad():
            for p in after.parameters():
                p.sub_(0.05 * p.grad)

        def update(name, network=on_the_way):
            with torch.no_grad():
                for p in network.local_parameters()[name]:
                    p.sub_(0.05 * p.grad)

        on_the_way.learn(x, labels, update)
    for a, b in zip(after.parameters(), on_the_way.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("rule", BOTH)
def test_learn_leaves_no_graph_behind(dense, batch, rule):
    network = dense(rule)
    x, labels = batch()
    alive = []
    for module in (*network.blocks, network.readout):
        module.synapse.register_forward_hook(lambda _, __, out: alive.append(weakref.ref(out)))
    learned = network.learn(x, labels)
    gc.collect()
    assert len(alive) >= 4
    assert [ref for ref in alive if ref() is not None] == []
    assert not learned.scores.requires_grad
    assert all(isinstance(layer.loss, float) for layer in learned.layers)
    assert not any(b.requires_grad for b in network.buffers())
    assert all(p.grad.grad_fn is None for p in network.parameters())


@pytest.mark.parametrize("predict", ["readout", "context"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", BOTH)
def test_prediction_is_repeatable_and_carries_no_gradient(request, batch, rule, kind, predict):
    x, labels = batch(KINDS[kind])
    network = trained(request.getfixturevalue(kind)(rule, predict=predict), x, labels).eval()
    before = copy.deepcopy(network.state_dict())
    scores = network(x)
    assert scores.shape == (8, 4)
    assert not scores.requires_grad
    assert torch.equal(scores, network(x))
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


@pytest.mark.parametrize("predict", ["readout", "context"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", BOTH)
def test_a_rows_result_does_not_depend_on_the_others(request, batch, rule, kind, predict):
    x, labels = batch(KINDS[kind])
    network = trained(request.getfixturevalue(kind)(rule, predict=predict), x, labels).eval()
    together = network(x)
    alone = torch.cat([network(x[:, i : i + 1]) for i in range(8)])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-10)
    others = x.clone()
    others[:, 1:] = 7.0
    torch.testing.assert_close(network(others)[:1], together[:1], rtol=0, atol=1e-10)
    order = torch.tensor([3, 1, 0, 7, 5, 4, 6, 2])
    torch.testing.assert_close(network(x[:, order]), together[order], rtol=0, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rule", BOTH)
def test_the_contexts_change_nothing_for_the_samples(request, batch, rule, kind):
    x, labels = batch(KINDS[kind])
    network = trained(request.getfixturevalue(kind)(rule), x, labels).eval()
    spikes = DenseSpikes(x)
    stages = list(network.stages(x, labels))
    for block, stage in zip(network.blocks, stages, strict=False):
        with torch.no_grad():
            response = rule.respond(block, spikes, learn=False)
        assert response.run.spike.sum() > 0
        assert torch.equal(stage.response.run.spike[:, :8], response.run.spike)
        assert stage.response.run.spike.shape[1] == 8 + 4
        spikes = response.run.spikes.pooled(block.pool)
    torch.testing.assert_close(stages[-1].scores, network(x))
    assert [s.name for s in stages] == [
        *(f"block{i + 1}" for i in range(len(stages) - 1)),
        "readout",
    ]


@pytest.mark.parametrize("rule", BOTH)
def test_learning_and_inference_see_the_same_scores(dense, batch, rule):
    x, labels = batch()
    for predict, name in (("readout", "readout"), ("context", "block3")):
        network = trained(dense(rule, predict=predict), x, labels).eval()
        torch.testing.assert_close(network.learn(x, labels).scores, network(x))
        by_name = {stage.name: stage for stage in network.stages(x)}
        torch.testing.assert_close(by_name[name].scores, network(x))
        assert all(stage.loss is None for stage in by_name.values())


@pytest.mark.parametrize("predict", PREDICTIONS)
def test_what_is_counted_as_right_is_what_the_networks_own_scores_get_right(dense, batch, predict):
    x, labels = batch((6,), rows=40)
    network = dense(predict=predict)
    for _ in range(4):
        learned = network.learn(x, labels)
        assert learned.correct == hits(learned.scores, labels)
        wrong = {report.name for report in learned.layers if report.correct != learned.correct}
    assert predict != "vote" or len(wrong) == 4  # so the measure sees whose scores they are


def test_prediction_by_context_is_the_scaled_cosine_at_the_last_block(dense, batch):
    network = dense(readout=None).eval()
    x, _ = batch()
    *_, last = network.stages(x)
    shown = last.response.representation
    assert shown.min() == 0 < shown.max()
    torch.testing.assert_close(network(x), DotProductLoss().scores(shown[:8], shown[8:]))
    assert network.readout is None
    assert network.predict == "context"


@pytest.mark.parametrize("rule", BOTH)
def test_a_constant_input_gives_the_same_as_its_copy(dense, batch, rule):
    """A view of stride 0 in time is multiplied once; it must not matter."""
    x, labels = batch()
    view = x[:1].expand(5, *x.shape[1:])
    one, other = dense(rule), dense(rule)
    first, second = one.learn(view, labels), other.learn(view.clone(), labels)
    torch.testing.assert_close(first.scores, second.scores)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rule", BOTH)
def test_a_constant_input_is_multiplied_once_whatever_the_length(dense, batch, rule):
    x, labels = batch()
    rows = []
    for steps in (2, 40):
        network = dense(rule)
        first = network.blocks[0].synapse
        first.register_forward_pre_hook(lambda _, given: rows.append(given[0].shape[0]))
        network.learn(x[0].expand(steps, 8, 6), labels)
    assert rows
    assert set(rows) == {8}


@pytest.mark.parametrize("rule", BOTH)
def test_the_callers_tensors_are_left_alone(dense, batch, rule):
    x, labels = batch()
    kept_x, kept_labels = x.clone(), labels.clone()
    dense(rule).learn(x, labels)
    assert torch.equal(x, kept_x)
    assert torch.equal(labels, kept_labels)


def test_an_identity_synapse_leaves_the_input_alone():
    torch.manual_seed(0)
    network = mlp((6,), 3, hidden=(5,), rule=VoltageRule()).train()
    network.blocks[0].synapse = nn.Identity()
    inputs = torch.rand(4, 8, 5)
    before = inputs.clone()
    network.learn(inputs, torch.arange(8) % 3)
    assert torch.equal(inputs, before)


def test_what_is_recorded_comes_back_for_samples_and_contexts(dense, batch):
    x, _ = batch()
    for rule in (VoltageRule(), SurrogateRule()):
        for stage in dense(rule).stages(x, record=("voltage",)):
            if stage.response is not None:
                voltage = stage.response.run.recorded["voltage"]
                assert voltage.shape[:2] == (5, 12)
                torch.testing.assert_close(voltage.mean(0), stage.response.run.mean_voltage)


def test_a_vote_sums_the_log_probabilities_of_every_layer(dense, batch):
    network = dense(predict="vote").eval()
    inputs, labels = batch()
    with torch.no_grad():
        by_layer = [stage.scores for stage in network.stages(inputs)]
        expected = sum(torch.log(torch.softmax(scores, 1)) for scores in by_layer)
    assert len(by_layer) == 4
    torch.testing.assert_close(network(inputs), expected)
    torch.testing.assert_close(network.learn(inputs, labels).scores, expected)


def test_both_sums_the_log_probabilities_of_the_readout_and_the_last_block(dense, batch):
    network = dense(predict="both").eval()
    inputs, labels = batch()
    with torch.no_grad():
        *_, last, readout = (stage.scores for stage in network.stages(inputs))
        expected = torch.log(torch.softmax(last, 1) * torch.softmax(readout, 1))
    torch.testing.assert_close(network(inputs), expected)
    torch.testing.assert_close(network.learn(inputs, labels).scores, expected)


def test_evaluation_mode_ends_with_every_modules_own_mode_after_an_error_too(dense):
    network = dense().train()
    network.blocks[1].eval()
    with pytest.raises(KeyError), evaluation_mode(network):
        assert not any(module.training for module in network.modules())
        raise KeyError
    assert (network.training, network.blocks[0].training) == (True, True)
    assert not any(module.training for module in network.blocks[1].modules())
