"""Blocks that receive several lower blocks: the same local learning, both streams alike."""

from __future__ import annotations

import copy
import io
import weakref
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sigprop_snn.analysis import backpropagated
from sigprop_snn.errors import SigpropError, UnknownNameError
from sigprop_snn.layers.contracts import Response
from sigprop_snn.layers.layer_pass import layer_pass
from sigprop_snn.monitors import count_operations
from sigprop_snn.network import (
    Block,
    DotProductLoss,
    Network,
    Online,
    ProjectedContext,
    Readout,
    RunningNorm,
    RunningScale,
    Sources,
    SurrogateRule,
    TopK,
    VoltageRule,
    conv,
    layout_of,
    mlp,
    vgg8,
)
from sigprop_snn.neurons import LIF, NEURONS, Rate, use_engine
from sigprop_snn.neurons.engines import DenseSpikes, ReferenceEngine
from sigprop_snn.neurons.engines.cpu.engine import CpuEngine
from sigprop_snn.neurons.engines.cpu.spikes import PackedSpikes
from sigprop_snn.neurons.joining import joined
from sigprop_snn.rules import RULES
from sigprop_snn.training import LocalOptimizers

BETA, CLASSES = 0.8, 4
BOTH = [
    pytest.param(VoltageRule(), id="voltage"),
    pytest.param(SurrogateRule(), id="surrogate"),
]
SIDE, SUM = Sources(3), Sources(3, "sum")
ROW_ONLY = ["hebbian", "error-forward-relaxing", "target-propagation", "predictive-forward-forward"]


def maps(rule=None, sources=SIDE, *, neuron=None, **settings) -> Network:
    """Makes `[T, B, 2, 16, 16]` -> 5 maps of 16 -> 8 -> 4 -> 4; float64."""
    torch.manual_seed(0)
    neuron = neuron or partial(LIF, BETA)
    channels = (5, 5, 5, 5)
    network = conv(
        (2, 16, 16), CLASSES, channels=channels, kernel=3, rule=rule, neuron=neuron,
        sources=sources, shift=0.2, **settings,
    )  # fmt: skip
    return network.double()


def settled(network, x, labels) -> Network:
    """Return a network with the statistics of a batch in its normalisers, which then keep them."""
    network.learn(x, labels)
    network.zero_grad()
    return network.eval()


def vectors(rule=None, sources=SIDE, *, hidden=(9, 8, 7, 6)) -> Network:
    torch.manual_seed(0)
    return mlp((6,), CLASSES, hidden=hidden, rule=rule, sources=sources).double()


def batch(shape=(2, 16, 16), steps=5, rows=6):
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(rows) % CLASSES
    rates = torch.rand(CLASSES, *shape, generator=generator)[labels]
    x = torch.rand(steps, rows, *shape, generator=generator) < rates
    return x.double(), labels


def sent_by_hand(network, stages, steps):
    """Return the outputs of the blocks, behind their pools, with torch alone."""
    found = []
    for block, stage in zip(network.blocks, stages, strict=False):
        spike = stage.response.run.spike
        pooled = isinstance(block.pool, nn.MaxPool2d)
        found.append(
            F.max_pool2d(spike.flatten(0, 1), 2).unflatten(0, (steps, -1)) if pooled else spike
        )
    return found


