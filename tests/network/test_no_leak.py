"""No accuracy comes from a leak: nothing is known without training, nothing from wrong labels."""

from __future__ import annotations

import pytest
import torch

from sigprop_snn.data import load
from sigprop_snn.network import Network, SurrogateRule, VoltageRule, mlp

BOTH = [pytest.param(VoltageRule(), id="voltage"), pytest.param(SurrogateRule(), id="surrogate")]


@pytest.fixture(scope="module")
def digits():
    return load("digits", steps=6, batch_size=64, seed=0)


def make(digits, rule, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return mlp(digits.shape, len(digits.classes), hidden=(128, 128), rule=rule)


def accuracy(network: Network, digits, predict: str) -> float:
    network.eval()
    network.predict = predict
    hits = sum(int((network(x).argmax(1) == y).sum()) for x, y in digits.test)
    return hits / digits.test.samples


def train(network: Network, digits, epochs: int, labelled=lambda y: y) -> None:
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(epochs):
        network.train()
        for x, y in digits.train:
            optimizer.zero_grad()
            network.learn(x, labelled(y))
            optimizer.step()


@pytest.mark.parametrize("rule", BOTH)
def test_an_untrained_network_is_near_chance(digits, rule):
    for predict in ("readout", "context"):
        scores = [accuracy(make(digits, rule, seed), digits, predict) for seed in range(5)]
        assert sum(scores) / 5 < 0.2
        assert max(scores) < 0.35


@pytest.mark.parametrize("rule", BOTH)
def test_a_network_trained_on_shuffled_labels_stays_near_chance(digits, rule):
    made = torch.Generator().manual_seed(0)
    network = make(digits, rule)
    train(network, digits, 4, lambda y: y[torch.randperm(len(y), generator=made)])
    for predict in ("readout", "context"):
        assert accuracy(network, digits, predict) < 0.3


@pytest.mark.parametrize("rule", BOTH)
def test_a_short_training_run_learns_the_digits(digits, rule):
    network = make(digits, rule)
    train(network, digits, 6)
    for predict in ("readout", "context"):
        assert accuracy(network, digits, predict) >= 0.9


@pytest.mark.parametrize("rule", BOTH)
def test_the_scores_of_a_learning_pass_do_not_know_the_labels(digits, rule):
    """The same batch with other labels: other gradients, the same scores at every layer."""
    x, labels = next(iter(digits.train))
    seen, gradients = [], []
    for given in (labels, (labels + 3) % 10):
        network = make(digits, rule)
        stages = list(network.stages(x, given))
        seen.append([stage.scores.detach() for stage in stages])
        for stage in stages:
            stage.loss.backward()
        gradients.append([p.grad for p in network.parameters()])
        by_learning = make(digits, rule).learn(x, given)
        assert torch.equal(by_learning.scores, seen[-1][-1])
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize("rule", BOTH)
def test_contexts_never_see_the_samples(digits, rule):
    """With the normalisers' statistics at rest, the contexts' rows are the same for any batch."""
    network = make(digits, rule).eval()
    (x, _), (other, _) = list(digits.test)[:2]
    rows = []
    for given in (x, other):
        stages = [s for s in network.stages(given) if s.response is not None]
        rows.append([s.response.representation[given.shape[1] :] for s in stages])
    for a, b in zip(*rows, strict=True):
        assert a.shape[0] == 10
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
