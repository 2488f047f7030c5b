"""A step as a CUDA graph learns what the step itself learns."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import mlp
from sigprop_snn.training import GraphedStep, LocalOptimizers
from sigprop_snn.training.graphed import GraphRates


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


def adam_of(network, **settings):
    return LocalOptimizers(network, partial(torch.optim.Adam, lr=0.5, fused=True, **settings))


def test_groups_have_tensors_and_capturable_only_for_a_capture():
    optimizers = adam_of(mlp(6, 3, hidden=5))
    rates = GraphRates(optimizers)
    with rates.in_place():
        for group in optimizers.param_groups:
            assert group["lr"].dtype == torch.float32 and float(group["lr"]) == 0.5
            assert group["capturable"]
    with pytest.raises(RuntimeError, match="capture"), rates.in_place():
        raise RuntimeError("the capture failed")
    for group in optimizers.param_groups:
        assert group["lr"] == 0.5 and type(group["lr"]) is float
        assert group["capturable"] is False


def test_a_graph_sees_the_rates_that_a_schedule_sets():
    optimizers = adam_of(mlp(6, 3, hidden=5))
    rates = GraphRates(optimizers)
    with rates.in_place():
        tensors = [group["lr"] for group in optimizers.param_groups]
    optimizers.param_groups[-1]["lr"] = 0.25
    rates.fill()
    assert [float(tensor) for tensor in tensors] == [0.5, 0.25]
    with rates.in_place():
        assert [group["lr"] is tensor for group, tensor in
                zip(optimizers.param_groups, tensors, strict=True)] == [True, True]  # fmt: skip


def test_a_rate_that_is_a_tensor_stays_as_it_is():
    rate = torch.tensor(0.5)
    network = mlp(6, 3, hidden=5)
    optimizers = LocalOptimizers(network, partial(torch.optim.Adam, lr=rate, fused=True))
    rates = GraphRates(optimizers)
    rates.fill()
    with rates.in_place():
        assert all(group["lr"] is rate for group in optimizers.param_groups)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_replays_follow_a_schedule_of_plain_rates():
    networks = []
    for graphed in (False, True):
        torch.manual_seed(0)
        network = mlp(12, 3, hidden=(16, 16)).cuda()
        optimizers = LocalOptimizers(network, partial(torch.optim.Adam, lr=1e-2, fused=True))
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizers, 0.5)
        step = GraphedStep(network, optimizers) if graphed else None
        random = torch.Generator().manual_seed(1)
        for _ in range(9):
            x = torch.rand(4, 10, 12, generator=random).cuda()
            labels = torch.randint(3, (10,), generator=random).cuda()
            _ = step(x, labels) if step is not None else network.learn(x, labels, optimizers)
            schedule.step()
        networks.append(network)
    for a, b in zip(*(network.parameters() for network in networks), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
