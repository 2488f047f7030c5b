"""Cutting a network into stages: by cost, and by memory where the cost allows."""

from __future__ import annotations

import pytest
import torch

import sigprop_snn as sp
from sigprop_snn.errors import SigpropError
from sigprop_snn.parallel import balanced, block_costs, block_memory
from sigprop_snn.parallel.stages import checked_stages


@pytest.mark.parametrize(
    ("costs", "stages", "sizes"),
    [
        ([1.0, 1.0, 1.0, 1.0], 2, (2, 2)),
        ([5.0, 1.0, 1.0, 1.0], 2, (1, 3)),
        ([1.0, 1.0, 1.0, 5.0], 2, (3, 1)),
        ([3.0, 1.0, 1.0, 3.0, 2.0], 3, (2, 2, 1)),
        ([2.0], 1, (1,)),
        ([0.0, 0.0, 0.0], 3, (1, 1, 1)),
    ],
)
def test_the_slowest_stage_is_as_fast_as_possible(costs, stages, sizes):
    assert balanced(costs, stages) == sizes


def test_memory_decides_between_cuts_of_about_the_same_speed():
    costs = [1.0, 0.02, 1.0]
    assert balanced(costs, 2, memory=[1.0, 8.0, 8.0]) == (2, 1)
    assert balanced(costs, 2, memory=[8.0, 8.0, 1.0]) == (1, 2)
    assert balanced([1.0, 0.5, 0.9], 2, memory=[1.0, 8.0, 8.0]) == (1, 2)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (([1.0, 1.0], 3), ("3 stages", "2 blocks")),
        (([1.0, -1.0], 1), ("costs", "-1.0")),
        (([1.0, 1.0], 1, [1.0]), ("memory", "1", "2")),
    ],
)
def test_what_can_not_be_cut_is_refused(arguments, parts):
    costs, stages, *memory = arguments
    with pytest.raises(SigpropError) as refused:
        balanced(costs, stages, memory=memory[0] if memory else None)
    assert all(part in str(refused.value) for part in parts)


@pytest.mark.parametrize("stages", ["half", [2], [1, 1, 1], 3, [0, 3]])
def test_wrong_stages_are_refused(stages):
    with pytest.raises(SigpropError, match="stages"):
        checked_stages(stages, 3, 2)


def test_measuring_changes_neither_the_network_nor_the_random_state():
    network = sp.conv((1, 8, 8), 3, channels=(4, 6), kernel=3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    x, labels = torch.rand(4, 6, 1, 8, 8), torch.arange(6) % 3
    state = torch.get_rng_state()
    costs, memory = block_costs(network, x, labels, repeat=1), block_memory(network, x)
    assert len(costs) == len(memory) == 2
    assert min(costs) > 0 and memory[0] > 2 * 4 * 9 * 4 * 8 * 8
    assert torch.equal(state, torch.get_rng_state())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert network.training and all(p.grad is None for p in network.parameters())
