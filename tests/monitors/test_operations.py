"""Operations equal a count by hand, spike by spike and weight by weight."""

import itertools
import math

import pytest
import torch
from torch import nn

from sigprop_snn.errors import SigpropError
from sigprop_snn.monitors import count_operations
from sigprop_snn.monitors.wiring import wiring
from sigprop_snn.network import (
    Block,
    Network,
    ProjectedContext,
    Readout,
    RunningNorm,
    SurrogateRule,
    mlp,
)
from sigprop_snn.neurons import LIF, AllToAll, OneToOne, Rate, Recurrent

STEPS, ROWS = 6, 3


def touched(conv: nn.Conv2d, shape: tuple[int, int, int]) -> dict[tuple[int, ...], int]:
    """The number of weights that a spike at each position meets, counted from the output."""
    channels, *sides = shape
    met = dict.fromkeys(itertools.product(range(channels), *map(range, sides)), 0)
    outs = [
        (side + 2 * pad - dil * (kernel - 1) - 1) // stride + 1
        for side, pad, dil, kernel, stride in zip(
            sides, conv.padding, conv.dilation, conv.kernel_size, conv.stride, strict=True
        )
    ]
    maps_a_group = conv.out_channels // conv.groups
    channels_a_group = conv.in_channels // conv.groups
    for out, *place in itertools.product(range(conv.out_channels), *map(range, outs)):
        group = out // maps_a_group
        for channel in range(group * channels_a_group, (group + 1) * channels_a_group):
            for tap in itertools.product(*map(range, conv.kernel_size)):
                at = [
                    p * s - pad + k * d
                    for p, s, pad, k, d in zip(
                        place, conv.stride, conv.padding, tap, conv.dilation, strict=True
                    )
                ]
                if (channel, *at) in met:
                    met[(channel, *at)] += 1
    return met


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(2, 3, 3),
        nn.Conv2d(2, 3, 3, padding=1),
        nn.Conv2d(2, 3, 5, padding=2, stride=2),
        nn.Conv2d(4, 6, 3, padding=1, groups=2),
        nn.Conv2d(2, 3, (2, 3), stride=(1, 2), padding=(0, 1), dilation=(2, 1)),
        nn.Conv2d(3, 3, 3, padding=1, groups=3),
        nn.Conv1d(2, 3, 3, padding=1, stride=2),
        nn.Conv3d(1, 2, 2, stride=1, padding=1),
    ],
    ids=str,
)
def test_the_fan_out_of_a_convolution_is_exact_at_every_place(conv):
    shape = (conv.in_channels, *(6, 7, 4)[: len(conv.kernel_size)])
    met = touched(conv, shape)
    found = wiring([conv], shape)
    for place, count in met.items():
        assert found.fan_out[place] == count, place
    assert found.connections == sum(met.values())
    assert found.behind == 0


def windows(side: int, kernel: int, stride: int) -> dict[int, list[int]]:
    """The windows of a pool that contain each position of a row."""
    count = (side - kernel) // stride + 1
    return {
        at: [w for w in range(count) if w * stride <= at < w * stride + kernel]
        for at in range(side)
    }


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (2, 1)])
def test_through_an_average_pool_a_spike_reaches_every_window_that_contains_it(kernel, stride):
    conv = nn.Conv2d(2, 3, 3, padding=1)
    found = wiring([nn.AvgPool2d(kernel, stride), conv], (2, 7, 7))
    reach = windows(7, kernel, stride)
    side = (7 - kernel) // stride + 1
    behind = touched(conv, (2, side, side))
    for channel, row, column in itertools.product(range(2), range(7), range(7)):
        expected = sum(behind[(channel, r, c)] for r in reach[row] for c in reach[column])
        assert found.fan_out[channel, row, column] == expected
    assert found.connections == sum(behind.values())


