"""The learning-rate schedules of torch work on `LocalOptimizers`."""

from __future__ import annotations

import copy
import warnings
from functools import partial

import pytest
import torch
from torch.optim import lr_scheduler as schedules

from sigprop_snn.errors import SigpropError
from sigprop_snn.network import mlp
from sigprop_snn.training import LocalOptimizers

SGD = partial(torch.optim.SGD, lr=0.4, momentum=0.9)
STEPS = 6


def small():
    torch.manual_seed(0)
    return mlp((6,), 3, hidden=(5, 4))


def learned(network, optimizers, seed=1):
    drawn = torch.Generator().manual_seed(seed)
    network.learn(torch.rand(4, 6, 6, generator=drawn), torch.arange(6) % 3, optimizers)


SCHEDULES = {
    "step": partial(schedules.StepLR, step_size=2, gamma=0.5),
    "multi-step": partial(schedules.MultiStepLR, milestones=[1, 3]),
    "cosine": partial(schedules.CosineAnnealingLR, T_max=STEPS),
    "warm restarts": partial(schedules.CosineAnnealingWarmRestarts, T_0=2),
    "one cycle": partial(schedules.OneCycleLR, max_lr=1.0, total_steps=STEPS + 1),
    "cyclic": partial(schedules.CyclicLR, base_lr=0.1, max_lr=0.5, step_size_up=2),
    "lambda": partial(schedules.LambdaLR, lr_lambda=lambda step: 0.9**step),
    "linear": partial(schedules.LinearLR, total_iters=3),
    "in a row": lambda optimizer: schedules.SequentialLR(
        optimizer,
        [schedules.ConstantLR(optimizer, 0.1, 2), schedules.ExponentialLR(optimizer, 0.9)],
        milestones=[2],
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_layer_has_the_rates_that_one_optimizer_would_have(name):
    network = small()
    optimizers = LocalOptimizers(network, SGD)
    alone = SGD([torch.nn.Parameter(torch.zeros(1))])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*epoch parameter")  # torch's own SequentialLR
        ours, theirs = SCHEDULES[name](optimizers), SCHEDULES[name](alone)
        found, expected = [], []
        for seed in range(STEPS):
            learned(network, optimizers, seed)
            alone.step()
            ours.step()
            theirs.step()
            found.append([group["lr"] for group in optimizers.param_groups])
            expected.append([alone.param_groups[0]["lr"]] * 3)
    assert found == expected
    assert len({rates[0] for rates in expected}) > 1


def test_a_schedule_that_waits_for_a_plateau_lowers_every_rate():
    optimizers = LocalOptimizers(small(), SGD)
    schedule = schedules.ReduceLROnPlateau(optimizers, patience=0)
    for _ in range(2):
        schedule.step(1.0)
    assert [group["lr"] for group in optimizers.param_groups] == [pytest.approx(0.04)] * 3


def test_a_schedule_keeps_the_ratio_of_single_layers():
    network = small()
    optimizers = LocalOptimizers(network, SGD, {"block1": partial(torch.optim.SGD, lr=0.1)})
    schedule = schedules.StepLR(optimizers, 1, gamma=0.5)
    learned(network, optimizers)
    schedule.step()
    assert [group["lr"] for group in optimizers.param_groups] == [0.05, 0.2, 0.2]


def test_a_schedule_goes_on_from_its_state():
    def made():
        network = small()
        optimizers = LocalOptimizers(network, SGD)
        return network, optimizers, schedules.CosineAnnealingLR(optimizers, STEPS)

    network, optimizers, schedule = made()
    for seed in range(STEPS):
        if seed == 3:
            saved = copy.deepcopy(
                [network.state_dict(), optimizers.state_dict(), schedule.state_dict()]
            )
        learned(network, optimizers, seed)
        schedule.step()
    other = made()
    for part, state in zip(other, saved, strict=True):
        part.load_state_dict(state)
    for seed in range(3, STEPS):
        learned(other[0], other[1], seed)
        other[2].step()
    for a, b in zip(network.parameters(), other[0].parameters(), strict=True):
        assert torch.equal(a, b)
    assert [g["lr"] for g in optimizers.param_groups] == [g["lr"] for g in other[1].param_groups]


def test_a_rate_is_set_by_hand_as_in_torch():
    network = small()
    optimizers = LocalOptimizers(network, SGD)
    for group in optimizers.param_groups:
        group["lr"] = 0.0
    before = copy.deepcopy(list(network.parameters()))
    learned(network, optimizers)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_optimizers_with_a_schedule_are_copied_with_their_network():
    network = small()
    optimizers = LocalOptimizers(network, SGD)
    schedules.StepLR(optimizers, 1)
    learned(network, optimizers)
    twin, its = copy.deepcopy((network, optimizers))
    for each, update in ((network, optimizers), (twin, its)):
        learned(each, update, 2)
    for a, b in zip(network.parameters(), twin.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_step_without_a_name_updates_every_layer_that_has_a_gradient():
    network, twin = small(), small()
    optimizers = LocalOptimizers(network, SGD)
    learned(network, None)
    optimizers.step()
    learned(twin, LocalOptimizers(twin, SGD))
    for a, b in zip(network.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(a, b)
        assert a.grad is None
    with pytest.raises(SigpropError, match="block1 has no gradient"):
        optimizers.step()


def test_gradients_are_freed_or_set_to_zero():
    network = small()
    optimizers = LocalOptimizers(network, SGD)
    learned(network, None)
    optimizers.zero_grad(set_to_none=False)
    assert all((p.grad == 0).all() for p in network.parameters())
    optimizers.zero_grad()
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.parametrize("state", [None, {}, {"block1": {}}, []])
def test_a_state_of_other_layers_is_refused(state):
    with pytest.raises(SigpropError, match=r"state_dict.*(block2|every layer)"):
        LocalOptimizers(small(), SGD).load_state_dict(state)


def test_a_group_of_no_layer_is_refused():
    with pytest.raises(SigpropError, match="by_layer"):
        LocalOptimizers(small(), SGD).add_param_group({"params": []})
