"""The readout against its integrators, run step by step."""

import torch

from sigprop_snn.network import Readout


def test_readout_is_its_integrators_run_step_by_step(batch):
    torch.manual_seed(0)
    readout = Readout(6, 3, beta=0.7).double()
    x, _ = batch()
    voltage, total = torch.zeros(8, 3).double(), torch.zeros(8, 3).double()
    traced = readout.trace(x).recorded["voltage"]
    for step, shown in zip(x, traced, strict=True):
        voltage = 0.7 * voltage + readout.synapse(step)
        torch.testing.assert_close(shown, voltage)
        total += voltage
    torch.testing.assert_close(readout(x), total / 5)
