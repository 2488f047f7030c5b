"""What the voltage rule keeps for its backward pass does not grow with time."""

from __future__ import annotations

import weakref

import pytest
import torch

from sigprop_snn.network import SurrogateRule, VoltageRule


def kept(network, x, labels) -> list[int]:
    """Return the bytes that each layer's graph keeps, storages counted once, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    storages: dict[int, torch.UntypedStorage] = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage
        return tensor

    found = []
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        for stage in network.stages(x, labels):
            assert stage.loss is not None
            found.append(sum(storage.nbytes() for storage in storages.values()))
            stage.loss.backward()
            storages.clear()
    return found


@pytest.mark.parametrize("constant", [True, False], ids=["constant", "varying"])
@pytest.mark.parametrize("statistic", ["rectified", "mean", "sigmoid"])
@pytest.mark.parametrize("kind", ["dense", "pictures"])
def test_the_voltage_rule_keeps_the_same_at_any_length(request, batch, kind, statistic, constant):
    sizes = []
    for steps in (5, 50):
        network = request.getfixturevalue(kind)(VoltageRule(statistic))
        x, labels = batch((6,) if kind == "dense" else (2, 8, 8), steps=steps)
        x = x[0].clone().expand(x.shape) if constant else x
        sizes.append(kept(network, x, labels))
    assert sizes[0] == sizes[1]
    assert min(sizes[0]) > 0


class Kept:
    """A saved tensor in a holder that a weak reference can watch."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


@pytest.mark.parametrize("rule", [VoltageRule(), SurrogateRule()], ids=["voltage", "surrogate"])
def test_a_layers_graph_is_gone_before_the_next_one_runs(dense, batch, rule):
    network = dense(rule)
    held: weakref.WeakSet[Kept] = weakref.WeakSet()
    seen, left = [], []

    def pack(tensor: torch.Tensor) -> Kept:
        kept_one = Kept(tensor)
        held.add(kept_one)
        seen.append(1)
        return kept_one

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept_one: kept_one.tensor):
        network.learn(*batch(), lambda name: left.append((name, len(held))))
    assert seen
    assert [name for name, count in left if count > 0] == []


def test_the_surrogate_rule_keeps_every_step_of_one_layer_alone(dense, batch):
    """It needs df(U[t]) at each step; the instrument must see that."""
    short, long = (kept(dense(SurrogateRule()), *batch(steps=steps)) for steps in (5, 50))
    for a, b in zip(short[:-1], long[:-1], strict=True):
        assert b > 3 * a
    assert short[-1] == long[-1]
