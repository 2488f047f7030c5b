"""The doubts that come up each time: weight transport, a backward pass, memory with depth."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from sigprop_snn.network import (
    Block,
    Network,
    ProjectedContext,
    Readout,
    RunningScale,
    SurrogateRule,
    VoltageRule,
    layout_of,
)
from sigprop_snn.neurons import LIF, Rate
from sigprop_snn.neurons.engines import DenseSpikes, Spikes
from sigprop_snn.rules import (
    Backpropagation,
    DirectFeedbackAlignment,
    DirectRandomTarget,
    EProp,
    FeedbackAlignment,
    LocalReadout,
    OnlineThroughTime,
    TargetPropagation,
)
from sigprop_snn.surrogates import Sigmoid

MAKERS = {
    "voltage": lambda layout: VoltageRule(),
    "mean-voltage": lambda layout: VoltageRule("mean"),
    "surrogate": lambda layout: SurrogateRule(),
    "local-readout": LocalReadout,
    "direct-random-target": DirectRandomTarget,
    "direct-feedback-alignment": DirectFeedbackAlignment,
    "e-prop": EProp,
    "feedback-alignment": FeedbackAlignment,
    "target-propagation": TargetPropagation,
    "ottt": lambda layout: OnlineThroughTime(),
    "backpropagation": lambda layout: Backpropagation(),
}
FORWARD_ONLY = ["voltage", "mean-voltage", "surrogate", "local-readout", "direct-random-target"]
TRANSPORT = ["backpropagation", "ottt"]
CROSSING = ["backpropagation", "ottt", "feedback-alignment"]
CLASSES = 4


def made(name: str, sizes=(6, 10, 9, 8)) -> Network:
    torch.manual_seed(0)

    def neuron():
        return Rate(surrogate=Sigmoid(3.0)) if name == "target-propagation" else LIF(0.8)

    blocks = [
        Block(nn.Linear(a, b), neuron(), norm=RunningScale(b, 2.0)) for a, b in pairwise(sizes)
    ]
    layout = layout_of(blocks, (sizes[0],), CLASSES)
    signal = ProjectedContext(CLASSES, (sizes[1],), gain=2.0)
    readout = Readout(sizes[-1], CLASSES)
    return Network(signal, blocks, readout, rule=MAKERS[name](layout)).double()


def data(name: str, rows: int = 8, width: int = 6) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    steps = 1 if name == "target-propagation" else 5
    return 2 * torch.randn(steps, rows, width, dtype=torch.float64), torch.arange(rows) % CLASSES


# Rates are never silent here, and a rectified voltage below zero asks for no change.
SILENT = [name for name in MAKERS if name not in ("target-propagation", "voltage")]


@pytest.mark.parametrize("name", SILENT)
def test_no_weight_transport(name):
    """What a silent neuron's outgoing weights are is seen in the backward direction only.

    The neuron never fires, so its outgoing weights change nothing forward. Its own update must
    not know them either, unless the rule carries errors back through them.
    """
    x, labels = data(name)
    updates = []
    for drawn in (0, 1):
        net = made(name)
        torch.manual_seed(10 + drawn)
        with torch.no_grad():
            net.signal.projection[:, 3] = -2.0  # nor do the contexts make it fire
        for index, block in enumerate(net.blocks):
            above = net.blocks[index + 1].synapse if index < 2 else net.readout.synapse
            with torch.no_grad():
                block.norm.momentum = 0.0
                block.norm.batches.fill_(10)  # the statistics are fixed: silence disturbs nobody
                block.synapse.bias[3] = -4.0
                above.weight[:, 3] = torch.randn(len(above.weight), dtype=torch.float64)
        kept = net.eval().record(x, ["spike"])
        assert all(layer["spike"][..., 3].sum() == 0 for layer in kept.values())
        assert all(layer["spike"].sum() > 0 for layer in kept.values())
        net.learn(x, labels)
        updates.append([block.synapse.weight.grad[3] for block in net.blocks])
    same = [torch.allclose(a, b, rtol=0, atol=1e-14) for a, b in zip(*updates, strict=True)]
    assert all(a.abs().max() > 0 for a in updates[0])
    assert same == [name not in TRANSPORT] * 3


@pytest.fixture
def crossings(monkeypatch):
    """Counts the gradients that arrive at what a block or the readout received."""
    counted: list[str] = []

    def watched(inputs: Tensor | Spikes) -> Tensor | Spikes:
        if not isinstance(inputs, Tensor):
            return DenseSpikes(watched(inputs.dense()))
        if inputs.requires_grad:
            inputs = inputs.view_as(inputs)
            inputs.register_hook(lambda grad: counted.append("crossed"))
        return inputs

    for owner, name in ((Block, "current"), (Block, "static_current"), (Readout, "forward")):
        plain = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda self, x, *a, plain=plain, **k: plain(self, watched(x), *a, **k)
        )
    return counted


@pytest.mark.parametrize("name", MAKERS)
def test_no_backward_pass_through_depth(name, crossings):
    net = made(name)
    net.learn(*data(name))
    crossed = len(crossings)
    # Target propagation asks the readout alone for the error of what it received.
    expected = {"backpropagation": 3, "feedback-alignment": 2, "ottt": 2 * 5}
    assert crossed == expected.get(name, int(name == "target-propagation"))
    assert (crossed > 1) == (name in CROSSING)
    assert all(block.synapse.weight.grad.abs().max() > 0 for block in net.blocks)


def peak_held(name: str, depth: int) -> int:
    """The most numbers that wait for a backward pass at once; weights are there anyway."""
    net = made(name, (12,) * (depth + 1))
    own = {p.untyped_storage().data_ptr() for p in (*net.parameters(), *net.buffers())}
    live = peak = 0

    class Held:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal live, peak
            self.tensor = tensor
            self.size = 0 if tensor.untyped_storage().data_ptr() in own else tensor.numel()
            live += self.size
            peak = max(peak, live)

        def __del__(self) -> None:
            nonlocal live
            live -= self.size

    x, labels = data(name, rows=16, width=12)
    with torch.autograd.graph.saved_tensors_hooks(Held, lambda held: held.tensor):
        net.learn(x, labels, lambda _: None)
    return peak


@pytest.mark.parametrize("name", FORWARD_ONLY)
def test_memory_of_a_forward_only_rule_does_not_grow_with_depth(name):
    two, four, eight = (peak_held(name, depth) for depth in (2, 4, 8))
    assert 0 < two == four == eight


@pytest.mark.parametrize("name", CROSSING)
def test_memory_of_a_backward_pass_grows_with_depth(name):
    two, four, eight = (peak_held(name, depth) for depth in (2, 4, 8))
    per_layer = (four - two) / 2
    assert per_layer > 0
    assert eight - four == pytest.approx(4 * per_layer, rel=0.01)
    assert eight > 2.5 * two


@pytest.mark.parametrize("name", MAKERS)
def test_needs_say_what_is_so(name):
    needs = type(made(name).rule).needs
    transports = name in TRANSPORT
    assert needs.symmetric_weights == (transports or name == "target-propagation")
    assert needs.backward_pass == (name in CROSSING or name == "target-propagation")
    held = name in CROSSING or name in ("target-propagation", "direct-feedback-alignment", "e-prop")
    assert (needs.stored_activations in ("layers", "both")) == held