def test_average_pools_of_every_dimension_count_the_windows():
    for pool, shape in (
        (nn.AvgPool1d(3, 2), (2, 7)),
        (nn.AvgPool2d(3, 2), (2, 7, 5)),
        (nn.AvgPool3d(2, 2), (2, 4, 4, 4)),
    ):
        found = wiring([pool, nn.Flatten(), nn.LazyLinear(1)][:2], shape)
        ones = torch.ones(1, *shape, requires_grad=True)
        kernel = pool.kernel_size if isinstance(pool.kernel_size, int) else pool.kernel_size[0]
        mean = pool(ones).sum() * kernel ** (len(shape) - 1)
        mean.backward()
        torch.testing.assert_close(found.fan_out, ones.grad[0].double())


def dense(**settings) -> Network:
    torch.manual_seed(0)
    blocks = [
        Block(nn.Sequential(nn.Flatten(), nn.Linear(8, 10)), LIF(0.8)),
        Block(nn.Linear(10, 7), settings.pop("neuron", LIF(0.8)), norm=settings.pop("norm", None)),
    ]
    network = Network(ProjectedContext(3, (10,)), blocks, Readout(7, 3), **settings)
    with torch.no_grad():
        for block in blocks:
            for weight in block.synapse.parameters():
                weight.add_(0.3)
    return network


def events(*shape: int) -> torch.Tensor:
    made = torch.Generator().manual_seed(1)
    return torch.randint(0, 3, (STEPS, ROWS, *shape), generator=made).float()


def spikes_of(network: Network, inputs: torch.Tensor) -> list[torch.Tensor]:
    network.eval()
    kept = network.record(inputs, ("spike",))
    return [kept[name]["spike"] for name in kept]


def test_fully_connected_layers_spike_by_spike():
    network, inputs = dense(rule=SurrogateRule()), events(2, 4)
    first, second = spikes_of(network, inputs)
    found = count_operations(network.train(), inputs)
    assert network.training
    assert list(found) == ["block1", "block2", "readout"]
    for row in range(ROWS):
        met = dict.fromkeys(found, 0)
        for step in range(STEPS):
            met["block1"] += 10 * int(inputs[step, row].sum())
            met["block2"] += 7 * int(first[step, row].sum())
            met["readout"] += 3 * int(second[step, row].sum())
        for name, expected in met.items():
            assert found[name].additions[row] == expected > 0, name
        assert found["block1"].spikes[row] == first[:, row].sum()
        assert found["block2"].spikes[row] == second[:, row].sum()
    assert [found[name].macs.sum() for name in found] == [0, 0, 0]
    assert [found[name].updates for name in found] == [10 * STEPS, 7 * STEPS, 3 * STEPS]
    assert [found[name].connections for name in found] == [80, 70, 21]


def test_direct_current_is_multiplied_once_and_graded_input_at_every_step():
    network = dense()
    constant = torch.rand(ROWS, 2, 4).expand(STEPS, ROWS, 2, 4)
    assert count_operations(network, constant)["block1"].macs.tolist() == [80.0] * ROWS
    whole = torch.ones(ROWS, 2, 4).expand(STEPS, ROWS, 2, 4)  # a constant current of whole numbers
    assert count_operations(network, whole)["block1"].macs.tolist() == [80.0] * ROWS
    found = count_operations(network, torch.rand(STEPS, ROWS, 2, 4))
    assert found["block1"].macs.tolist() == [80.0 * STEPS] * ROWS
    assert found["block1"].additions.tolist() == [0.0] * ROWS
    assert found["block2"].macs.tolist() == [0.0] * ROWS


def test_a_normaliser_that_measures_costs_two_macs_a_value():
    found = count_operations(dense(norm=nn.LayerNorm(7)), events(2, 4))
    assert found["block2"].macs.tolist() == [2.0 * 7 * STEPS] * ROWS
    folded = count_operations(dense(norm=nn.BatchNorm1d(7)), events(2, 4))
    assert folded["block2"].macs.tolist() == [0.0] * ROWS


