"""The projected context: how it is drawn and scaled."""

import torch

from sigprop_snn.network import ProjectedContext


def test_every_context_has_mean_zero_and_the_gain_as_root_mean_square():
    torch.manual_seed(0)
    signal = ProjectedContext(3, (2, 4, 4), gain=1.5)
    current = signal()
    assert current.shape == (3, 2, 4, 4)
    rows = current.flatten(1)
    torch.testing.assert_close(
        rows.square().mean(1).sqrt(), torch.full((3,), 1.5), rtol=1e-4, atol=0
    )
    torch.testing.assert_close(rows.mean(1), torch.zeros(3), rtol=0, atol=1e-6)
    raw = signal.projection
    unit = (raw - raw.mean(1, keepdim=True)) / raw.std(1, keepdim=True, correction=0)
    torch.testing.assert_close(rows, 1.5 * unit, rtol=1e-4, atol=1e-5)