def unrolled(block, inputs, rule, centre):
    """Return the representation of a block unrolled in time, its reset held constant."""
    norm = block.norm
    gain = (norm.gain / (norm.variance + 1e-6).sqrt()).view(-1, 1, 1)
    offset = norm.shift.view(-1, 1, 1) - gain * norm.mean.view(-1, 1, 1)
    carried, shown = 0.0, []
    raws = [F.conv2d(step, block.synapse.weight, padding=1) for step in inputs]
    means = [raw.mean((0, 2, 3), keepdim=True) for raw in raws]
    if centre == "all steps":
        means = [sum(means) / len(means)] * len(means)
    for raw, mean in zip(raws, means, strict=True):
        if centre is not None:  # the gradient of a mean that is subtracted
            raw = raw - (mean - mean.detach())
        raw = raw + block.synapse.bias.view(-1, 1, 1)
        voltage = BETA * carried + gain * raw + offset
        spike = (voltage > block.neuron.threshold).to(voltage)
        carried = voltage - block.neuron.threshold * spike
        shown.append(voltage)
    if isinstance(rule, VoltageRule):
        return torch.stack(shown).mean(0).relu()
    above = torch.stack(shown) - block.neuron.threshold
    return block.neuron.surrogate.f(above).mean(0)


@pytest.mark.parametrize("sources", [SIDE, SUM], ids=["side-by-side", "sum"])
@pytest.mark.parametrize("centred", [False, True], ids=["plain", "centred"])
@pytest.mark.parametrize("rule", BOTH)
def test_gradients_equal_autograd_through_the_unrolled_block(rule, centred, sources):
    x, labels = batch()
    network = settled(maps(rule, sources), x, labels)
    for block in network.blocks:
        block.centred = centred and block is not network.blocks[0]
    stages = list(network.stages(x, labels))
    sent = sent_by_hand(network, stages, len(x))
    for index, size in ((2, 4), (3, 4)):
        block, stage = network.blocks[index], stages[index]
        parts = []
        for part in reversed(sent[max(0, index - 3) : index]):
            while part.shape[-1] > size:
                part = F.max_pool2d(part.flatten(0, 1), 2).unflatten(0, part.shape[:2])
            parts.append(part)
        inputs = torch.cat(parts, 2) if sources is SIDE else sum(parts)
        twin = copy.deepcopy(block)
        centre = None
        if centred:
            centre = "each step" if isinstance(rule, VoltageRule) else "all steps"
        shown = unrolled(twin, inputs, rule, centre)
        torch.testing.assert_close(shown, stage.response.representation)
        assert stage.response.run.spike_count.sum() > 0
        local, rows = network.loss, x.shape[1]
        scores = local.scores(shown[:rows], shown[rows:])
        theirs = torch.autograd.grad(local.loss(scores, labels), list(twin.parameters()))
        mine = torch.autograd.grad(stage.loss, list(block.parameters()))
        for one, other in zip(mine, theirs, strict=True):
            assert other.abs().max() > 1e-8
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("make", [maps, vectors])
@pytest.mark.parametrize("rule", BOTH)
def test_no_gradient_leaves_a_block(rule, make):
    network = make(rule)
    x, labels = batch() if make is maps else batch((6,))
    groups = network.local_parameters()
    every = [p for group in groups.values() for p in group]
    for stage in network.stages(x, labels):
        grads = torch.autograd.grad(stage.loss, every, allow_unused=True)
        reached = {id(p) for p, grad in zip(every, grads, strict=True) if grad is not None}
        assert reached == {id(p) for p in groups[stage.name]}
        if stage.response is not None:
            assert not stage.response.run.spike.requires_grad


