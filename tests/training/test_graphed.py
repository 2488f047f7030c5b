"""A step as a CUDA graph learns what the step itself learns."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import mlp
from sigprop_snn.training import GraphedStep, LocalOptimizers


def test_a_network_on_a_cpu_is_refused():
    network = mlp(6, 3, hidden=5)
    with pytest.raises(SigpropError, match="cpu"):
        GraphedStep(network, LocalOptimizers(network, torch.optim.Adam))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("rule", ["voltage", "surrogate"])
def test_replays_learn_what_steps_learn(rule):
    networks = []
    for graphed in (False, True):
        torch.manual_seed(0)
        network = mlp(12, 3, hidden=(16, 16), rule=rule).cuda()
        adam = partial(torch.optim.Adam, lr=1e-2, capturable=True)
        optimizers = LocalOptimizers(network, adam)
        step = GraphedStep(network, optimizers) if graphed else None
        random = torch.Generator().manual_seed(1)
        for _ in range(8):
            x = torch.rand(4, 10, 12, generator=random).cuda()
            labels = torch.randint(3, (10,), generator=random).cuda()
            learned = step(x, labels) if step is not None else network.learn(x, labels, optimizers)
        networks.append((network, learned.layers[0].loss))
    (one, loss), (other, graphed_loss) = networks
    assert graphed_loss == pytest.approx(loss, rel=1e-4)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_batch_of_another_shape_is_refused():
    network = mlp(12, 3, hidden=8).cuda()
    step = GraphedStep(
        network, LocalOptimizers(network, partial(torch.optim.Adam, capturable=True))
    )
    labels = torch.zeros(10, dtype=torch.long, device="cuda")
    for _ in range(5):
        step(torch.rand(4, 10, 12, device="cuda"), labels)
    with pytest.raises(SigpropError, match=r"\[4, 9, 12\]"):
        step(torch.rand(4, 9, 12, device="cuda"), labels[:9])