@pytest.mark.parametrize(("recurrence", "each"), [(AllToAll((7,)), 7), (OneToOne((7,)), 1)])
def test_recurrent_weights_count_the_spikes_of_the_layer_one_step_later(recurrence, each):
    network, inputs = dense(neuron=Recurrent(LIF(0.8), recurrence)), events(2, 4)
    first, second = spikes_of(network, inputs)
    found = count_operations(network, inputs)["block2"]
    expected = 7 * first.sum((0, 2)) + each * second[:-1].sum((0, 2))
    assert second[-1].sum() > 0  # otherwise the delay would make no difference
    assert torch.equal(found.additions, expected.double())


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.AvgPool2d(2), None], ids=str)
def test_convolutions_with_pools_between_spike_by_spike(pool):
    torch.manual_seed(2)
    second_conv = nn.Conv2d(3, 2, 3, padding=1, stride=2)
    blocks = [
        Block(nn.Conv2d(2, 3, 3, padding=1), LIF(0.8), norm=RunningNorm(3), pool=pool),
        Block(second_conv, LIF(0.8), norm=RunningNorm(2), pool=nn.MaxPool2d(2)),
    ]
    side = 8 if pool is None else 4
    network = Network(ProjectedContext(3, (3, 8, 8)), blocks, Readout(2 * (side // 4) ** 2, 3))
    inputs = events(2, 8, 8)
    first, second = spikes_of(network, inputs)
    found = count_operations(network, inputs)
    into_first = touched(blocks[0].synapse, (2, 8, 8))
    into_second = touched(second_conv, (3, side, side))
    for row in range(ROWS):
        expected = sum(
            int(inputs[(step, row, *place)]) * count
            for place, count in into_first.items()
            for step in range(STEPS)
        )
        assert found["block1"].additions[row] == expected
        if isinstance(pool, nn.MaxPool2d):
            arriving = pool(first[:, row])
        elif pool is None:
            arriving = first[:, row]
        else:
            arriving = 4 * pool(first[:, row])  # spikes in each window
        expected = sum(
            int(arriving[(step, *place)]) * count
            for place, count in into_second.items()
            for step in range(STEPS)
        )
        assert found["block2"].additions[row] == expected > 0
        passed = nn.functional.max_pool2d(second[:, row], 2)
        assert found["readout"].additions[row] == 3 * passed.sum()
        assert found["block2"].macs[row] == 0


def test_weights_that_follow_weights_take_graded_values():
    synapse = nn.Sequential(nn.Flatten(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 10))
    network = Network(ProjectedContext(3, (10,)), [Block(synapse, LIF())])
    inputs = events(2, 4)
    found = count_operations(network, inputs)["block1"]
    assert torch.equal(found.additions, 5 * inputs.double().sum((0, 2, 3)))
    assert found.macs.tolist() == [50.0 * STEPS] * ROWS
    assert found.connections == 90


def test_a_normaliser_before_the_weights_makes_the_values_graded():
    synapse = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 10))
    network = Network(ProjectedContext(3, (10,)), [Block(synapse, LIF())])
    found = count_operations(network, events(8))["block1"]
    assert found.additions.tolist() == [0.0] * ROWS
    assert found.macs.tolist() == [(2.0 * 8 + 80) * STEPS] * ROWS


def test_weights_of_an_unknown_kind_are_named():
    network = Network(ProjectedContext(3, (8,)), [Block(nn.PReLU(), LIF())])
    with pytest.raises(SigpropError, match="block1: PReLU"):
        count_operations(network, events(8))


def test_the_spikes_are_those_that_evaluation_sees():
    network = mlp((8,), 3, hidden=(12,))
    found = count_operations(network, events(8))["block1"]
    (spike,) = spikes_of(network, events(8))
    assert math.isclose(float(found.spikes.sum()), float(spike.sum()))


def test_a_graded_activity_is_multiplied_and_is_no_spike():
    first = nn.Linear(8, 10)
    for weight in first.parameters():
        nn.init.ones_(weight)  # a graded activity may be a whole number
    blocks = [Block(first, Rate()), Block(nn.Linear(10, 7), LIF())]
    network = Network(ProjectedContext(3, (10,)), blocks, Readout(7, 3))
    found = count_operations(network, events(8))
    assert found["block1"].spikes.tolist() == [0.0] * ROWS
    assert torch.equal(found["block1"].additions, 10 * events(8).double().sum((0, 2)))
    assert found["block2"].macs.tolist() == [70.0 * STEPS] * ROWS
    assert found["block2"].additions.tolist() == [0.0] * ROWS
    assert found["readout"].macs.tolist() == [0.0] * ROWS