@pytest.mark.parametrize("rule", BOTH)
def test_the_packed_engine_learns_as_the_reference(rule):
    x, labels = (part.float() if part.is_floating_point() else part for part in batch())

    def learned(engine):
        network = maps(rule).float()
        optimizers = LocalOptimizers(network, lambda group: torch.optim.SGD(group, 1e-3))
        with use_engine(engine):
            reports = [network.learn(x, labels, optimizers) for _ in range(3)]
            scores = network(x)
        return [*network.state_dict().values(), *(r.scores for r in reports), scores]

    packed = learned(CpuEngine(worth=0, pack_from=0))
    for one, other in zip(packed, learned("reference"), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_joined_spikes_stay_packed():
    network, seen = maps().float(), []
    with use_engine(CpuEngine(worth=0, pack_from=0)):
        respond = partial(run_plain, seen)
        spikes = CpuEngine(worth=0, pack_from=0).spikes(batch()[0].float())
        for _ in layer_pass(network.named_blocks(), network.signal, spikes, respond):
            pass
    assert [type(inputs) for inputs in seen] == [PackedSpikes] * 4
    assert [inputs.shape[2] for inputs in seen] == [2, 5, 10, 15]


def run_plain(seen, name, block, inputs):
    seen.append(inputs)
    ran = block.run(inputs)
    return Response(ran), ran.spikes.pooled(block.pool)


def test_contexts_and_samples_are_joined_alike():
    """A sample that does as a context does, at every lower block, meets the same input."""
    x, labels = batch()
    network = settled(maps(), x, labels)
    seen: dict[str, DenseSpikes] = {}
    rows = x.shape[1]
    for block, name in zip(network.blocks, ("block1", "block2", "block3", "block4"), strict=True):
        block.rule = Watched(VoltageRule(), name, seen)
    stages = list(network.stages(x))
    sent = sent_by_hand(network, stages, len(x))
    for part in (slice(0, rows), slice(rows, None)):
        lower = [s[:, part] for s in sent[:3]]
        lower[0] = F.max_pool2d(lower[0].flatten(0, 1), 2).unflatten(0, lower[0].shape[:2])
        expected = torch.cat([lower[2], lower[1], lower[0]], 2)
        assert expected.any()
        assert torch.equal(seen["block4"].dense()[:, part], expected)


class Watched:
    """A layer rule that keeps the inputs of its block."""

    def __init__(self, rule, name, seen):
        self.rule, self.name, self.seen = rule, name, seen
        self.uses_mean_voltage = rule.uses_mean_voltage

    def represent(self, voltage, neuron):
        return self.rule.represent(voltage, neuron)

    def respond(self, block, inputs, **settings):
        self.seen[self.name] = inputs
        return self.rule.respond(block, inputs, **settings)


@pytest.mark.parametrize("side", [14, 15, 19])
def test_odd_sizes_train(side):
    torch.manual_seed(0)
    network = conv((1, side, side), CLASSES, channels=(3, 4, 5, 6), kernel=3, sources=3)
    x, labels = batch((1, side, side))
    network.learn(x.float(), labels)
    for block in network.blocks:
        assert block.synapse.weight.grad.abs().sum() > 0


def test_sizes_that_halve_are_halved_and_others_pooled_to_fit():
    large = torch.arange(49.0).view(1, 1, 1, 7, 7)
    halved = joined([large, torch.zeros(1, 1, 2, 3, 3)], "side-by-side")
    assert torch.equal(halved[0, 0, 0], large[0, 0, 0, 1:6:2, 1:6:2])  # the last of each square
    wide = torch.arange(36.0).view(1, 1, 1, 6, 6)
    other = joined([wide, torch.zeros(1, 1, 1, 4, 2)], "side-by-side")
    expected = F.adaptive_max_pool2d(wide[0], (4, 2))
    assert torch.equal(other[0, :, 0], expected[:, 0])


def test_maps_beside_vectors_are_flattened():
    vector, picture = torch.rand(5, 3, 4), torch.rand(5, 3, 2, 3, 3)
    found = joined([vector, picture], "side-by-side")
    assert torch.equal(found, torch.cat([vector, picture.flatten(2)], 2))


def test_maps_keep_their_channels_last_in_memory():
    parts = [torch.rand(5, 3, size, size, c).movedim(-1, 2) for size, c in ((8, 4), (4, 6))]
    for how, given in (("side-by-side", parts), ("sum", [parts[1], parts[1]])):
        found = joined(given, how).flatten(0, 1)
        assert found.is_contiguous(memory_format=torch.channels_last)


def test_a_sum_of_spikes_is_a_count():
    ones = torch.ones(2, 3, 4)
    assert torch.equal(joined([ones, ones, ones], "sum"), 3 * ones)


@pytest.mark.parametrize("rule", BOTH)
def test_blocks_are_named_in_the_order_side_by_side(rule):
    torch.manual_seed(0)

    def block(inputs, size, sources=1):
        return Block(nn.Linear(inputs, size), LIF(), norm=RunningScale(size, 2.0), sources=sources)

    blocks = [block(6, 9), block(9, 8), block(8, 7), block(16, 5, ("block1", "block3"))]
    network = Network(ProjectedContext(CLASSES, (9,)), blocks, Readout(5, CLASSES), rule=rule)
    seen: dict[str, DenseSpikes] = {}
    blocks[3].rule = Watched(rule, "block4", seen)
    x, labels = batch((6,))
    network.learn(x.float(), labels)
    stages = list(network.eval().stages(x.float()))
    sent = [stage.response.run.spike for stage in stages[:3]]
    assert torch.equal(seen["block4"].dense(), torch.cat([sent[0], sent[2]], 2))
    assert blocks[3].synapse.weight.grad.abs().sum() > 0
    assert layout_of(blocks, (6,), CLASSES).inputs == ((6,), (9,), (8,), (16,))
    assert "sources=Sources(blocks=('block1', 'block3')" in repr(network)


@pytest.mark.parametrize(
    "given", [0, -1, True, 1.5, "block1", (), ("block1", "block1"), (1, 2), None]
)
def test_sources_that_are_none_are_refused(given):
    with pytest.raises(SigpropError, match="sources are"):
        Block(nn.Linear(3, 4), LIF(), sources=given)


def test_an_unknown_join_is_refused():
    with pytest.raises(UnknownNameError, match="'sums'"):
        Sources(3, "sums")


@pytest.mark.parametrize(
    ("place", "sources", "words"),
    [
        (1, ("block3",), ["block2", "'block3'", "block1"]),
        (1, ("block2",), ["block2", "'block2'"]),
        (2, ("block1", "input"), ["block3", "'input'", "contexts enter at block1"]),
        (0, ("block1",), ["block1", "'block1'", "input"]),
        (2, ("first",), ["block3", "'first'", "block1 or block2"]),
    ],
)
def test_only_lower_blocks_can_be_received(place, sources, words):
    def blocks():
        return [
            Block(nn.Linear(4, 4), LIF(), sources=sources if index == place else 1)
            for index in range(3)
        ]

    for make in (
        lambda: Network(ProjectedContext(CLASSES, (4,)), blocks()),
        lambda: layout_of(blocks(), (4,), CLASSES),
    ):
        with pytest.raises(SigpropError) as caught:
            make()
        for word in words:
            assert word in str(caught.value)


def test_the_first_block_may_name_the_input():
    block = Block(nn.Linear(6, 5), LIF(), sources=("input",))
    network = Network(ProjectedContext(CLASSES, (5,)), [block])
    network.learn(torch.ones(3, 4, 6), torch.arange(4))


def test_a_sum_of_different_numbers_of_maps_names_the_block():
    with pytest.raises(SigpropError, match=r"block3.*\[4, 3\]"):
        conv((1, 8, 8), CLASSES, channels=(3, 4, 5), kernel=3, sources=Sources(2, "sum"))
    blocks = [
        Block(nn.Linear(6, 5), LIF()),
        Block(nn.Linear(5, 4), LIF()),
        Block(nn.Linear(4, 4), LIF(), sources=Sources(2, "sum")),
    ]
    network = Network(ProjectedContext(CLASSES, (5,)), blocks)
    with pytest.raises(SigpropError, match=r"block3.*\[4, 5\]"):
        network(torch.ones(3, 2, 6))


def test_joined_input_that_does_not_fit_names_block_and_shape():
    blocks = [
        Block(nn.Linear(6, 5), LIF()),
        Block(nn.Linear(5, 4), LIF()),
        Block(nn.Linear(4, 3), LIF(), sources=2),
    ]
    network = Network(ProjectedContext(CLASSES, (5,)), blocks)
    with pytest.raises(SigpropError, match=r"\[3, 6, 9\] does not fit block3"):
        network(torch.ones(3, 2, 6))


def test_builders_take_a_number_of_sources_alone():
    with pytest.raises(SigpropError, match="'block1'"):
        mlp((6,), CLASSES, hidden=(5, 5), sources=("block1",))


def test_every_builder_sizes_its_synapses():
    assert [b.synapse.in_channels for b in maps(sources=3).blocks] == [2, 5, 10, 15]
    assert [b.synapse.in_channels for b in maps(sources=SUM).blocks] == [2, 5, 5, 5]
    sizes = [list(b.synapse.modules())[-1].in_features for b in vectors(sources=2).blocks]
    assert sizes == [6, 9, 17, 15]
    network = vgg8((3, 32, 32), CLASSES, width=1 / 64, sources=3)
    x, labels = batch((3, 32, 32), steps=4, rows=4)
    network.learn(x.float(), labels)
    assert network.blocks[6].synapse[1].in_features == (8 + 8 + 8) * 2 * 2


def test_one_source_is_the_row_of_blocks():
    x, labels = batch()
    expected, found = maps(sources=1), maps(sources=1)
    for index, block in enumerate(found.blocks):
        block.sources = Sources((f"block{index}",) if index else ("input",))
    assert torch.equal(expected.learn(x, labels).scores, found.learn(x, labels).scores)
    for one, other in zip(expected.parameters(), found.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_a_saved_network_goes_on_from_where_it_was():
    x, labels = batch()

    def begun():
        network = maps()
        return network, LocalOptimizers(network, lambda group: torch.optim.Adam(group, 1e-2))

    network, optimizers = begun()
    network.learn(x, labels, optimizers)
    file = io.BytesIO()
    torch.save((network.state_dict(), optimizers.state_dict()), file)
    network.learn(x, labels, optimizers)
    file.seek(0)
    resumed, others = begun()
    weights, state = torch.load(file, weights_only=True)
    resumed.load_state_dict(weights)
    others.load_state_dict(state)
    resumed.learn(x, labels, others)
    for one, other in zip(
        network.state_dict().values(), resumed.state_dict().values(), strict=True
    ):
        assert torch.equal(one, other)
    assert torch.equal(network.eval()(x), resumed.eval()(x))


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("make", [maps, vectors])
def test_online_the_last_part_has_the_gradient_of_the_whole_sample(make, every):
    x, labels = batch() if make is maps else batch((6,))
    whole, parts = (settled(make(), x, labels) for _ in range(2))
    for network in (whole, parts):
        for block in network.blocks:
            block.centred = False
    expected = whole.learn(x, labels)
    online = Online(parts)
    for part in x.split(every):
        parts.zero_grad()
        got = online.learn(part, labels)
    torch.testing.assert_close(got.scores, expected.scores)
    for one, other in zip(parts.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-9, atol=1e-12)


def test_a_loss_may_compare_the_joined_contexts():
    x, labels = batch((6,))
    network = mlp((6,), CLASSES, hidden=(9, 8, 7), loss=DotProductLoss(select=TopK(2)), sources=3)
    network.learn(x.float(), labels)
    for block in network.blocks:
        assert list(block.synapse.modules())[-1].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("sources", [1, 2, 3])
def test_an_output_is_freed_when_no_later_block_receives_it(sources):
    network = mlp((6,), CLASSES, hidden=[5] * 7, sources=sources)
    sent: dict[str, weakref.ref[DenseSpikes]] = {}
    alive: dict[str, list[str]] = {}

    def respond(name, block, inputs):
        alive[name] = [other for other, at in sent.items() if at() is not None]
        ran = block.run(inputs)
        output = DenseSpikes(ran.spike)
        sent[name] = weakref.ref(output)
        return Response(ran), output

    inputs = DenseSpikes(torch.rand(5, 3, 6))
    for layer in layer_pass(network.named_blocks(), network.signal, inputs, respond):
        del layer
    # Several outputs are joined first: those alive are what later blocks receive.
    kept = 1 if sources == 1 else sources - 1
    assert alive["block6"] == [f"block{n}" for n in range(6 - kept, 6)]
    assert alive["block7"] == (["block6"] if sources == 1 else [])


@pytest.mark.parametrize("rule", BOTH)
def test_prediction_has_the_spikes_of_the_learning_pass(rule):
    x, labels = batch()
    network = settled(maps(rule), x, labels)
    learning = [s.response for s in network.stages(x, labels) if s.response is not None]
    recorded = network.record(x, ["spike"])
    assert list(recorded) == ["block1", "block2", "block3", "block4"]
    for response, kept in zip(learning, recorded.values(), strict=True):
        assert kept["spike"].any()
        assert torch.equal(response.run.spike[:, : x.shape[1]], kept["spike"])
    assert torch.equal(network(x), network.learn(x, labels).scores)


def by_name(name, sources):
    choice = RULES[name]
    torch.manual_seed(0)
    options = {key: value for key, value in choice.options.items() if key != "hidden"}
    return mlp(
        (6,), CLASSES, hidden=(9, 8, 7, 6), rule=name, neuron=choice.neuron or LIF,
        sources=sources, **options,
    )  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_every_rule_learns_in_every_block_or_refuses(name):
    steps = RULES[name].recipe.get("steps", 5)
    x, labels = batch((6,), steps=steps)
    if name in ROW_ONLY:
        with pytest.raises(SigpropError, match="block3 receives block2, block1"):
            by_name(name, 3)
        by_name(name, 1)
        network = mlp((6,), CLASSES, hidden=(9, 8, 7), sources=3)
        rule = by_name(name, 1).rule
        with pytest.raises(SigpropError, match=rf"{type(rule).__name__}.*block3"):
            network.rule = rule
        assert isinstance(network.rule.layer_rule, VoltageRule)  # as it was
        return
    network = by_name(name, 3)
    optimizers = LocalOptimizers(network, lambda group: torch.optim.SGD(group, 1e-3))
    for _ in range(2):  # a loop from the output starts at zero
        network.learn(x.float(), labels, optimizers)
    network.zero_grad()
    network.learn(x.float(), labels)
    for block in network.blocks:
        assert all(p.grad is not None for p in block.synapse.parameters())
        weight = list(block.synapse.modules())[-1].weight
        assert weight.grad.abs().sum() > 0


@pytest.mark.parametrize("sources", [SIDE, SUM], ids=["side-by-side", "sum"])
def test_backpropagation_equals_autograd_written_out(sources):
    """Rates in one step: a feed-forward network that torch differentiates as it is."""
    network = maps("backpropagation", sources, neuron=Rate).eval()
    x, labels = batch(steps=1)
    network.learn(x, labels)
    twin = copy.deepcopy(network)
    twin.zero_grad()
    sent, values = [], x[0]
    for index, block in enumerate(twin.blocks):
        if index:
            parts = []
            for part in reversed(sent[max(0, index - 3) :]):
                while part.shape[-1] > sent[-1].shape[-1]:
                    part = F.max_pool2d(part, 2)
                parts.append(part)
            values = torch.cat(parts, 1) if sources is SIDE else sum(parts)
        current = block.norm(block.synapse(values))
        rate = block.neuron.surrogate.f(block.neuron.above(current))
        sent.append(F.max_pool2d(rate, 2) if isinstance(block.pool, nn.MaxPool2d) else rate)
    scores = twin.readout.synapse(sent[-1].flatten(1))
    F.cross_entropy(scores, labels).backward()
    oracle = backpropagated(network, x, labels)
    for name, block in network.named_blocks():
        for of, weight in block.named_parameters():
            theirs = twin.get_submodule(f"blocks.{int(name[5:]) - 1}").get_parameter(of).grad
            torch.testing.assert_close(weight.grad, theirs, rtol=1e-8, atol=1e-12)
            torch.testing.assert_close(oracle[name][of], theirs, rtol=1e-8, atol=1e-12)


def test_ottt_over_one_step_is_backpropagation():
    """The trace of one step is the input itself, so both leave the same gradients."""
    x, labels = batch((6,), steps=1)
    found, exact = (settled(by_name(n, 3).double(), x, labels) for n in ("ottt", "backpropagation"))
    found.learn(x, labels)
    exact.learn(x, labels)
    for one, other in zip(found.blocks, exact.blocks, strict=True):
        for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, theirs.grad)


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.AvgPool2d(2)], ids=str)
def test_operations_are_those_of_every_source(pool):
    torch.manual_seed(2)
    blocks = [
        Block(nn.Conv2d(1, 3, 3, padding=1), LIF(), norm=RunningNorm(3), pool=pool),
        Block(nn.Conv2d(3, 2, 3, padding=1), LIF(), norm=RunningNorm(2)),
        Block(nn.Conv2d(5, 4, 1), LIF(), norm=RunningNorm(4), sources=2),
    ]
    network = Network(ProjectedContext(3, (3, 8, 8)), blocks, Readout(64, 3)).eval()
    x = batch((1, 8, 8), steps=6)[0].float()
    kept = network.record(x, ["spike"])
    found = count_operations(network, x)["block3"]
    first = pool(kept["block1"]["spike"].flatten(0, 1)).unflatten(0, (6, -1))
    first = first if isinstance(pool, nn.MaxPool2d) else 4 * first  # spikes in each window
    events = first.sum((0, 2, 3, 4)) + kept["block2"]["spike"].sum((0, 2, 3, 4))
    assert (events > 0).all()
    assert torch.equal(found.additions, 4 * events.double())  # each meets a 1x1 kernel of 4 maps
    assert found.macs.sum() == 0
    assert found.connections == 4 * 5 * 16


