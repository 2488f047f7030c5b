"""The running normalisers: their statistics by hand, and which rows may move them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sigprop_snn.network import (
    Block,
    Network,
    ProjectedContext,
    Readout,
    RunningNorm,
    RunningScale,
    SurrogateRule,
    VoltageRule,
)
from sigprop_snn.neurons import LIF

RULES = [pytest.param(VoltageRule(), id="voltage"), pytest.param(SurrogateRule(), id="surrogate")]


def test_scale_follows_the_mean_square_of_each_batch():
    norm = RunningScale(2, gain=3.0, momentum=0.25).double()
    means = []
    expected = 0.0
    for batch in range(1, 8):
        current = torch.full((2, 2, 2), float(batch), dtype=torch.float64)
        current[0, 1] *= 3
        norm.observe(current)
        square = (6 * batch**2 + 2 * 9 * batch**2) / 8
        share = max(1 / batch, 0.25)
        expected += share * (square - expected)
        means.append(float(norm.mean_square))
        assert means[-1] == pytest.approx(expected, rel=1e-6)
    current = torch.tensor([[1.0, -2.0]], dtype=torch.float64)
    by_hand = 3 * current / (expected + 1e-6) ** 0.5
    torch.testing.assert_close(norm(current), by_hand)
    assert int(norm.batches) == 7


@pytest.mark.parametrize("lying", [torch.contiguous_format, torch.channels_last])
def test_norm_follows_the_mean_and_deviation_of_each_channel(lying):
    norm = RunningNorm(3, gain=2.0, shift=0.5, momentum=0.5).double()
    made = torch.Generator().manual_seed(0)
    mean, variance = torch.zeros(3).double(), torch.ones(3).double()
    for share in (1.0, 0.5, 0.5):
        current = torch.randn(4, 3, 2, 2, generator=made, dtype=torch.float64) * 3 + 1
        norm.observe(current.to(memory_format=lying))
        rows = current.transpose(0, 1).reshape(3, -1)
        mean = (1 - share) * mean + share * rows.mean(1)
        spread = (rows - rows.mean(1, keepdim=True)).square().mean(1)
        variance = (1 - share) * variance + share * spread
        torch.testing.assert_close(norm.mean, mean, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(norm.variance, variance, rtol=1e-6, atol=1e-6)
    wide = (1, 3, 1, 1)
    unit = (current - mean.view(wide)) / (variance.view(wide) + 1e-6).sqrt()
    torch.testing.assert_close(norm(current), 2 * unit + 0.5)


@pytest.mark.parametrize("norm", [RunningScale, RunningNorm])
def test_after_the_first_batch_its_current_has_the_size_of_the_gain(norm):
    made = norm(5, gain=1.7).double()
    current = torch.randn(64, 5, generator=torch.Generator().manual_seed(1)).double() * 9 - 4
    made.observe(current)
    normal = made(current).detach()
    if norm is RunningScale:
        assert float(normal.square().mean().sqrt()) == pytest.approx(1.7, rel=1e-5)
    else:
        torch.testing.assert_close(normal.mean(0), torch.zeros(5).double())
        torch.testing.assert_close(
            normal.std(0, correction=0), torch.full((5,), 1.7).double(), rtol=1e-5, atol=0
        )


@pytest.mark.parametrize("norm", [RunningScale, RunningNorm])
def test_a_silent_layer_stays_finite(norm):
    made = norm(3)
    made.observe(torch.zeros(4, 3))
    assert torch.isfinite(made(torch.zeros(4, 3))).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("norm", [RunningScale, RunningNorm])
def test_statistics_of_a_large_batch_are_right_in_every_type(norm, dtype):
    made = norm(4).to(dtype)
    current = torch.full((40_000, 4), 3.0, dtype=dtype)
    current[::2] = -3.0
    made.observe(current)
    figure = made.mean_square if norm is RunningScale else made.variance[0]
    assert float(figure) == pytest.approx(9.0, rel=0.02)
    assert made(current).dtype == dtype


@pytest.mark.parametrize("norm", [RunningScale, RunningNorm])
def test_statistics_are_not_learned(norm):
    made = norm(3)
    current = torch.randn(4, 3, requires_grad=True)
    made.observe(current)
    assert not any(buffer.requires_grad for buffer in made.buffers())
    assert {name for name, _ in made.named_parameters()} <= {"gain", "shift"}


def statistics(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in network.named_buffers()}


def same(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("kind", ["dense", "pictures"])
@pytest.mark.parametrize("rule", RULES)
def test_only_learning_in_training_mode_moves_the_statistics(request, batch, rule, kind):
    network = request.getfixturevalue(kind)(rule)
    x, labels = batch((6,) if kind == "dense" else (2, 8, 8))
    before = statistics(network)
    assert before
    network(x)
    list(network.stages(x))
    network.eval()
    network(x)
    network.learn(x, labels)
    assert same(before, statistics(network))
    network.train()
    network.learn(x, labels)
    after = statistics(network)
    assert not any(torch.equal(before[name], after[name]) for name in before)
    assert all(int(value) == 1 for name, value in after.items() if name.endswith("batches"))


@pytest.mark.parametrize("constant", [True, False], ids=["constant", "varying"])
@pytest.mark.parametrize("kind", ["dense", "pictures"])
@pytest.mark.parametrize("rule", RULES)
def test_the_statistics_are_those_of_the_samples_alone(request, batch, rule, kind, constant):
    """They come from the spikes of the layer's sample rows; the contexts stay out of them."""
    network = request.getfixturevalue(kind)(rule)
    x, labels = batch((6,) if kind == "dense" else (2, 8, 8))
    x = x[:1].expand(x.shape) if constant else x
    received, rows = x, len(labels)
    spikes = [s.response.run.spike for s in network.stages(x, labels) if s.response is not None]
    for block, fired in zip(network.blocks, spikes, strict=True):
        with torch.no_grad():
            raw = torch.stack([block.synapse(step[:rows]) for step in received])
        if isinstance(block.norm, RunningScale):
            torch.testing.assert_close(block.norm.mean_square, raw.square().mean())
        else:
            by_channel = raw.transpose(0, 2).flatten(1)
            torch.testing.assert_close(block.norm.mean, by_channel.mean(1))
            torch.testing.assert_close(block.norm.variance, by_channel.var(1, correction=0))
        received = torch.stack([block.pool(step) for step in fired])


@pytest.mark.parametrize("rule", RULES)
def test_a_synapse_that_is_not_affine_is_observed_once_too(batch, rule):
    torch.manual_seed(0)
    synapse = nn.Sequential(nn.Linear(6, 5), nn.Tanh())
    block = Block(synapse, LIF(), norm=RunningScale(5, 2.0))
    network = Network(ProjectedContext(4, (5,)), [block], Readout(5, 4), rule=rule).double()
    x, labels = batch()
    network.learn(x, labels)
    assert int(block.norm.batches) == 1
    with torch.no_grad():
        torch.testing.assert_close(block.norm.mean_square, synapse(x).square().mean())
