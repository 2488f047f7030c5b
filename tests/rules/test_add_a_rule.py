"""How a layer rule is added: one class, and one line in the catalogue `RULES`."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from sigprop_snn.layers.gradient_paths import gradient_path
from sigprop_snn.network import Needs, Response, mlp
from sigprop_snn.rules import RULES, RuleChoice


@dataclass(frozen=True)
class PeakRule:
    """Learns from the highest voltage of every neuron."""

    needs: ClassVar[Needs] = Needs()
    uses_mean_voltage: ClassVar[bool] = False

    def respond(
        self, block, inputs, *, contexts=None, observed_rows=0, learn, record=()
    ) -> Response:
        if learn:
            path = gradient_path(block, inputs)
            ran, voltage = path.voltages(inputs, contexts, observed_rows, record)
        else:
            names = ("voltage", *record)
            ran = block.run(inputs, contexts=contexts, observed_rows=observed_rows, record=names)
            voltage = ran.recorded["voltage"]
        return Response(ran, self.represent(voltage, block.neuron))

    def represent(self, voltage, neuron):
        return neuron.depolarisation(voltage.amax(0))


def test_a_new_rule_trains_by_its_name(monkeypatch):
    monkeypatch.setitem(
        RULES, "peak", RuleChoice("The highest voltage", lambda layout: PeakRule(), PeakRule.needs)
    )
    torch.manual_seed(0)
    network = mlp((8,), 3, hidden=(16, 12), rule="peak")
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