@pytest.mark.parametrize("rate", [None, 1.0])
def test_events_beside_graded_values_stay_events(rate):
    torch.manual_seed(2)
    blocks = [
        Block(nn.Linear(6, 5), NEURONS["hard-rate"]()),
        Block(nn.Linear(5, 4), LIF(), norm=RunningScale(4, 2.0)),
        Block(nn.Linear(9, 3), LIF(), sources=2),
    ]
    network = Network(ProjectedContext(3, (5,)), blocks, Readout(3, 3)).eval()
    if rate is not None:  # a rate that is a whole number is no event either
        nn.init.constant_(blocks[0].synapse.bias, 10.0)
    x = batch((6,), steps=6)[0].float()
    assert rate is None or (network.record(x, ["spike"])["block1"]["spike"] == rate).all()
    spikes = network.record(x, ["spike"])["block2"]["spike"]
    found = count_operations(network, x)["block3"]
    assert torch.equal(found.additions, 3 * spikes.sum((0, 2)).double())
    assert found.macs.tolist() == [3.0 * 5 * 6] * 6


def test_any_neuron_sends_and_receives_joined_activity():
    x, labels = batch((6,), steps=4)
    for name in ("alif", "leaky-rate", "cuba"):
        torch.manual_seed(0)
        network = mlp((6,), CLASSES, hidden=(7, 7, 7), neuron=NEURONS[name], sources=2)
        network.learn(x.float(), labels)
        assert network.record(x.float(), ["voltage"])["block3"]["voltage"].isfinite().all()


def test_the_reference_joins_dense_activity():
    parts = [DenseSpikes(torch.rand(3, 2, 4)), DenseSpikes(torch.rand(3, 2, 5))]
    found = ReferenceEngine().join(parts, "side-by-side")
    assert torch.equal(found.dense(), torch.cat([p.dense() for p in parts], 2))
    assert ReferenceEngine().join(parts[:1], "sum") is parts[0]
