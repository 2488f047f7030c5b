"""Difference target propagation against its formulas, matrix by matrix."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons import Rate
from sigprop_snn.rules import TargetPropagation

SIZES = (7, 9, 8, 6)


def sigmoid(u):
    return 1 / (1 + torch.exp(-3 * u))


def test_targets_blocks_and_inverses_follow_the_formulas(dense, batch):
    step, noise = 0.7, 0.2
    net = dense(partial(TargetPropagation, step=step, noise=noise), "rate", sizes=SIZES)
    x, labels = batch(neuron="rate")
    torch.manual_seed(11)
    told = []
    learned = net.learn(x, labels, told.append)
    assert sorted(told) == ["block1", "block2", "block3", "readout"]

    rows = len(labels)
    h, raws, sizes = [x[0]], [], []
    for block in net.blocks:
        raw = h[-1] @ block.synapse.weight.detach().t() + block.synapse.bias.detach()
        sizes.append((raw.square().mean() + 1e-6).sqrt())
        raws.append(raw)
        h.append(sigmoid(block.norm.gain.detach() * raw / sizes[-1]))
    weight, bias = (p.detach() for p in net.readout.synapse.parameters())
    scores = h[-1] @ weight.t() + bias
    assert torch.allclose(learned.scores, scores, atol=1e-12)
    error = scores.softmax(1) - torch.eye(4, dtype=torch.float64)[labels]  # a sample's own
    assert torch.allclose(net.readout.synapse.weight.grad, error.t() @ h[-1] / rows, atol=1e-12)
    target = h[-1] - step * error @ weight
    torch.manual_seed(11)
    for i in reversed(range(3)):
        block = net.blocks[i]
        gap = h[i + 1] - target
        gain = block.norm.gain.detach()
        current_error = 2 * gap / rows * 3 * h[i + 1] * (1 - h[i + 1])
        raw_error = current_error * gain / sizes[i]
        for mine, theirs in (
            (block.synapse.weight.grad, raw_error.t() @ h[i]),
            (block.synapse.bias.grad, raw_error.sum(0)),
            (block.norm.gain.grad, (current_error * raws[i] / sizes[i]).sum(0)),
        ):
            assert theirs.abs().max() > 1e-9
            assert torch.allclose(mine, theirs, atol=1e-12)
        if i == 0:
            break
        inverse = net.rule.inverses[i - 1]
        v, c = inverse.weight.detach(), inverse.bias.detach()
        below = h[i] + sigmoid(target @ v.t() + c) - sigmoid(h[i + 1] @ v.t() + c)
        disturbed = h[i] + noise * torch.randn_like(h[i])
        w, b = block.synapse.weight.detach(), block.synapse.bias.detach()
        above = sigmoid(gain * (disturbed @ w.t() + b) / sizes[i])
        back = sigmoid(above @ v.t() + c)
        back_error = 2 * (back - disturbed) / rows * 3 * back * (1 - back)
        assert torch.allclose(inverse.weight.grad, back_error.t() @ above, atol=1e-12)
        assert torch.allclose(inverse.bias.grad, back_error.sum(0), atol=1e-12)
        target = below


def test_inverses_learn_to_invert(dense, batch):
    net = dense(TargetPropagation, "rate", sizes=SIZES)
    x, labels = batch(neuron="rate")
    own = [p for group in net.rule.local_parameters().values() for p in group]
    assert len(own) == 4
    assert list(net.rule.local_parameters()) == ["block2", "block3"]
    optimizer = torch.optim.Adam(own, lr=0.01)

    @torch.no_grad()
    def gap() -> float:
        h = [step["spike"][0] for step in net.record(x, ["spike"]).values()]
        back = [sigmoid(g(above)) for g, above in zip(net.rule.inverses, h[1:], strict=True)]
        return float(sum((a - b).square().mean() for a, b in zip(back, h, strict=False)))

    first = gap()
    for _ in range(200):
        net.zero_grad()
        net.learn(x, labels)
        optimizer.step()
    assert gap() < 0.3 * first


def test_it_is_for_fully_connected_rate_networks(dense, pictures, batch):
    with pytest.raises(SigpropError, match=r"block1 has LIF; expected Rate with beta 0"):
        dense(TargetPropagation).learn(*batch())
    with pytest.raises(SigpropError, match="block1 has Rate"):
        dense(TargetPropagation, partial(Rate, 0.5)).learn(*batch())
    with pytest.raises(SigpropError, match=r"expected outputs of one axis, found \[3, 3, 3\]"):
        pictures(TargetPropagation, "rate")
    with pytest.raises(SigpropError, match=r"step of .* is -1"):
        dense(partial(TargetPropagation, step=-1), "rate")
