"""The scores of a network have no gradient, and say so to those who ask for one."""

from __future__ import annotations

import copy
import io

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import sigprop_snn as sp
from sigprop_snn.network import Online

X, LABELS = torch.rand(5, 8, 6), torch.arange(8) % 3

ASKING = {
    "a loss of torch": lambda s: F.cross_entropy(s, LABELS).backward(),
    "a module": lambda s: nn.MultiMarginLoss()(s, LABELS).backward(),
    "an own loss": lambda s: (s.log_softmax(1)[:, 0] ** 2).mean().backward(),
    "the scores": lambda s: s.sum().backward(),
    "grad": lambda s: torch.autograd.grad(F.cross_entropy(s, LABELS), [torch.rand(1)]),
}


@pytest.mark.parametrize("predict", ["readout", "context", "vote"])
@pytest.mark.parametrize("asking", ASKING)
def test_a_backward_pass_of_the_scores_names_what_learns(asking, predict):
    network = sp.mlp((6,), 3, hidden=(5,), predict=predict)
    with pytest.raises(sp.SigpropError, match=r"network\(x\).*network\.learn.*'backpropagation'"):
        ASKING[asking](network(X))


def test_an_own_layer_on_top_of_the_scores_learns():
    network, head = sp.mlp((6,), 3, hidden=(5,)), nn.Linear(3, 3)
    F.cross_entropy(head(network(X)), LABELS).backward()
    assert type(head.weight.grad) is Tensor
    assert head.weight.grad.abs().sum() > 0


def test_scores_are_plain_in_evaluation_without_gradients_in_a_copy_and_in_a_file():
    network = sp.mlp((6,), 3, hidden=(5,))
    in_training = network(X)
    with torch.no_grad():
        assert type(network(X)) is Tensor
    with torch.inference_mode():
        assert type(network(X)) is Tensor
    assert type(copy.deepcopy(in_training)) is Tensor
    file = io.BytesIO()
    torch.save(in_training, file)
    file.seek(0)
    loaded = torch.load(file)
    assert type(loaded) is Tensor and torch.equal(loaded, in_training)
    assert repr(in_training).startswith("tensor(")
    assert type(network.eval()(X)) is Tensor
    assert type(Online(network)(X)) is Tensor


def test_scores_are_used_as_any_tensor():
    scores = sp.mlp((6,), 3, hidden=(5,))(X)
    assert not scores.requires_grad
    assert scores.argmax(1).tolist() == scores.numpy().argmax(1).tolist()
    assert float((scores.argmax(1) == LABELS).float().mean()) >= 0


def test_a_batch_reports_its_loss_and_its_accuracy():
    learned = sp.mlp((6,), 3, hidden=(5, 4)).learn(X, LABELS)
    assert learned.loss == pytest.approx(sum(layer.loss for layer in learned.layers))
    assert learned.accuracy == learned.correct / 8
    backward = sp.mlp((6,), 3, hidden=(5, 4), rule="backpropagation").learn(X, LABELS)
    assert backward.loss == backward.layers[-1].loss
