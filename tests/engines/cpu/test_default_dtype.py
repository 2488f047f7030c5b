"""A program's default dtype does not change what the kernels of float32 compute."""

import copy
from contextlib import contextmanager

import pytest
import torch

from sigprop_snn.network import SurrogateRule, VoltageRule, conv, mlp
from sigprop_snn.neurons import use_engine
from sigprop_snn.neurons.engines.cpu.engine import CpuEngine


@contextmanager
def default(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def learned(network, x, labels):
    """The gradients and the scores, on kernels alone."""
    network = copy.deepcopy(network)
    with use_engine(CpuEngine(worth=0, pack_from=0)):
        network.learn(x, labels)
        scores = network.eval()(x)
    return [*(p.grad for p in network.parameters()), scores]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("rule", [VoltageRule, SurrogateRule])
@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_a_network_of_float32_learns_the_same_under_another_default(kind, rule, dtype):
    torch.manual_seed(0)
    if kind == "mlp":
        network, shape = mlp((20,), 3, hidden=(16, 16), rule=rule()), (20,)
    else:
        network, shape = conv((2, 8, 8), 3, channels=(4, 4), rule=rule()), (2, 8, 8)
    x, labels = (torch.rand(8, 12, *shape) < 0.3).float(), torch.arange(12) % 3
    expected = learned(network, x, labels)
    with default(dtype):
        found = learned(network, x, labels)
    for one, other in zip(found, expected, strict=True):
        assert other is None if one is None else torch.equal(one, other)
