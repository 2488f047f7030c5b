"""Feedback alignment, direct feedback alignment and DRTP against matrix formulas over time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.neurons import LIF, AllToAll, Recurrent
from sigprop_snn.rules import DirectFeedbackAlignment, DirectRandomTarget, FeedbackAlignment

CASES = [
    (kind, neuron) for kind in ("dense", "pictures") for neuron in ("lif", "scaled lif", "rate")
]


@pytest.mark.parametrize(("kind", "neuron"), CASES)
def test_the_error_goes_back_by_the_feedback_weights(network, batch, hand, agree, kind, neuron):
    net = network(kind, FeedbackAlignment, neuron)
    x, labels = batch(kind, neuron)
    net.learn(x, labels)
    by_hand = hand(net, x, labels)
    agree(net.readout, by_hand.readout_gradients())
    error = by_hand.last_error(net.rule.readout_feedback.weight)
    backs = [parts[0].weight for parts in net.rule.feedback]
    for block, mine, back in zip(
        reversed(net.blocks), reversed(by_hand.blocks), reversed(backs), strict=True
    ):
        assert back.shape == block.synapse.weight.shape
        assert not torch.equal(back, block.synapse.weight)
        current_error = mine.through_time(mine.unpooled(error))
        agree(block, mine.gradients(current_error))
        error = mine.below(current_error, back)


@pytest.mark.parametrize("direct", [DirectFeedbackAlignment, DirectRandomTarget])
@pytest.mark.parametrize(("kind", "neuron"), CASES)
def test_every_block_is_told_by_its_own_feedback_weights(
    network, batch, hand, agree, kind, neuron, direct
):
    net = network(kind, direct, neuron)
    x, labels = batch(kind, neuron)
    net.learn(x, labels)
    by_hand = hand(net, x, labels)
    agree(net.readout, by_hand.readout_gradients())
    told = by_hand.error if direct is DirectFeedbackAlignment else -by_hand.target / len(labels)
    for block, mine, fixed in zip(net.blocks, by_hand.blocks, net.rule.feedback, strict=True):
        error = (told @ fixed.weight / len(x)).view(mine.sent.shape[1:]).expand_as(mine.sent)
        agree(block, mine.gradients(mine.through_time(mine.unpooled(error))))


def test_strides_dilation_and_groups_go_back_through_the_feedback_weights():
    """The error of a convolution's input is the gradient of the convolution by B."""
    from sigprop_snn.rules.feedback_alignment import Aligned

    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3, stride=2, padding=(2, 1), dilation=(2, 1), groups=2)
    synapse = nn.Sequential(nn.AvgPool2d(2), conv, nn.Flatten(), nn.Linear(6 * 4 * 4, 5)).double()
    back = [torch.randn_like(conv.weight), torch.randn_like(synapse[3].weight)]
    x = torch.randn(3, 4, 16, 16, dtype=torch.float64, requires_grad=True)
    out = Aligned(synapse, back, "block1")(x)
    assert torch.equal(out, synapse(x))
    sent = torch.randn_like(out)
    out.backward(sent)
    conv_error = torch.nn.functional.conv2d(
        h := torch.nn.functional.avg_pool2d(x, 2), back[0], None, 2, (2, 1), (2, 1), 2
    )
    (expected,) = torch.autograd.grad(conv_error, h, (sent @ back[1]).view_as(conv_error))
    spread = expected.repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
    assert torch.allclose(x.grad, spread, atol=1e-12)
    hidden = synapse[2](conv(synapse[0](x.detach())))
    assert torch.allclose(synapse[3].weight.grad, sent.t() @ hidden, atol=1e-12)


def test_feedback_weights_stay_as_drawn_and_travel_with_the_network(dense, batch):
    for rule in (FeedbackAlignment, DirectFeedbackAlignment, DirectRandomTarget):
        net = dense(rule)
        kept = {k: v.clone() for k, v in net.state_dict().items() if k.startswith("rule.")}
        assert len(kept) == (3 if rule is FeedbackAlignment else 2)
        assert all(v.dtype == torch.float64 for v in kept.values())
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        net.learn(*batch())
        optimizer.step()
        assert all(torch.equal(net.state_dict()[k], v) for k, v in kept.items())
        twin = dense(rule, seed=1)
        twin.load_state_dict(net.state_dict())
        assert all(torch.equal(twin.state_dict()[k], v) for k, v in kept.items())


def test_feedback_alignment_refuses_what_it_has_no_feedback_weights_for(dense, batch):
    net = dense(FeedbackAlignment, lambda: Recurrent(LIF(), AllToAll((8,))), sizes=(7, 8, 8))
    with pytest.raises(SigpropError, match="recurrence of block1"):
        net.learn(*batch())
    net = dense(FeedbackAlignment)
    net.blocks[1].synapse = nn.Bilinear(9, 9, 8).double()
    with pytest.raises(SigpropError, match=r"Bilinear.*in block2"):
        net.learn(*batch())
    net.blocks[1].synapse = nn.Linear(9, 8, bias=False).double()
    net.learn(*batch())
    net.blocks[0].synapse = nn.Linear(7, 9).double()
    net.blocks[1].synapse = nn.Sequential(nn.Linear(9, 9), nn.Linear(9, 8)).double()
    with pytest.raises(SigpropError, match=r"\[\(8, 9\)\] for block2.*\[\(9, 9\), \(8, 9\)\]"):
        net.learn(*batch())
