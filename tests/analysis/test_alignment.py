"""The alignment of samples with the contexts of their class."""

import pytest
import torch
from torch import nn

from sigprop_snn.analysis import stream_alignment
from sigprop_snn.errors import SigpropError
from sigprop_snn.network import (
    Block,
    MultiLabelContext,
    Network,
    ProjectedContext,
    Rule,
    mlp,
)
from sigprop_snn.neurons import LIF


def test_the_cosines_are_those_of_the_recorded_voltages(network, batch):
    net = network()
    inputs, labels = batch
    found = stream_alignment(net, inputs, labels)
    assert [layer.name for layer in found] == ["block1", "block2"]
    with torch.no_grad():
        stages = list(net.eval().stages(inputs))
    for layer, stage in zip(found, stages, strict=False):
        voltage = stage.response.run.mean_voltage.clamp(min=0)
        samples, contexts = voltage[:9], voltage[9:]
        table = torch.zeros(9, 3, dtype=torch.float64)
        for row, h in enumerate(samples):
            for column, t in enumerate(contexts):
                table[row, column] = h @ t / (h.norm() * t.norm())
        same = torch.stack([table[row, label] for row, label in enumerate(labels)])
        assert layer.same == pytest.approx(float(same.mean()))
        others = [table[r, c] for r in range(9) for c in range(3) if c != labels[r]]
        assert layer.other == pytest.approx(float(torch.stack(others).mean()))
        for kind in range(3):
            torch.testing.assert_close(layer.by_class[kind], table[labels == kind].mean(0))
        assert layer.nearest == pytest.approx(float((table.argmax(1) == labels).double().mean()))


def test_samples_equal_to_their_context_have_cosine_1():
    block = Block(nn.Identity(), LIF(0.5))
    signal = ProjectedContext(3, (4,))
    net = Network(signal, [block])
    with torch.no_grad():
        currents = signal()
        inputs = currents[[0, 2, 2]].expand(5, 3, 4)
    (layer,) = stream_alignment(net, inputs, torch.tensor([0, 2, 2]))
    assert layer.same == pytest.approx(1.0)
    assert layer.other < 1.0
    assert layer.nearest == 1.0
    assert torch.isnan(layer.by_class[1]).all()  # no sample of that class


def test_a_rule_without_contexts_is_refused(network, batch):
    class Plain(Rule):
        def learn(self, network, inputs, labels, update):
            raise NotImplementedError

    with pytest.raises(SigpropError, match="no block"):
        stream_alignment(network(rule=Plain()), *batch)


def test_classes_of_any_width_are_taken_and_other_targets_refused(network, batch):
    inputs, labels = batch
    found = stream_alignment(network(), inputs, labels.int())
    assert found[0].same == stream_alignment(network(), inputs, labels)[0].same
    net = mlp((6,), 2, hidden=(5,), signal=lambda layout: MultiLabelContext(2, layout.currents[0]))
    with pytest.raises(SigpropError, match="MultiLabelContext are labels; expected classes"):
        stream_alignment(net, torch.rand(3, 4, 6), torch.ones(4, 2))
