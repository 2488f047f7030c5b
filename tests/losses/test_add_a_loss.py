"""How a local loss is added: one class, and one line in the catalogue `LOSSES`."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from sigprop_snn.network import LOSSES, LocalLoss, mlp


@dataclass(frozen=True)
class AbsoluteLoss(LocalLoss):
    """Cross-entropy over negative mean absolute differences."""

    scale: float = 10.0

    def scores(self, samples, contexts):
        differences = samples.flatten(1)[:, None] - contexts.flatten(1)
        return -self.scale * differences.abs().mean(2)

    def loss(self, scores, labels):
        return F.cross_entropy(scores, labels)


def test_a_new_loss_trains_by_its_name(monkeypatch):
    monkeypatch.setitem(LOSSES, "absolute", AbsoluteLoss)
    torch.manual_seed(0)
    network = mlp((8,), 3, hidden=(16, 12), loss="absolute")
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    labels = torch.arange(24) % 3
    inputs = torch.rand(3, 8)[labels] + 0.1 * torch.randn(5, 24, 8)
    reports = []
    for _ in range(40):
        optimizer.zero_grad()
        reports.append(network.learn(inputs, labels).layers)
        optimizer.step()
    for first, last in zip(reports[0], reports[-1], strict=True):
        assert last.loss < 0.7 * first.loss, first.name
